"""ExampleGen: the standard artifact, a cache that goes by content, faults that leave nothing."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.ingest.conftest import numbers_csv
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import ConfigError, DataError, EnvironmentMismatch, StorageError

pytestmark = pytest.mark.slow  # TFX takes ten seconds to import.


def make_config(folder: Path, path: str, **data: Any) -> PipelineConfig:
    label = {"column": "y", "task": "regression"}
    config = PipelineConfig.model_validate(
        {
            "name": "test",
            "data": {"path": path, "label": label, **data},
            "features": {"columns": {"x": {"kind": "numeric"}}},
        }
    )
    config._folder = folder
    return config


def run_node(config: PipelineConfig, uri: str = "") -> Any:
    """Drives and executes ExampleGen as the launcher does, without MLMD."""
    from tfx.types import standard_artifacts

    from tfx_pipeline.components.example_gen.component import make_example_gen
    from tfx_pipeline.components.example_gen.executor import Executor

    node = make_example_gen(config)
    artifact = standard_artifacts.Examples()
    artifact.uri = uri or str(config.folder / "examples")
    artifact.set_string_custom_property("tfx_version", "1.21.0")
    Executor().Do({}, {"examples": [artifact]}, dict(node.exec_properties))
    return artifact


def fingerprint(config: PipelineConfig) -> str:
    from tfx_pipeline.components.example_gen.component import make_example_gen
    from tfx_pipeline.components.example_gen.driver import _fingerprint

    return _fingerprint(dict(make_example_gen(config).exec_properties))


@pytest.fixture
def rows_csv(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(numbers_csv(300), encoding="utf-8")
    return path


def test_stock_readers_read_the_artifact(tmp_path: Path, rows_csv: Path) -> None:
    import tensorflow as tf
    from tfx.components.util import examples_utils, tfxio_utils
    from tfx.proto import example_gen_pb2
    from tfx.types import artifact_utils
    from tfx_bsl.tfxio import dataset_options

    artifact = run_node(make_config(tmp_path, "rows.csv"))
    assert artifact_utils.decode_split_names(artifact.split_names) == ["train", "val", "eval"]
    assert examples_utils.get_payload_format(artifact) == example_gen_pb2.FORMAT_TF_EXAMPLE
    counts = {}
    for split in ("train", "val", "eval"):
        [file] = Path(artifact_utils.get_split_uri([artifact], split)).iterdir()
        assert file.name == "data_tfrecord-00000-of-00001.gz"
        tfxio = tfxio_utils.make_tfxio([str(file)], ["test"], example_gen_pb2.FORMAT_TF_EXAMPLE)
        options = dataset_options.RecordBatchesOptions(batch_size=1000, num_epochs=1)
        [batch] = tfxio.RecordBatches(options)
        assert {str(field.type.value_type) for field in batch.schema} == {"float"}
        counts[split] = batch.num_rows
        records = tf.data.TFRecordDataset(str(file), "GZIP")
        assert sum(1 for _ in records) == artifact.get_int_custom_property(f"rows_{split}")
    assert sum(counts.values()) == 300


def test_the_artifact_says_what_split_the_rows(tmp_path: Path) -> None:
    lines = [f"{n},{n},{n % 70},t" for n in range(100)]
    (tmp_path / "rows.csv").write_text("\n".join(["y,x,other,part", *lines]), encoding="utf-8")

    def split_by(**split: Any) -> dict[str, Any]:
        artifact = run_node(make_config(tmp_path, "rows.csv", split=split))
        found: dict[str, Any] = json.loads(artifact.get_string_custom_property("split_by"))
        return found

    whole_row = split_by()
    # Those that are no features too: the hash is of the whole row.
    assert whole_row["columns"] == ["other", "part", "x", "y"]
    assert (whole_row["method"], whole_row["eval_fraction"]) == ("hash", 0.33)
    assert split_by(key=["other"])["columns"] == ["other"]
    assert split_by(method="time", column="x")["columns"] == ["x"]


def test_two_runs_write_the_same_rows_in_the_same_order(tmp_path: Path, rows_csv: Path) -> None:
    import tensorflow as tf

    def examples() -> list[tuple[float, ...]]:
        artifact = run_node(make_config(tmp_path, "rows.csv"))
        files = sorted(str(path) for path in Path(artifact.uri).rglob("*.gz"))
        parsed = [
            tf.train.Example.FromString(record.numpy()).features.feature
            for record in tf.data.TFRecordDataset(files, "GZIP")
        ]
        return [(row["x"].float_list.value[0], row["y"].float_list.value[0]) for row in parsed]

    first = examples()
    assert len(first) == 300
    assert examples() == first


def test_stock_statistics_read_the_artifact(tmp_path: Path, rows_csv: Path) -> None:
    from tensorflow_data_validation import load_stats_binary
    from tfx.components.statistics_gen.executor import Executor
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.types import standard_artifacts

    artifact = run_node(make_config(tmp_path, "rows.csv"))
    statistics = standard_artifacts.ExampleStatistics()
    statistics.uri = str(tmp_path / "statistics")
    context = BaseBeamExecutor.Context(
        beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=local"],
        tmp_dir=str(tmp_path / "tmp"),
    )
    Executor(context).Do(
        {"examples": [artifact]}, {"statistics": [statistics]}, {"exclude_splits": "[]"}
    )
    found = load_stats_binary(str(tmp_path / "statistics" / "Split-train" / "FeatureStats.pb"))
    assert found.datasets[0].num_examples == artifact.get_int_custom_property("rows_train")


def test_the_fingerprint_is_of_the_content(tmp_path: Path, rows_csv: Path) -> None:
    config = make_config(tmp_path, "rows.csv")
    before = fingerprint(config)
    os.utime(rows_csv, (1, 1))
    shutil.copy(rows_csv, tmp_path / "other")
    os.replace(tmp_path / "other", rows_csv)
    assert fingerprint(config) == before
    rows_csv.write_text(rows_csv.read_text("utf-8").replace("1", "2", 1), encoding="utf-8")
    assert fingerprint(config) != before


def test_every_field_of_the_data_section_is_part_of_the_cache_key(tmp_path: Path) -> None:
    from tfx_pipeline.components.example_gen.component import make_example_gen

    def key(**data: Any) -> str:
        return str(make_example_gen(make_config(tmp_path, "rows.csv", **data)).exec_properties)

    plain = key()
    assert key() == plain
    for change in (
        {"missing_values": ["?"]},
        {"delimiter": ";"},
        {"split": {"eval_fraction": 0.2}},
        {"label": {"column": "x", "task": "regression"}},
    ):
        assert key(**change) != plain


def test_the_launcher_caches_by_content_and_records_the_digest(
    tmp_path: Path, rows_csv: Path
) -> None:
    from ml_metadata.proto import metadata_store_pb2 as mlmd
    from tfx import v1 as tfx
    from tfx.orchestration.metadata import Metadata

    from tfx_pipeline.components.example_gen.component import make_example_gen

    connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(
        str(tmp_path / "mlmd.sqlite")
    )

    def run() -> None:
        node = make_example_gen(make_config(tmp_path, "rows.csv"))
        pipeline = tfx.dsl.Pipeline(
            "test",
            str(tmp_path / "root"),
            components=[node],
            enable_cache=True,
            metadata_connection_config=connection,
        )
        tfx.orchestration.LocalDagRunner().run(pipeline)

    def states() -> list[str]:
        with Metadata(connection) as metadata:
            found = sorted(metadata.store.get_executions(), key=lambda execution: execution.id)
        return [mlmd.Execution.State.Name(execution.last_known_state) for execution in found]

    run()
    os.utime(rows_csv, (1, 1))
    run()
    assert states() == ["COMPLETE", "CACHED"]
    with rows_csv.open("a", encoding="utf-8") as file:
        file.write("1,1\n")
    run()
    with Metadata(connection) as metadata:
        artifacts = metadata.store.get_artifacts_by_type("Examples")
    digests = {a.custom_properties["input_fingerprint"].string_value for a in artifacts}
    assert len(digests) == 2
    assert all(digest.startswith("sha256:") for digest in digests)
    rows_csv.unlink()
    with pytest.raises(DataError, match="does not exist"):
        run()
    assert states() == ["COMPLETE", "CACHED", "COMPLETE", "FAILED"]


def test_bad_rows_leave_no_split_behind(tmp_path: Path, rows_csv: Path) -> None:
    with rows_csv.open("a", encoding="utf-8") as file:
        file.write("oops,1\n")
    with pytest.raises(DataError, match="line 302, column 'x': 'oops'"):
        run_node(make_config(tmp_path, "rows.csv"))
    assert not list((tmp_path / "examples").iterdir())


def test_what_a_killed_process_left_is_removed(tmp_path: Path, rows_csv: Path) -> None:
    leftovers = [tmp_path / "examples/.writing/train", tmp_path / "examples/Split-val"]
    for folder in leftovers:
        folder.mkdir(parents=True)
        (folder / "00000.part").write_bytes(b"half")
    run_node(make_config(tmp_path, "rows.csv"))
    assert not list((tmp_path / "examples").rglob("*.part"))
    assert not leftovers[0].parent.exists()


def test_nothing_has_a_final_name_before_all_is_written(
    tmp_path: Path, rows_csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder as a `kill -9` would leave it, at every record that is written."""
    from tfx_pipeline.ingest.shards import ShardWriter

    seen: set[str] = set()
    finish = ShardWriter.finish

    def look_and_finish(writer: ShardWriter) -> int:
        seen.update(path.name for path in (tmp_path / "examples").iterdir())
        return finish(writer)

    monkeypatch.setattr(ShardWriter, "finish", look_and_finish)
    run_node(make_config(tmp_path, "rows.csv"))
    assert seen == {".writing"}


