"""Writes the splits: typed rows -> gzip TFRecord shards of tf.Example."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import wrappers_pb2
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from tfx_pipeline.components.example_gen.shards import ShardWriter
from tfx_pipeline.errors import storage_errors
from tfx_pipeline.gates.same_split import SPLIT_BY_PROPERTY, split_record
from tfx_pipeline.ingest.files import SPLITS, find_files
from tfx_pipeline.ingest.rows import TypedRows, typed_rows
from tfx_pipeline.ingest.source import Source

_SHUFFLE_SEED = 0
_log = logging.getLogger(__name__)


class Executor(base_executor.BaseExecutor):
    """Reads, checks, splits and writes the rows in one process, without Beam."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the artifact. Its splits appear under their names only once all are complete.

        Raises:
            DataError: The data are missing or not what the config says.
            StorageError: The artifact's folder cannot be written.
        """
        source = source_from(exec_properties)
        examples = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.EXAMPLES_KEY]
        )
        # Not inside a split's folder: stock readers take every file there.
        staging = Path(examples.uri) / ".writing"
        with storage_errors(examples.uri):
            _remove_earlier_try(Path(examples.uri))
            staging.mkdir(parents=True)
        try:
            rows, split_by = _write(source, staging)
            names = [name for name in SPLITS if rows[name]]
            examples.split_names = artifact_utils.encode_split_names(names)
            with storage_errors(examples.uri):
                for name in names:
                    final = artifact_utils.get_split_uri([examples], name)
                    (staging / name).rename(final)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(examples, "tfrecords_gzip")
        for name in names:
            examples.set_int_custom_property(f"rows_{name}", rows[name])
        record = split_record(source.data.split, split_by)
        examples.set_string_custom_property(SPLIT_BY_PROPERTY, record)
        _log.info("wrote %s", ", ".join(f"{rows[name]} rows of {name}" for name in names))


def source_from(exec_properties: dict[str, Any]) -> Source:
    """The source in the standard `custom_config` property of ExampleGen."""
    config = example_gen_pb2.CustomConfig()
    proto_utils.json_to_proto(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY], config)
    text = wrappers_pb2.StringValue()
    config.custom_config.Unpack(text)
    return Source.from_json(text.value)


def _write(source: Source, folder: Path) -> tuple[dict[str, int], set[str]]:
    """Writes all splits below `folder`; how many rows each has, and what decided them."""
    writers = {name: ShardWriter(folder / name) for name in SPLITS}
    random = np.random.default_rng(_SHUFFLE_SEED)
    split_by: set[str] = set()
    try:
        for rows in typed_rows(find_files(source), source):
            _write_chunk(rows, writers, random)
            split_by.update(rows.split_by)
    except BaseException:
        for writer in writers.values():
            writer.abandon()
        raise
    return {name: writer.finish() for name, writer in writers.items()}, split_by


def _write_chunk(
    rows: TypedRows, writers: dict[str, ShardWriter], random: np.random.Generator
) -> None:
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    encoded = RecordBatchToExamplesEncoder().encode(rows.columns)
    # Files are often sorted (by label, by time) and a trainer's shuffle buffer is small: stock
    # ExampleGen shuffles too. The seed keeps two runs alike.
    order = random.permutation(len(encoded))
    splits = rows.splits[order]
    for position, name in enumerate(SPLITS):
        writers[name].write(encoded[index] for index in order[splits == position])


def _remove_earlier_try(folder: Path) -> None:
    """A process that was killed may have left parts of its artifact in the folder."""
    for path in [*folder.glob("Split-*"), folder / ".writing"]:
        if path.is_dir():
            shutil.rmtree(path)
