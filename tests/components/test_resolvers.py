"""Resolvers look at what came before the current artifact, in a real metadata store."""

from __future__ import annotations

from typing import Any

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx.types import standard_artifacts as kinds

from tfx_pipeline.components.resolvers import (
    AnalyzerCache,
    LatestBlessedBefore,
    LatestPushedBefore,
    PreviousStatistics,
    analyzer_cache_config,
)


@pytest.fixture
def store() -> Any:
    config = pb.ConnectionConfig()
    config.fake_database.SetInParent()
    return mlmd.MetadataStore(config)


def _artifact(kind: Any, identity: int, **properties: int) -> Any:
    made = kind()
    made.id = identity
    for name, value in properties.items():
        made.set_int_custom_property(name, value)
    return made


def _blessing(identity: int, model: int, blessed: int) -> Any:
    return _artifact(kinds.ModelBlessing, identity, current_model_id=model, blessed=blessed)


@pytest.mark.parametrize(("candidate", "found"), [(1, []), (3, [1]), (5, [1]), (7, [5]), (9, [5])])
def test_the_latest_blessed_model_before_the_candidate(
    store: Any, candidate: int, found: list[int]
) -> None:
    got = LatestBlessedBefore().resolve_artifacts(
        store,
        {
            "model": [_artifact(kinds.Model, identity) for identity in (7, 1, 3, 5)],
            "model_blessing": [
                _blessing(2, 1, 1), _blessing(4, 3, 0), _blessing(6, 5, 1), _blessing(8, 7, 0),
            ],
            "candidate": [_artifact(kinds.Model, candidate)],
        },
    )  # fmt: skip
    assert [model.id for model in got["model"]] == found
    assert [blessing.id - 1 for blessing in got["model_blessing"]] == found
    assert got["candidate"] == []


def test_without_a_current_artifact_nothing_is_resolved(store: Any) -> None:
    nothing = {"model": [], "model_blessing": [], "candidate": []}
    assert LatestBlessedBefore().resolve_artifacts(store, dict(nothing)) == nothing
    statistics = [_artifact(kinds.ExampleStatistics, 1)]
    got = PreviousStatistics().resolve_artifacts(store, {"statistics": statistics, "current": []})
    assert got == {"statistics": [], "current": []}


def test_the_latest_blessing_of_a_model_decides(store: Any) -> None:
    """Blessed once, and refused when the same model was judged by tighter thresholds."""

    def resolve(blessings: list[Any]) -> list[int]:
        got = LatestBlessedBefore().resolve_artifacts(
            store,
            {
                "model": [_artifact(kinds.Model, identity) for identity in (1, 3)],
                "model_blessing": blessings,
                "candidate": [_artifact(kinds.Model, 9)],
            },
        )
        return [artifact.id for artifact in (*got["model"], *got["model_blessing"])]

    first, second = _blessing(2, 1, 1), _blessing(4, 3, 1)
    assert resolve([first, second]) == [3, 4]
    assert resolve([_blessing(5, 3, 0), first, second]) == [1, 2]
    assert resolve([_blessing(5, 3, 0), _blessing(6, 3, 1), first, second]) == [3, 6]
    assert resolve([_blessing(5, 3, 0), _blessing(6, 1, 0), first, second]) == []


