"""`assay check`: small checks of a config and of what it names, before anything runs."""

from tfx_pipeline.lint.registry import Problem, checks, lint

__all__ = ["Problem", "checks", "lint"]