def test_a_full_disk(tmp_path: Path) -> None:
    from tfx_pipeline.ingest.shards import ShardWriter
    from tfx_pipeline.ingest.tfrecord_writer import make_piece

    (tmp_path / "00000.part").symlink_to("/dev/full")
    writer = ShardWriter(tmp_path)
    with pytest.raises(StorageError, match="the disk is full"):
        writer.write(make_piece([os.urandom(100_000)]))
    writer.abandon()


def test_a_folder_that_cannot_be_written(tmp_path: Path, rows_csv: Path) -> None:
    # Not even root may make a folder in /sys.
    with pytest.raises(StorageError, match=r"permission denied|read-only"):
        run_node(make_config(tmp_path, "rows.csv"), uri="/sys/assay_test")


def test_a_run_after_another_reads_new_files(tmp_path: Path) -> None:
    """With the cache off, all; and what a killed try left is no part of the artifact."""
    from tfx.dsl.components.base.base_executor import BaseExecutor
    from tfx.proto.orchestration import pipeline_pb2
    from tfx.types import standard_artifacts

    from tfx_pipeline.components.example_gen.component import make_example_gen
    from tfx_pipeline.components.example_gen.executor import KNOWN_PROPERTY, Executor

    def run(number: int, *, cache: bool = True) -> str:
        node = pipeline_pb2.PipelineNode()
        node.execution_options.caching_options.enable_cache = cache
        artifact = standard_artifacts.Examples()
        artifact.uri = str(tmp_path / "ExampleGen/examples" / str(number))
        executor = Executor(BaseExecutor.Context(pipeline_node=node))
        properties = dict(make_example_gen(make_config(tmp_path, "data")).exec_properties)
        executor.Do({}, {"examples": [artifact]}, properties)
        return artifact.get_string_custom_property(KNOWN_PROPERTY)

    (tmp_path / "data").mkdir()
    (tmp_path / "data/1.csv").write_text(numbers_csv(300), encoding="utf-8")
    assert not run(1)
    left = tmp_path / "ExampleGen/examples/2/Split-train/data_tfrecord-00000-of-00009.gz"
    left.parent.mkdir(parents=True)
    left.touch()
    (left.parents[1] / "spans.json").write_text("{}")
    assert run(2) == "1 of them not read again"
    assert not left.exists()
    assert not run(3, cache=False)
    shards = [sorted((tmp_path / "ExampleGen/examples" / number).rglob("*.gz")) for number in "123"]
    contents = [[shard.read_bytes() for shard in found] for found in shards]
    assert contents[0] == contents[1] == contents[2]
    assert shards[1][0].samefile(shards[0][0])
    assert not shards[2][0].samefile(shards[0][0])