class _Gate:
    """A metadata store with statistics, and the executions of a DataGate that have read them."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.statistics_type = store.put_artifact_type(pb.ArtifactType(name="ExampleStatistics"))
        verdict = pb.ArtifactType(name="GateVerdict")
        verdict.properties["blessed"] = pb.INT
        self.verdict_type = store.put_artifact_type(verdict)
        self.node = store.put_execution_type(pb.ExecutionType(name="DataGate"))

    def statistics(self) -> int:
        (identity,) = self.store.put_artifacts([pb.Artifact(type_id=self.statistics_type)])
        return int(identity)

    def judged(self, statistics: int, *, blessed: int) -> int:
        verdict = pb.Artifact(type_id=self.verdict_type)
        verdict.properties["blessed"].int_value = blessed
        read = pb.Event(type=pb.Event.INPUT, artifact_id=statistics)
        wrote = pb.Event(type=pb.Event.OUTPUT)
        given = pb.Artifact(id=statistics, type_id=self.statistics_type)
        self.store.put_execution(
            pb.Execution(type_id=self.node), [(given, read), (verdict, wrote)], []
        )
        return statistics

    def resolve(self, current: int, others: list[int]) -> list[int]:
        statistics = [_artifact(kinds.ExampleStatistics, n) for n in (current, *others)]
        got = PreviousStatistics().resolve_artifacts(
            self.store, {"statistics": statistics, "current": statistics[:1]}
        )
        assert got["current"] == []
        return [found.id for found in got["statistics"]]


def test_the_latest_statistics_before_the_current_ones_that_a_gate_has_blessed(store: Any) -> None:
    gate = _Gate(store)
    first = gate.judged(gate.statistics(), blessed=1)
    assert gate.resolve(first, []) == []
    second = gate.judged(gate.statistics(), blessed=1)
    assert gate.resolve(second, [first]) == [first]
    assert gate.resolve(first, [second]) == []  # An earlier run's data again.
    refused = gate.judged(gate.statistics(), blessed=0)
    unjudged = gate.statistics()
    current = gate.statistics()
    assert gate.resolve(current, [unjudged, first, refused, second]) == [second]
    # Judged again, for instance with a wider limit: the latest verdict decides.
    gate.judged(refused, blessed=1)
    assert gate.resolve(current, [first, refused, second]) == [refused]
    gate.judged(refused, blessed=0)
    assert gate.resolve(current, [first, refused, second]) == [second]


def test_before_any_gate_has_judged_there_is_no_baseline(store: Any) -> None:
    statistics = [_artifact(kinds.ExampleStatistics, n) for n in (2, 1)]
    got = PreviousStatistics().resolve_artifacts(
        store, {"statistics": statistics, "current": statistics[:1]}
    )
    assert got["statistics"] == []


def test_the_analyzer_cache_of_another_preprocessing(store: Any) -> None:
    kind = store.put_artifact_type(pb.ArtifactType(name="Any"))
    node = store.put_execution_type(pb.ExecutionType(name="Transform"))
    (examples,) = store.put_artifacts([pb.Artifact(type_id=kind)])

    def transform(config: dict[str, Any]) -> int:
        """Publishes an execution of Transform as TFX does; returns its cache's id."""
        execution = pb.Execution(type_id=node)
        text = analyzer_cache_config(config)["custom_config"]
        execution.custom_properties["custom_config"].string_value = text
        read = pb.Event(type=pb.Event.INPUT, artifact_id=examples)
        read.path.steps.add(key="examples")
        wrote = pb.Event(type=pb.Event.OUTPUT)
        wrote.path.steps.add(key="updated_analyzer_cache")
        _, artifacts, _ = store.put_execution(
            execution,
            [(pb.Artifact(id=examples, type_id=kind), read), (pb.Artifact(type_id=kind), wrote)],
            [],
        )
        return int(artifacts[1])

    def resolve(config: dict[str, Any], caches: list[int], rows: int = examples) -> list[int]:
        got = AnalyzerCache(**analyzer_cache_config(config)).resolve_artifacts(
            store,
            {
                "cache": [_artifact(kinds.TransformCache, cache) for cache in caches],
                "examples": [_artifact(kinds.Examples, rows)],
            },
        )
        return [cache.id for cache in got["cache"]]

    one, two = {"scale": "zscore"}, {"scale": "minmax"}
    assert resolve(one, []) == []
    first = transform(one)
    assert resolve(one, [first]) == []  # Unchanged: what it found the first time.
    assert resolve(two, [first]) == [first]
    second = transform(two)
    assert resolve(two, [first, second]) == [first]
    assert resolve(one, [first, second]) == []
    assert resolve({"scale": "none"}, [first, second]) == [second]
    assert resolve(one, [first, second], rows=examples + 1) == [second]  # Other examples.


