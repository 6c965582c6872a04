"""Resolvers that look only at what came before, so an unchanged run resolves the same again.

TFX's `LatestBlessedModelStrategy` and `LatestArtifactStrategy` find, on a second run, what the
first one produced: the inputs of the nodes behind them change and nothing is cached. These look
for the latest artifact *older than the current one*, and the current one is an input of theirs, so
a cached candidate keeps its baseline. Wiring (every channel without a producer is limited to this
pipeline by TFX's compiler)::

    blessed = tfx.dsl.Resolver(
        strategy_class=LatestBlessedBefore,
        model=tfx.dsl.Channel(type=Model),
        model_blessing=tfx.dsl.Channel(type=ModelBlessing),
        candidate=trainer.outputs["model"],
    ).with_id("LastBlessedModel")
    Evaluator(
        ...,
        baseline_model=blessed.outputs["model"],
        baseline_blessing=blessed.outputs["model_blessing"],
    )

    champion = tfx.dsl.Resolver(
        strategy_class=LatestPushedBefore,
        config=champion_config(gates, custom_config),  # the gate's own
        pushed_model=tfx.dsl.Channel(type=PushedModel),
        model_blessing=tfx.dsl.Channel(type=ModelBlessing),
        candidate=compressor.outputs["candidates"],
    ).with_id("LatestPushedModel")
    ServingGate(
        ...,
        champion=champion.outputs["pushed_model"],
        champion_blessing=champion.outputs["model_blessing"],
    )

    previous = tfx.dsl.Resolver(
        strategy_class=PreviousStatistics,
        statistics=tfx.dsl.Channel(type=ExampleStatistics),
        current=statistics_gen.outputs["statistics"],
    ).with_id("PreviousStatistics")
    DistributionValidator(..., baseline_statistics=previous.outputs["statistics"].as_optional())

    cache = tfx.dsl.Resolver(
        strategy_class=AnalyzerCache,
        config=analyzer_cache_config(custom_config),  # Transform's own custom_config
        cache=tfx.dsl.Channel(type=TransformCache),
        examples=example_gen.outputs["examples"],
    ).with_id("AnalyzerCache")
    Transform(..., analyzer_cache=cache.outputs["cache"])
"""

from __future__ import annotations

from typing import Any

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.common import resolver
from tfx.utils import json_utils

from tfx_pipeline.components.data_gate.component import GateVerdict
from tfx_pipeline.components.data_gate.executor import BLESSED_PROPERTY

Artifacts = dict[str, list[types.Artifact]]

_PUSHED = "pushed"  # Custom property of a PushedModel.


class LatestBlessedBefore(resolver.ResolverStrategy):  # type: ignore[misc]
    """`model` and `model_blessing`: the latest blessed model that is older than `candidate`.

    A model that was judged more than once, by other thresholds, is what its latest blessing says.
    Nothing is resolved, which an optional input accepts, when there is none or no candidate.
    """

    def resolve_artifacts(self, store: mlmd.MetadataStore, input_dict: Artifacts) -> Artifacts:
        """Keeps one model and its blessing; see `tfx.dsl.components.common.resolver`."""
        found: Artifacts = {key: [] for key in input_dict}
        current = _only_id(input_dict["candidate"])
        if current is None:
            return found
        latest = {
            blessing.get_int_custom_property(
                constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY
            ): blessing
            for blessing in sorted(input_dict["model_blessing"], key=lambda a: a.id)
        }
        blessed = {
            model: blessing
            for model, blessing in latest.items()
            if blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY)
            == constants.BLESSED_VALUE
        }
        older = [m for m in input_dict["model"] if m.id in blessed and m.id < current]
        if older:
            model = max(older, key=lambda a: a.id)
            found["model"] = [model]
            found["model_blessing"] = [blessed[model.id]]
        return found


