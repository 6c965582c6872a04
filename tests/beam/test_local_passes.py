"""`LocalRunner`'s order of steps on random jobs, against plain lists; what it shares in a pass."""

from __future__ import annotations

import copy
import logging
import random
from collections import Counter
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms import userstate

from tfx_pipeline.runners.beam.local.files import read_tfrecords
from tfx_pipeline.runners.beam.local.graphs import Graph, share
from tfx_pipeline.runners.beam.local.plan import Collection, Side
from tfx_pipeline.runners.beam.local.signatures import once_a_class

RUNNER = "--runner=tfx_pipeline.runners.beam.local.runner.LocalRunner"
ROWS = 10
SEEDS = 20

# What the ends of a job have seen, by their names.
SEEN: dict[str, list[int]] = {}


def _tagged(value: int) -> Any:
    yield value
    if value % 2:
        yield beam.pvalue.TaggedOutput("odd", value)


def _with_sides(value: int, *sides: Any) -> int:
    return value + sum(len(list(side)) for side in sides)


class Job:
    """A job that grows at random, and what each of its ends must see."""

    def __init__(
        self, pipeline: Any, chance: random.Random, rows: Path, without: set[str] | None = None
    ) -> None:
        self.pipeline, self.chance, self.rows = pipeline, chance, rows
        self.without = without or set()
        self.made: list[tuple[Any, list[int]]] = []
        self.ends: dict[str, list[int]] = {}
        self.files: dict[str, list[int]] = {}

    def grow(self, name: str) -> None:
        """One step more, of a random kind; `name` is nobody else's."""
        kinds = ["read", "create"]
        if self.made:
            kinds += ["map", "map", "sides", "sides", "tagged", "flatten", "sum", "group", "batch"]
            kinds += ["same", "see", "see", "write"]
        kind = self.chance.choice([kind for kind in kinds if kind not in self.without])
        pcoll, values = self.chance.choice(self.made) if self.made else (None, [])
        getattr(self, f"_{kind}")(f"{name}/{kind}", pcoll, values)

    def _read(self, name: str, *_: Any) -> None:
        read = self.pipeline | name >> beam.io.ReadFromTFRecord(str(self.rows), validate=False)
        self.made.append((read | f"{name}/int" >> beam.Map(int), list(range(ROWS))))

    def _create(self, name: str, *_: Any) -> None:
        self.made.append((self.pipeline | name >> beam.Create([1, 2, 3]), [1, 2, 3]))

    def _map(self, name: str, pcoll: Any, values: list[int]) -> None:
        self.made.append((pcoll | name >> beam.Map(lambda v: v + 1), [v + 1 for v in values]))

    def _sides(self, name: str, pcoll: Any, values: list[int]) -> None:
        sides = self.chance.sample(self.made, min(len(self.made), self.chance.randint(1, 2)))
        views = [beam.pvalue.AsIter(side) for side, _ in sides]
        more = sum(len(held) for _, held in sides)
        self.made.append(
            (pcoll | name >> beam.Map(_with_sides, *views), [v + more for v in values])
        )

    def _tagged(self, name: str, pcoll: Any, values: list[int]) -> None:
        made = pcoll | name >> beam.FlatMap(_tagged).with_outputs("odd", main="all")
        self.made += [(made.all, values), (made.odd, [v for v in values if v % 2])]

    def _flatten(self, name: str, *_: Any) -> None:
        parts = self.chance.sample(self.made, min(len(self.made), self.chance.randint(1, 3)))
        values = [v for _, held in parts for v in held]
        self.made.append((tuple(part for part, _ in parts) | name >> beam.Flatten(), values))

    def _sum(self, name: str, pcoll: Any, values: list[int]) -> None:
        self.made.append((pcoll | name >> beam.CombineGlobally(sum), [sum(values)]))

    def _group(self, name: str, pcoll: Any, values: list[int]) -> None:
        keyed = pcoll | f"{name}/key" >> beam.Map(lambda v: (v % 3, v))
        grouped = keyed | name >> beam.GroupByKey()
        counts = grouped | f"{name}/count" >> beam.MapTuple(lambda k, found: 100 * k + len(found))
        self.made.append((counts, [100 * k + n for k, n in Counter(v % 3 for v in values).items()]))

    def _batch(self, name: str, pcoll: Any, values: list[int]) -> None:
        batches = pcoll | name >> beam.BatchElements(min_batch_size=4, max_batch_size=4)
        sizes = [len(values[start : start + 4]) for start in range(0, len(values), 4)]
        self.made.append((batches | f"{name}/len" >> beam.Map(len), sizes))

    def _same(self, name: str, pcoll: Any, values: list[int]) -> None:
        self.made.append((pcoll | name >> beam.Reshuffle(), values))

    def _see(self, name: str, pcoll: Any, values: list[int]) -> None:
        self.ends[name] = sorted(values)
        pcoll | name >> beam.Map(SEEN.setdefault(name, []).append)

    def _write(self, name: str, pcoll: Any, values: list[int]) -> None:
        path = str(self.rows.parent / name.replace("/", "-"))
        self.files[path] = sorted(values)
        records = pcoll | f"{name}/bytes" >> beam.Map(lambda v: str(v).encode())
        records | name >> beam.io.WriteToTFRecord(path)


