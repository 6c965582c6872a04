"""The ids of a graph's nodes, known without importing TFX, so that a wrong one is told at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import ConfigError


def node_ids(config: PipelineConfig) -> list[str]:
    """Ids of the nodes that `tfx_pipeline.graph.create_pipeline` makes of a config.

    In the graph's order, but for nodes that do not depend on each other.
    """
    gate = config.gates.data
    return [
        "ExampleGen",
        "StatisticsGen",
        "ImportSchemaGen" if gate.schema_path else "SchemaGen",
        "ExampleValidator",
        *(("PreviousStatistics", "DriftValidator") if gate.drift else ()),
        *(("SkewValidator",) if gate.skew else ()),
        "DataGate",
        "AnalyzerCache",
        "Transform",
        *(("Tuner",) if config.tune is not None else ()),
        "Trainer",
        "LatestBlessedModel",
        "Evaluator",
        *(("Compressor",) if config.compress is not None else ()),
        *(("LatestPushedModel", "ServingGate") if config.has_serving_gate else ()),
        *(("InfraValidator",) if config.gates.infra_validator is not None else ()),
        "Pusher",
    ]


def check(names: Iterable[str], known: Sequence[str]) -> None:
    """Refuses names of nodes that the graph does not have.

    Raises:
        ConfigError: Says which, and what may have been meant.
    """
    missing = list(dict.fromkeys(name for name in names if name not in known))
    if not missing:
        return
    by_lower = {name.lower(): name for name in known}
    near = [difflib.get_close_matches(name.lower(), by_lower, n=1) for name in missing]
    meant = list(dict.fromkeys(by_lower[found[0]] for found in near if found))
    hint = f"Did you mean {' and '.join(meant)}? " if meant else ""
    raise ConfigError(
        f"no such node: {', '.join(missing)}", hint=f"{hint}The nodes are: {', '.join(known)}."
    )