class LatestPushedBefore(resolver.ResolverStrategy):  # type: ignore[misc]
    """`pushed_model`: the model in production: the latest that was really pushed. `model_blessing`:
    what the Pusher had read of it, if anything.

    A push by a serving gate with these parameters and this candidate is this one, run before: it
    and what came after it are passed over, so that the gate resolves what it resolved then and is
    cached. A Pusher that found no blessing leaves a PushedModel as well, an empty one.

    Args:
        gates: The serving gate's parameter of that name, and
        custom_config: this one, as they are stored with its executions.
    """

    def __init__(self, gates: str, custom_config: str) -> None:
        self._parameters = {"gates": gates, "custom_config": custom_config}

    def resolve_artifacts(self, store: mlmd.MetadataStore, input_dict: Artifacts) -> Artifacts:
        """Keeps one pushed model and its blessing, or none."""
        found: Artifacts = {key: [] for key in input_dict}
        current = _only_id(input_dict["candidate"])
        if current is None:
            return found
        pushes = sorted(
            (p for p in input_dict["pushed_model"] if p.get_int_custom_property(_PUSHED)),
            key=lambda a: a.id,
        )
        same = [p.id for p in pushes if self._is_from_here(store, p, current)]
        older = [p for p in pushes if not same or p.id < same[0]]
        if older:
            found["pushed_model"] = [older[-1]]
            read = _read_by_producer(store, older[-1].id)
            found["model_blessing"] = [b for b in input_dict["model_blessing"] if b.id in read][-1:]
        return found

    def _is_from_here(
        self, store: mlmd.MetadataStore, pushed: types.Artifact, candidate: int
    ) -> bool:
        """Whether what was pushed came out of such a gate, of this candidate."""
        read = _read_by_producer(store, pushed.id)
        for execution in _producers(store, sorted(read)).values():
            stored = {key: _property(execution, key) for key in self._parameters}
            if stored == self._parameters and candidate in _inputs(store, execution.id):
                return True
        return False


class PreviousStatistics(resolver.ResolverStrategy):  # type: ignore[misc]
    """`statistics`: the latest that are older than `current` and that a DataGate has blessed.

    What a gate has refused is no baseline: the same data, sent once more, would be compared with
    themselves and pass. The lineage has the verdict: the latest of the executions that read the
    statistics and wrote a GateVerdict; so those that Transform publishes, of other columns, are no
    baseline either. The channel must not name its producer: TFX's compiler takes two channels of
    one producer's output for one.
    """

    def resolve_artifacts(self, store: mlmd.MetadataStore, input_dict: Artifacts) -> Artifacts:
        """Keeps one artifact of statistics, or none."""
        found: Artifacts = {key: [] for key in input_dict}
        current = _only_id(input_dict["current"])
        if current is None:
            return found
        older = [artifact for artifact in input_dict["statistics"] if artifact.id < current]
        for statistics in sorted(older, key=lambda a: a.id, reverse=True):
            if _is_blessed(store, statistics.id):
                found["statistics"] = [statistics]
                break
        return found


class AnalyzerCache(resolver.ResolverStrategy):  # type: ignore[misc]
    """`cache`: the latest TransformCache that another kind of Transform execution wrote.

    Our Transform keys its analyzer cache by the content of each span and by the analyzer, so what
    an earlier run has computed on the same rows is reused although the preprocessing, or another
    span of the data, has changed. An execution with this custom_config and these examples is this
    one, run before: it and what came after it are passed over, so that it resolves what it resolved
    then and is cached.

    Args:
        custom_config: Transform's `custom_config` as it is stored with its executions.
    """

    def __init__(self, custom_config: str) -> None:
        self._custom_config = custom_config

    def resolve_artifacts(self, store: mlmd.MetadataStore, input_dict: Artifacts) -> Artifacts:
        """Keeps one cache, or none."""
        found: Artifacts = {key: [] for key in input_dict}
        examples = _only_id(input_dict["examples"])
        if examples is None:
            return found
        made_by = _producers(store, [cache.id for cache in input_dict["cache"]])
        caches = sorted(input_dict["cache"], key=lambda a: a.id)
        same = [
            cache.id
            for cache in caches
            if cache.id in made_by
            and _is_same(store, made_by[cache.id], examples, self._custom_config)
        ]
        older = [cache for cache in caches if not same or cache.id < same[0]]
        if older:
            found["cache"] = [older[-1]]
        return found