HERE = {"gates": "these", "custom_config": '{"a": 1}'}


def _execution(store: Any, read: list[int], wrote: list[int], **properties: str) -> None:
    """What MLMD has of a node that has read and written these artifacts."""
    kind = store.put_execution_type(pb.ExecutionType(name="Any"), can_add_fields=True)
    execution = pb.Execution(type_id=kind, last_known_state=pb.Execution.COMPLETE)
    for name, value in properties.items():
        execution.custom_properties[name].string_value = value
    [identity] = store.put_executions([execution])
    store.put_events(
        [
            *(pb.Event(artifact_id=a, execution_id=identity, type=pb.Event.INPUT) for a in read),
            *(pb.Event(artifact_id=a, execution_id=identity, type=pb.Event.OUTPUT) for a in wrote),
        ]
    )


class Pushes:
    """Ladders, the models that a gate chose of them, its blessings, and what was pushed."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.kind = store.put_artifact_type(pb.ArtifactType(name="Anything"))
        self.pushed: dict[int, int] = {}
        self.blessings: list[int] = []

    def new(self) -> int:
        [identity] = self.store.put_artifacts([pb.Artifact(type_id=self.kind)])
        return int(identity)

    def push(self, ladder: int, *, really: int = 1, **parameters: str) -> tuple[int, int]:
        """Ids of the PushedModel, and of the blessing that the Pusher read."""
        winner, blessing = self.new(), self.new()
        _execution(self.store, [ladder], [winner, blessing], **(HERE | parameters))
        pushed = self.new()
        _execution(self.store, [winner, blessing], [pushed])
        self.pushed[pushed] = really
        self.blessings.append(blessing)
        return pushed, blessing

    def champion(self, ladder: int) -> tuple[list[int], list[int]]:
        got = LatestPushedBefore(**HERE).resolve_artifacts(
            self.store,
            {
                "pushed_model": [
                    _artifact(kinds.PushedModel, identity, pushed=really)
                    for identity, really in reversed(self.pushed.items())
                ],
                "model_blessing": [_artifact(kinds.ModelBlessing, i) for i in self.blessings],
                "candidate": [_artifact(kinds.Model, ladder)],
            },
        )
        return [a.id for a in got["pushed_model"]], [a.id for a in got["model_blessing"]]


def test_the_model_in_production_is_the_latest_that_was_really_pushed(store: Any) -> None:
    pushes = Pushes(store)
    first, second, third = pushes.new(), pushes.new(), pushes.new()
    assert pushes.champion(first) == ([], [])
    one = pushes.push(first)
    two = pushes.push(second)
    pushes.push(third, really=0)  # No blessing: an empty PushedModel.
    assert pushes.champion(pushes.new()) == ([two[0]], [two[1]])
    # Asked once more, each has the champion that it had: so it is taken from the cache.
    assert pushes.champion(second) == ([one[0]], [one[1]])
    assert pushes.champion(first) == ([], [])


def test_the_same_ladder_judged_by_other_budgets_has_what_they_shipped_as_its_champion(
    store: Any,
) -> None:
    pushes = Pushes(store)
    ladder = pushes.new()
    before = pushes.push(ladder, gates="others")
    assert pushes.champion(ladder) == ([before[0]], [before[1]])
    pushes.push(ladder)
    assert pushes.champion(ladder) == ([before[0]], [before[1]])


def test_a_pushed_model_that_nobody_blessed_has_no_blessing(store: Any) -> None:
    pushes = Pushes(store)
    pushed = pushes.new()
    pushes.pushed[pushed] = 1
    assert pushes.champion(pushes.new()) == ([pushed], [])


def test_without_a_candidate_there_is_no_champion(store: Any) -> None:
    nothing: Any = {"pushed_model": [], "model_blessing": [], "candidate": []}
    assert LatestPushedBefore(**HERE).resolve_artifacts(store, dict(nothing)) == nothing
