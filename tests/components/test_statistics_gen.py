"""StatisticsGen reads no shard twice, and its statistics are the same to the bit."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.runners.beam.options import LOCAL_RUNNER

ROWS = 300
# Sums of floats, in an order that differs.
_MOMENTS = ("mean", "std_dev")


def write(shard: Path, seed: int) -> None:
    import tensorflow as tf

    random = np.random.default_rng(seed)
    shard.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(shard), "GZIP") as writer:
        for number in range(ROWS):
            example = tf.train.Example()
            feature = example.features.feature
            amounts = [] if number % 7 == 0 else [random.normal(3.0)]
            feature["amount"].float_list.value.extend(amounts)
            feature["broken"].float_list.value.append(math.nan if number % 5 == 0 else number)
            feature["whole"].int64_list.value.append(seed * 10 + number % 100)
            feature["word"].bytes_list.value.append(b"w%d" % random.geometric(0.05))
            feature["rare"].bytes_list.value.extend([b"r%d" % number] if number % 3 else [])
            writer.write(example.SerializeToString())


class Node:
    """Runs StatisticsGen's executor on one folder of shards, as runs 1, 2, and so on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.train = folder / "examples" / "Split-train"
        for number in range(3):
            write(self.train / f"data_tfrecord-{number:05d}-of-00003.gz", number)
        write(folder / "examples" / "Split-eval" / "data_tfrecord-00000-of-00001.gz", 9)
        self.count = 0

    def run(
        self, runner: str = LOCAL_RUNNER, cache: bool = True, root: str = "statistics", **given: Any
    ) -> dict[str, bytes]:
        """The statistics by split; `self.note` is what the node said."""
        from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
        from tfx.proto.orchestration import pipeline_pb2
        from tfx.types import artifact_utils, standard_artifacts

        from tfx_pipeline.components.statistics_gen.executor import KNOWN_PROPERTY, Executor

        self.count += 1
        examples, found = standard_artifacts.Examples(), standard_artifacts.ExampleStatistics()
        examples.uri = str(self.folder / "examples")
        examples.split_names = artifact_utils.encode_split_names(["train", "eval"])
        examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
        found.uri = str(self.folder / root / str(self.count))
        node = pipeline_pb2.PipelineNode()
        node.execution_options.caching_options.enable_cache = cache
        context = BaseBeamExecutor.Context(
            beam_pipeline_args=[f"--runner={runner}", "--sdk_container_image=local"],
            tmp_dir=str(self.folder / "tmp"),
            unique_id=str(self.count),
            pipeline_node=node,
        )
        properties = {"exclude_splits": "[]", **given}
        Executor(context).Do({"examples": [examples]}, {"statistics": [found]}, properties)
        self.note = found.get_string_custom_property(KNOWN_PROPERTY)
        self.uri = Path(found.uri)
        return {
            split: (self.uri / f"Split-{split}" / "FeatureStats.pb").read_bytes()
            for split in ("train", "eval")
        }

    def kept(self) -> list[Path]:
        return sorted((self.uri / "accumulators").glob("*"))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A folder with a first run in it, and what it found."""
    folder = tmp_path_factory.mktemp("first")
    return folder, Node(folder).run()


@pytest.fixture
def node(first: tuple[Path, dict[str, bytes]], tmp_path: Path) -> Node:
    """A node that has run once."""
    shutil.copytree(first[0], tmp_path, dirs_exist_ok=True)
    made = Node.__new__(Node)
    made.folder, made.count = tmp_path, 1
    made.train = tmp_path / "examples" / "Split-train"
    return made


@pytest.fixture
def cold(first: tuple[Path, dict[str, bytes]]) -> dict[str, bytes]:
    return first[1]


def parsed(statistics: bytes) -> dict[str, Any]:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    [dataset] = statistics_pb2.DatasetFeatureStatisticsList.FromString(statistics).datasets
    return {feature.path.step[0]: feature for feature in dataset.features}


def test_a_new_shard_alone_is_read(node: Node, cold: dict[str, bytes]) -> None:
    warm = node.run()
    assert node.note == "4 of 4 shards known"
    assert warm == cold
    shutil.rmtree(node.folder / "statistics" / "1")  # What is needed is in the second one's too.

    write(node.train / "data_tfrecord-00003-of-00004.gz", 3)
    more = node.run()
    assert node.note == "4 of 5 shards known"
    assert len(node.kept()) == 5
    assert more == node.run(cache=False)
    assert not node.note
    assert more["eval"] == cold["eval"]
    assert parsed(more["train"])["whole"].num_stats.common_stats.num_non_missing == 4 * ROWS


@pytest.mark.slow
def test_they_equal_beams_own(node: Node) -> None:
    ours, theirs = node.run(), node.run("FnApiRunner")
    assert not node.note
    assert not node.kept()
    for split in ours:
        mine, stock = parsed(ours[split]), parsed(theirs[split])
        assert mine.keys() == stock.keys()
        for name, expected in stock.items():
            for moment in _MOMENTS if expected.HasField("num_stats") else ():
                here, there = (getattr(f.num_stats, moment) for f in (mine[name], expected))
                assert here == pytest.approx(there, rel=1e-9)
                setattr(expected.num_stats, moment, here)
            # Counts, uniques, most frequent values, histograms, quantiles: to the last bit.
            assert str(mine[name]) == str(expected)


def test_a_changed_shard_is_read(node: Node, cold: dict[str, bytes]) -> None:
    write(node.train / "data_tfrecord-00001-of-00003.gz", 7)
    changed = node.run()
    assert node.note == "3 of 4 shards known"
    assert changed["train"] != cold["train"]
    assert changed == node.run(cache=False)


def test_other_options_read_all(node: Node, cold: dict[str, bytes]) -> None:
    import tfx  # noqa: F401 - TFDV alone cannot be imported.
    import tensorflow_data_validation as tfdv  # isort: skip

    options = tfdv.StatsOptions(num_quantiles_histogram_buckets=3).to_json()
    fewer = node.run(stats_options_json=options)
    assert not node.note
    assert fewer != cold
    assert node.run(stats_options_json=options) == fewer
    assert node.note == "4 of 4 shards known"


@pytest.mark.parametrize(
    "given",
    [
        {"stats_options_json": {"sample_rate": 0.5}},
        {"sample_rate_by_split": '{"train": 0.5}'},
        {
            "stats_options_json": {
                "enable_semantic_domain_stats": True,
                "semantic_domain_stats_sample_rate": 0.5,
            }
        },
        {"stats_options_json": {"vocab_paths": {"words": "/a/file"}}},
    ],
)
def test_of_samples_and_of_the_users_files_nothing_is_kept(given: dict[str, Any]) -> None:
    from tfx_pipeline.components.statistics_gen.executor import is_pure  # With tfx, before TFDV.

    import tensorflow_data_validation as tfdv  # isort: skip

    options = given.get("stats_options_json")
    properties = given if options is None else {}
    if options is not None:
        properties = {"stats_options_json": tfdv.StatsOptions(**options).to_json()}
    assert not is_pure(properties)
    assert is_pure({"stats_options_json": tfdv.StatsOptions().to_json()})


def test_samples_are_taken_anew(node: Node) -> None:
    node.run(sample_rate_by_split='{"train": 0.5}')
    assert not node.note
    assert not node.kept()


def test_damaged_accumulators_are_no_error(node: Node, cold: dict[str, bytes]) -> None:
    for path in (node.folder / "statistics" / "1" / "accumulators").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert node.run() == cold
    assert not node.note
    assert node.run() == cold
    assert node.note.startswith("4 of 4")


def test_folders_of_earlier_runs(tmp_path: Path) -> None:
    from tfx_pipeline.components.earlier import earlier_outputs
    from tfx_pipeline.components.statistics_gen.executor import own_folder

    for name in ("9", "10", "11", "12", "text"):
        (tmp_path / name).mkdir()
    names = [path.name for path in earlier_outputs(str(tmp_path / "11"))]
    assert names == ["12", "10", "9"]
    assert earlier_outputs("gs://bucket/statistics/1") == []
    assert earlier_outputs(str(tmp_path / "text")) == []
    assert own_folder("gs://bucket/statistics/1") is None


def test_it_is_the_stock_node_to_a_pipeline() -> None:
    from tfx.components import StatisticsGen as Stock
    from tfx.types import channel_utils, standard_artifacts

    from tfx_pipeline.components.statistics_gen import StatisticsGen

    examples = channel_utils.as_channel([standard_artifacts.Examples()])
    ours, stock = StatisticsGen(examples=examples), Stock(examples=examples)
    assert ours.id == stock.id == "StatisticsGen"
    assert ours.exec_properties == stock.exec_properties
    assert ours.outputs.keys() == stock.outputs.keys()


@pytest.mark.parametrize(("state", "said"), [("complete", "4 of 5 shards known"), ("cached", "")])
def test_the_terminal_says_how_many_were_known(state: str, said: str) -> None:
    from tfx_pipeline.report.record import ArtifactRecord, NodeRecord, RunRecord, now
    from tfx_pipeline.runners import results

    made = ArtifactRecord(id=1, type="", uri="", properties={"known": "4 of 5 shards known"})
    record = RunRecord(run_id="r", pipeline="p", started=now())
    record.nodes["StatisticsGen"] = NodeRecord(state=state, artifacts={"statistics": [made]})
    results.read(record, "StatisticsGen")
    assert record.nodes["StatisticsGen"].note == said