def analyzer_cache_config(custom_config: dict[str, Any]) -> dict[str, str]:
    """`config` of a Resolver with `AnalyzerCache`, from the `custom_config` that Transform gets."""
    return {"custom_config": json_utils.dumps(custom_config)}


def champion_config(gates: str, custom_config: dict[str, Any]) -> dict[str, str]:
    """`config` of a Resolver with `LatestPushedBefore`, from what the ServingGate gets."""
    return {"gates": gates, "custom_config": json_utils.dumps(custom_config)}


def _only_id(artifacts: list[types.Artifact]) -> int | None:
    """The current artifact's id; None when its node was skipped or has failed."""
    return max((artifact.id for artifact in artifacts), default=None)


def _is_blessed(store: mlmd.MetadataStore, statistics: int) -> bool:
    """Whether the latest verdict on these statistics lets a run go on."""
    kinds = {t.id for t in store.get_artifact_types() if t.name == GateVerdict.TYPE_NAME}
    gates = {
        event.execution_id
        for event in store.get_events_by_artifact_ids([statistics])
        if event.type == metadata_store_pb2.Event.INPUT
    }
    written = {
        event.artifact_id
        for event in store.get_events_by_execution_ids(sorted(gates))
        if event.type == metadata_store_pb2.Event.OUTPUT
    }
    verdicts = [a for a in store.get_artifacts_by_id(sorted(written)) if a.type_id in kinds]
    latest = max(verdicts, key=lambda a: a.id, default=None)
    return latest is not None and latest.properties[BLESSED_PROPERTY].int_value == 1


def _producers(
    store: mlmd.MetadataStore, artifacts: list[int]
) -> dict[int, metadata_store_pb2.Execution]:
    """Artifact id to the execution that wrote it (not one that reused it from the cache)."""
    if not artifacts:
        return {}
    events = [
        event
        for event in store.get_events_by_artifact_ids(artifacts)
        if event.type == metadata_store_pb2.Event.OUTPUT
    ]
    first: dict[int, int] = {}
    for event in sorted(events, key=lambda e: e.execution_id):
        first.setdefault(event.artifact_id, event.execution_id)
    executions = {e.id: e for e in store.get_executions_by_id(sorted(set(first.values())))}
    return {artifact: executions[execution] for artifact, execution in first.items()}


def _read_by_producer(store: mlmd.MetadataStore, artifact: int) -> set[int]:
    """Ids of what the execution that wrote an artifact had read."""
    producer = _producers(store, [artifact]).get(artifact)
    return set() if producer is None else _inputs(store, producer.id)


def _inputs(store: mlmd.MetadataStore, execution: int) -> set[int]:
    return {
        event.artifact_id
        for event in store.get_events_by_execution_ids([execution])
        if event.type == metadata_store_pb2.Event.INPUT
    }


def _is_same(
    store: mlmd.MetadataStore,
    execution: metadata_store_pb2.Execution,
    examples: int,
    custom_config: str,
) -> bool:
    """Whether an execution of Transform read these examples with this custom_config."""
    inputs = {
        event.artifact_id
        for event in store.get_events_by_execution_ids([execution.id])
        if event.type == metadata_store_pb2.Event.INPUT
        and any(step.key == "examples" for step in event.path.steps)
    }
    return inputs == {examples} and _property(execution, "custom_config") == custom_config


def _property(execution: metadata_store_pb2.Execution, name: str) -> str:
    for properties in (execution.custom_properties, execution.properties):
        if name in properties:
            return properties[name].string_value
    return ""
