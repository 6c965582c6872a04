"""Spans: files that follow each other and are read as one, so that they need not be read again."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from tfx_pipeline.ingest.files import InputFile, file_digest
from tfx_pipeline.ingest.sizes import file_size
from tfx_pipeline.ingest.source import Source
from tfx_pipeline.ingest.splits import TimeBounds

# A span costs Transform some tenths of a second of graph, as much as analyzing 4 MB of CSV does.
LEAST_BYTES = 4 << 20
_FEWEST = 32  # Of much data; there are twice as many at most.
_FORMAT = 1  # Of what is written of a span: another one makes all spans new.


@dataclass(frozen=True)
class Span:
    """Files whose rows have shards of their own.

    Attributes:
        files: In the order in which they are read.
        key: SHA-256 of their content and of all that decides what is made of it, hexadecimal; "":
            what is made of them depends on other files (images that are named in the rows).
    """

    files: tuple[InputFile, ...]
    key: str

    @property
    def prefix(self) -> str:
        """What the names of its shards begin with where there are several spans."""
        return f"data_tfrecord-{self.key[:16]}"


def spans_of(files: Sequence[InputFile], source: Source, bounds: TimeBounds | None) -> list[Span]:
    """Cuts files into spans: each file is one if it is large enough, small ones are together.

    New files behind the old ones, as days are, leave the spans before as they were. (Twice the data
    may be cut into spans twice as large, that is once in a long while.)

    Raises:
        DataError: A file cannot be read.
    """
    if files[0].format == "images" or source.path_columns:
        return [Span(tuple(files), "")]
    how = _how(source, bounds)
    seen: Counter[str] = Counter()
    spans = []
    for together in _cut(files):
        content = [f"{file_digest(file.path)} {file.split or ''}" for file in together]
        key = hashlib.sha256("\n".join([how, *content]).encode()).hexdigest()
        seen[key] += 1
        if seen[key] > 1:  # The same rows once more.
            key = hashlib.sha256(f"{key} {seen[key]}".encode()).hexdigest()
        spans.append(Span(tuple(together), key))
    return spans


def _cut(files: Sequence[InputFile]) -> Iterator[list[InputFile]]:
    sizes = [file_size(file.path) for file in files]
    # A power of two, so that it seldom changes while the data grow.
    least = max(LEAST_BYTES, 2 ** ((sum(sizes) // _FEWEST).bit_length() - 1))
    together: list[InputFile] = []
    size = 0
    for file, its_size in zip(files, sizes, strict=True):
        if together and (size >= least or file.split != together[-1].split):
            yield together
            together, size = [], 0
        together.append(file)
        size += its_size
    yield together


def _how(source: Source, bounds: TimeBounds | None) -> str:
    content = json.loads(source.to_json())
    del content["paths"], content["data"]["path"]
    cut = [] if bounds is None else [repr(bounds)]
    return json.dumps([_FORMAT, version("tfx-assay"), content, cut], sort_keys=True)
