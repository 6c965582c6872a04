"""Checks of the serving gate's budgets: those that no candidate could meet, or nothing would."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.config.serving_gate import Budget
from tfx_pipeline.errors import ConfigError
from tfx_pipeline.gates.metrics import metrics_of
from tfx_pipeline.lint.gates import no_metric, threshold_for
from tfx_pipeline.lint.registry import Problem, register
from trainer.compression.plan import ordered

# The smallest SavedModel with a variable has some 10 kB of files; its graph alone is above this.
_SMALLEST_FOLDER = 5_000
_SMALLEST_SERVED = 100


@register
def compression_is_bounded(config: PipelineConfig) -> Iterator[Problem]:
    """Without a bound on what compression costs, the smallest candidate wins however bad it is."""
    if config.compress is None:
        return
    if all(t.max_drop is None for t in config.gates.quality.thresholds):
        yield Problem(
            "compress",
            "no threshold says how much worse than the float model a candidate may be",
            "give one in gates.quality.thresholds a max_drop, for instance "
            f"{{{threshold_for(config.data.label)}, max_drop: 0.005}}",
        )


@register
def candidates_fit_together(config: PipelineConfig) -> Iterator[Problem]:
    """Names are unique, and each candidate starts from one that there is."""
    if config.compress is None or config.compress.candidates == "auto":
        return
    try:
        ordered(config.compress.candidates)
    except ConfigError as error:
        yield Problem(error.where, error.headline, error.hint)


@register
def budgets_can_be_met(config: PipelineConfig) -> Iterator[Problem]:
    """A budget is a finite number, and some candidate can be below it."""
    gates = config.gates
    budgets: dict[str, Budget | None] = {
        "gates.latency_p99_ms": gates.latency_p99_ms,
        "gates.size_bytes": gates.size_bytes,
        "gates.memory_mb": gates.memory_mb,
    }
    for field, budget in budgets.items():
        if budget is None:
            continue
        for name in ("max", "max_ratio", "max_ratio_champion"):
            value = getattr(budget, name)
            if value is not None and not math.isfinite(value):
                yield Problem(f"{field}.{name}", "is not a finite number", "give a number")
        if budget.max_ratio is not None and budget.max_ratio < 1 and config.compress is None:
            yield Problem(
                f"{field}.max_ratio",
                "only the float model is judged, and it is 1 times itself",
                "ask for candidates with `compress: auto`, or drop the ratio",
            )
    size = gates.size_bytes
    if size is not None and size.max is not None:
        smallest = _SMALLEST_SERVED if size.of == "served" else _SMALLEST_FOLDER
        if size.max < smallest:
            yield Problem(
                "gates.size_bytes.max",
                f"no model is as small as {size.max:g} bytes",
                f"the unit is bytes, and the smallest model has about {smallest}",
            )


@register
def slices_are_named(config: PipelineConfig) -> Iterator[Problem]:
    """`gates.slices` bounds the slices that `gates.quality.slices` names, on the task's metric."""
    budget, label = config.gates.slices, config.data.label
    if budget is None:
        return
    if not config.gates.quality.slices:
        yield Problem(
            "gates.slices",
            "`gates.quality.slices` names no columns, so there is no slice to look at",
            "name columns there, or drop gates.slices",
        )
    names = metrics_of(label.task, label.quantiles)
    if budget.metric is not None and budget.metric not in names:
        yield Problem(
            "gates.slices.metric",
            no_metric(budget.metric, label),
            f"choose one of {', '.join(names)}",
        )
    if not math.isfinite(budget.max_drop):
        yield Problem("gates.slices.max_drop", "is not a finite number", "give a number")


@register
def address_has_a_port(config: PipelineConfig) -> Iterator[Problem]:
    """A port has 16 bits."""
    _, _, port = config.serve.address.rpartition(":")
    if port and not 0 < int(port) < 65536:
        yield Problem("serve.address", f"there is no port {port}", "give one of 1 to 65535")