def test_shards_are_numbered(tmp_path: Path) -> None:
    import tensorflow as tf

    from tfx_pipeline.ingest.shards import ShardWriter
    from tfx_pipeline.ingest.tfrecord_writer import make_piece

    writer = ShardWriter(tmp_path / "split", shard_rows=2)
    for records in ([b"a"], [b"b"], [], [b"c"]):
        writer.write(make_piece(records))
    writer.finish()
    assert writer.rows == 3
    files = sorted(path.name for path in (tmp_path / "split").iterdir())
    assert files == ["data_tfrecord-00000-of-00002.gz", "data_tfrecord-00001-of-00002.gz"]
    paths = [str(tmp_path / "split" / name) for name in files]
    records = tf.data.TFRecordDataset(paths, "GZIP").as_numpy_iterator()
    assert list(records) == [b"a", b"b", b"c"]


def test_two_nodes_at_once_do_not_mix(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def run(folder: Path) -> None:
        folder.mkdir()
        (folder / "rows.csv").write_text(numbers_csv(200), encoding="utf-8")
        try:
            run_node(make_config(folder, "rows.csv"))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(tmp_path / name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    sizes = [len(list((tmp_path / name / "examples").rglob("*.gz"))) for name in "ab"]
    assert sizes == [3, 3]


BIGQUERY = {"format": "bigquery", "path": [], "bigquery": {"query": "SELECT 1"}}


def test_bigquery_is_tfx_own_component(tmp_path: Path) -> None:
    pytest.importorskip("google.cloud.bigquery")
    from google.protobuf import json_format
    from tfx.proto import example_gen_pb2

    from tfx_pipeline.components.example_gen.component import make_example_gen

    data: dict[str, Any] = {**BIGQUERY, "label": {"column": "y", "task": "regression"}}
    features = {"columns": {"x": {"kind": "numeric"}}}
    config = PipelineConfig.model_validate({"name": "test", "data": data, "features": features})
    node = make_example_gen(config)
    assert (type(node).__name__, node.id) == ("BigQueryExampleGen", "ExampleGen")
    output = example_gen_pb2.Output()
    json_format.Parse(node.exec_properties["output_config"], output)
    buckets = {split.name: split.hash_buckets for split in output.split_config.splits}
    assert buckets == {"train": 6000, "val": 700, "eval": 3300}
    data["split"] = {"method": "time", "column": "t"}
    config = PipelineConfig.model_validate({"name": "test", "data": data, "features": features})
    with pytest.raises(ConfigError, match="cannot be split by time"):
        make_example_gen(config)


def test_bigquery_without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("google.cloud.bigquery")
    from tfx_pipeline.components.example_gen.bigquery import check_bigquery

    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(EnvironmentMismatch, match="no Google Cloud credentials"):
        check_bigquery()


def test_rejected_rows_are_told_by_the_artifact(tmp_path: Path, rows_csv: Path) -> None:
    with rows_csv.open("a", encoding="utf-8") as file:
        file.write("oops,1\n1e9,2\n16777217,3\n")
    artifact = run_node(make_config(tmp_path, "rows.csv", max_bad_rows=2))
    assert artifact.get_int_custom_property("rows_rejected") == 1
    note = artifact.get_string_custom_property("note")
    path = tmp_path / "examples" / "rejected_rows.jsonl"
    assert note.startswith(f"1 row rejected, see {path}; 1 of 'x': is a whole number that")
    assert json.loads(path.read_text("utf-8"))["line"] == 302
    (tmp_path / "rows.csv").write_text(numbers_csv(300), encoding="utf-8")
    artifact = run_node(make_config(tmp_path, "rows.csv", max_bad_rows=2))
    assert artifact.get_int_custom_property("rows_rejected") == 0
    assert not path.exists()
