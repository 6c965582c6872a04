"""`assay check`: small checks of a config and of what it names, before anything runs."""

from tfx_pipeline.lint.registry import OF_THE_DATA, Problem, checks, lint

__all__ = ["OF_THE_DATA", "Problem", "checks", "lint"]