def test_random_jobs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each end sees each element once, however often rows are read."""
    with beam.Pipeline(options=PipelineOptions([RUNNER])) as pipeline:
        made = pipeline | beam.Create([str(n).encode() for n in range(ROWS)])
        made | beam.io.WriteToTFRecord(str(tmp_path / "rows"))
    rows = tmp_path / "rows-00000-of-00001"
    several_passes = 0
    for seed in range(SEEDS):
        chance = random.Random(seed)
        SEEN.clear()
        caplog.clear()
        with (
            caplog.at_level(logging.INFO, logger="tfx_pipeline"),
            beam.Pipeline(options=PipelineOptions([RUNNER])) as pipeline,
        ):
            job = Job(pipeline, chance, rows)
            for number in range(chance.randint(4, 16)):
                job.grow(f"{seed}-{number}")
        assert "Beam's own runner" not in caplog.text
        several_passes += " 1 passes" not in caplog.text and " 0 passes" not in caplog.text
        assert {name: sorted(values) for name, values in SEEN.items()} == job.ends, seed
        for path, values in job.files.items():
            [file] = Path(path).parent.glob(f"{Path(path).name}-*-of-*")
            found = [int(v) for chunk in read_tfrecords(str(file), "") for v in chunk]
            assert sorted(found) == values, (seed, path)
    assert several_passes > 2


class _Stateful(beam.DoFn):
    SEEN = userstate.CombiningValueStateSpec("seen", sum)

    def process(self, pair: Any, seen: Any = beam.DoFn.StateParam(SEEN)) -> Any:  # noqa: B008
        yield pair

    def also(self, value: Any) -> Any:
        yield value


def test_beam_looks_through_a_class_of_functions_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also: the name that is exchanged is Beam's, and is bound back."""
    looked: list[Any] = []
    stock = userstate.get_dofn_specs

    def counted(function: Any) -> Any:
        looked.append(function)
        return stock(function)

    monkeypatch.setattr(userstate, "get_dofn_specs", counted)
    with once_a_class():
        plain = [beam.core.CallableWrapperDoFn(print) for _ in range(3)]
        bound = beam.core.CallableWrapperDoFn(_Stateful().process)
        inside = userstate.get_dofn_specs
        assert [inside(function) for function in plain] == [(set(), set())] * 3
        assert looked == plain[:1]
        assert inside(bound) == stock(bound) == ({_Stateful.SEEN}, set())
        assert inside(_Stateful()) == inside(_Stateful()) == ({_Stateful.SEEN}, set())
        with once_a_class():
            assert userstate.get_dofn_specs is inside
    assert userstate.get_dofn_specs is counted is not inside


def test_a_model_is_loaded_once_a_pass() -> None:
    """Also: the names of TFT that sharing goes by are there."""
    import pyarrow as pa
    from apache_beam.utils.shared import Shared
    from tensorflow_transform.beam import impl
    from tfx_bsl.tfxio.tensor_adapter import TensorAdapterConfig

    one, other = (Side(Collection(n, Any, None), beam.pvalue.AsSingleton, {}) for n in (1, 2))
    graphs: dict[Any, Graph] = {}

    def handle(side: Any, exclude_outputs: Any = None) -> Any:
        config = TensorAdapterConfig(pa.schema([]), {})
        function = impl._RunMetaGraphDoFn(None, Shared(), set(), False, config, exclude_outputs)
        own = copy.copy(function)
        share(own, (side,), graphs)
        assert isinstance(function._shared_graph_state_handle, Shared)
        return own._shared_graph_state_handle

    shared = handle(one)
    assert shared is handle(one)
    assert shared not in (handle(other), handle(one, ["x"]))
    assert len(graphs) == 3
    loaded = [shared.acquire(lambda: object()) for _ in range(2)]
    assert loaded[0] is loaded[1]
