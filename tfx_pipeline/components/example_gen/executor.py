"""Writes the splits: typed rows -> gzip TFRecord shards of tf.Example."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from google.protobuf import wrappers_pb2
from tfx import types
from tfx.components.example_gen import utils
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from tfx_pipeline.components.earlier import KNOWN_PROPERTY, earlier_outputs, may_reuse
from tfx_pipeline.errors import storage_errors
from tfx_pipeline.gates.same_split import SPLIT_BY_PROPERTY, split_record
from tfx_pipeline.ingest.files import SPLITS, find_files, left_out
from tfx_pipeline.ingest.known import SPANS_FILE
from tfx_pipeline.ingest.rejected import REJECTED_FILE, write_rejected
from tfx_pipeline.ingest.sizes import data_size
from tfx_pipeline.ingest.source import Source
from tfx_pipeline.ingest.tally import Tally
from tfx_pipeline.ingest.workers import processes_for
from tfx_pipeline.ingest.write import Written, write_splits
from tfx_pipeline.runners.beam.local import workers

REJECTED_PROPERTY = "rows_rejected"
FILES_PROPERTY = "files"
NOTE_PROPERTY = "note"
_log = logging.getLogger(__name__)


class Executor(base_executor.BaseExecutor):
    """Reads, checks, splits and writes the rows, in several processes if they are many; no Beam."""

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
            with workers.job():
                if processes_for(find_files(source)) == 1:
                    workers.start_ahead(sum(data_size(Path(path)) for path in source.paths))
                written = write_splits(
                    source,
                    staging,
                    fingerprint=_fingerprint(exec_properties),
                    earlier=earlier_outputs(examples.uri) if may_reuse(self._context) else (),
                )
            rows, tally = written.rows, written.tally
            names = [name for name in SPLITS if rows[name]]
            examples.split_names = artifact_utils.encode_split_names(names)
            with storage_errors(examples.uri):
                for name in names:
                    final = artifact_utils.get_split_uri([examples], name)
                    (staging / name).rename(final)
                rejected = write_rejected(Path(examples.uri), tally.rejected, tally.ragged, source)
                written.records.write(Path(examples.uri))
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(examples, "tfrecords_gzip")
        for name in names:
            examples.set_int_custom_property(f"rows_{name}", rows[name])
        record = split_record(source.data.split, written.split_by)
        examples.set_string_custom_property(SPLIT_BY_PROPERTY, record)
        if source.data.max_bad_rows:
            examples.set_int_custom_property(REJECTED_PROPERTY, tally.bad_rows)
        if note := "; ".join(filter(None, [_odd(tally, rejected), _left_out(source)])):
            _log.warning("%s", note)
            examples.set_string_custom_property(NOTE_PROPERTY, note)
        examples.set_int_custom_property(FILES_PROPERTY, written.files)
        if known := _known(written):
            examples.set_string_custom_property(KNOWN_PROPERTY, known)
            _log.info("%s", known)
        _log.info("wrote %s", ", ".join(f"{rows[name]} rows of {name}" for name in names))


def source_from(exec_properties: dict[str, Any]) -> Source:
    """The source in the standard `custom_config` property of ExampleGen."""
    config = example_gen_pb2.CustomConfig()
    proto_utils.json_to_proto(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY], config)
    text = wrappers_pb2.StringValue()
    config.custom_config.Unpack(text)
    return Source.from_json(text.value)


def _fingerprint(exec_properties: dict[str, Any]) -> str:
    return str(exec_properties.get(utils.FINGERPRINT_PROPERTY_NAME) or "")


def _known(written: Written) -> str:
    if not written.known_files:
        return ""
    return f"{written.known_files:,} of them not read again"


def _left_out(source: Source) -> str:
    """What lies in the data's folder and is no data, by its ending."""
    others = left_out(source)
    if not others:
        return ""
    names = ", ".join(path.name for path in others[:3])
    more = f" and {len(others) - 3:,} more" if len(others) > 3 else ""
    return f"left out: {names}{more}"


def _odd(tally: Tally, rejected: Path | None) -> str:
    """What was odd with the rows, if anything."""
    said = []
    if rejected is not None:
        rows = f"{tally.bad_rows:,} row{'s' if tally.bad_rows > 1 else ''}"
        said.append(f"{rows} rejected, see {rejected}")
    said += [
        f"{count:,} of {column!r}: {what}" for (column, what), count in tally.odd_values.items()
    ]
    return "; ".join(said)


def _remove_earlier_try(folder: Path) -> None:
    """A process that was killed may have left parts of its artifact in the folder."""
    for path in [*folder.glob("Split-*"), folder / ".writing"]:
        if path.is_dir():
            shutil.rmtree(path)
    for name in (REJECTED_FILE, SPANS_FILE):
        (folder / name).unlink(missing_ok=True)
