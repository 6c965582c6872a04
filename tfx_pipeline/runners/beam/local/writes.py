"""Beam's writes of TFRecords, of two steps instead of a dozen.

`LocalRunner` takes a write as one step, whatever it is made of; Beam builds the parts all the same,
25 ms a write, and with a TFT dataset a span there are hundreds. These two write the same files on
Beam's own runner, too, which takes the jobs that `LocalRunner` does not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.io import tfrecordio

from tfx_pipeline.runners.beam.local.files import RecordFiles
from tfx_pipeline.runners.beam.local.plan import is_plain_write


def expand(transform: Any, records: Any) -> pvalue.PCollection | None:
    """The names of the files that a transform writes; None where it is no plain write of all of
    one collection."""
    if (
        not isinstance(transform, tfrecordio.WriteToTFRecord)
        or not isinstance(records, pvalue.PCollection)
        or not is_plain_write(transform)
        or not records.is_bounded
        or not records.windowing.is_default()
    ):
        return None
    once = records.pipeline | "Once" >> beam.Impulse()
    return once | "Write" >> beam.ParDo(_WriteAll(transform._sink), pvalue.AsIter(records))


class _WriteAll(beam.DoFn):  # type: ignore[misc]
    """Writes all records, be there none, and tells the names of the files."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink

    def process(self, _: bytes, records: Iterable[bytes]) -> Iterator[str]:
        files = RecordFiles(self._sink)
        try:
            files.clear()
            for record in records:
                files.write(record)
            files.merge(files.take())
            yield from files.finish()
        except BaseException:
            files.abandon()
            files.clear()
            raise
