"""The `compress` section and the serving gate's budgets: what may be written, and mistakes."""

from __future__ import annotations

import pytest

from tests.config.test_load import GOOD, problem
from tfx_pipeline.config import parse_config
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.gates.eval_config import eval_config


@pytest.mark.parametrize("text", ["", "compress: off", "compress: 'off'", "compress: null"])
def test_off_is_what_it_is_when_left_out(text: str) -> None:
    config = parse_config(GOOD + text)
    assert config.compress is None
    assert not config.has_serving_gate


def test_auto_and_a_list() -> None:
    auto = parse_config(GOOD + "compress: auto").compress
    assert auto is not None
    assert auto.candidates == "auto"
    text = "compress:\n  candidates:\n    - {method: prune, sparsity: 0.5}\n    - {method: int8}\n"
    config = parse_config(GOOD + text)
    assert config.compress is not None
    assert [c.method for c in config.compress.candidates if not isinstance(c, str)] == [
        "prune",
        "int8",
    ]
    again = PipelineConfig.model_validate(config.model_dump(mode="json"))
    assert again.compress == config.compress


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("compress:\n  candidates:\n  - {method: prune, sparsity: 2}", 12, "[0].sparsity: input"),
        ("compress:\n  candidates:\n  - {method: pruning}", 12, "Did you mean 'prune'?"),
        ("compress:\n  candidates:\n  - {}", 12, "`method` is missing; choose one of prune"),
        ("compress:\n  candidates: all", 11, "compress.candidates: 'all' is unknown"),
        ("compress:\n  seed: -1", 11, "compress.seed: input should be greater"),
        ("gates:\n  size_bytes: {max_ratio: 0}", 11, "gates.size_bytes.max_ratio: input"),
        ("gates:\n  memory_mb: {}", 11, "a budget needs `max`"),
        ("gates:\n  objective: accurate", 11, "Did you mean 'most_accurate'?"),
        ("gates:\n  slices: {}", 11, "gates.slices.max_drop: missing"),
        ("serve:\n  address: localhost", 11, "serve.address"),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, line: int, says: str) -> None:
    told = problem(GOOD + text)
    assert told.startswith(f"p.yaml:{line}: ")
    assert says in told
    assert "listed" not in told


@pytest.mark.parametrize(
    "gates",
    ["latency_p99_ms: {max: 5}", "size_bytes: {max_ratio: 0.5}", "memory_mb: {max: 9}",
     "slices: {max_drop: 0.1}", "skew: {}", "objective: fastest"],
)  # fmt: skip
def test_any_budget_asks_for_the_gate(gates: str) -> None:
    assert parse_config(GOOD + f"gates:\n  {gates}").has_serving_gate


def test_a_drop_is_not_the_evaluators() -> None:
    """What the Evaluator is given, and so its cache, does not change with `max_drop`."""
    one = "gates:\n  quality:\n    thresholds:\n    - {metric: auc, min: 0.9%s}\n"
    plain = parse_config(GOOD + one % "")
    more = one % ", max_drop: 0.1" + "    - {metric: accuracy, max_drop: 0.1}\n"
    dropped = parse_config(GOOD + more)
    assert dropped.gates.quality.of_float == plain.gates.quality
    assert eval_config(dropped) == eval_config(plain)
