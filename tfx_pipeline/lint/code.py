"""Checks of the user's own functions: importable, and of the right Keras."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.lint.registry import Problem, register
from transform import user_code


@register
def builder_uses_one_keras(config: PipelineConfig) -> Iterator[Problem]:
    """Layers of Keras 3 and of tf_keras do not make one model; each alone is taken."""
    builder = config.model.builder
    if not builder or ":" not in builder:
        return
    file = config.resolve(builder.rpartition(":")[0])
    if not file.is_file():
        return  # `functions_are_importable` says so.
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    lines = {module.split(".")[0]: line for line, module in _imports(tree)}
    if {"keras", "tf_keras"} <= set(lines):
        yield Problem(
            "model.builder",
            f"{file.name}:{lines['keras']} imports Keras 3, and line {lines['tf_keras']} tf_keras",
            "build the model of one of them",
        )


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module


@register
def functions_are_importable(config: PipelineConfig) -> Iterator[Problem]:
    """The user's functions exist. The defaults are ours, and importing them would cost seconds."""
    run_fn = type(config.train).model_fields["run_fn"].default
    for path, is_users in (
        (config.features.preprocessing_fn, config.features.by_user),
        (config.train.run_fn, config.train.run_fn != run_fn),
        (config.model.builder, True),
    ):
        if path and is_users:
            user_code.check_importable(path, config.folder)
    yield from ()
