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

# A span costs Transform a tenth of a second of graph at 15 columns, analyzing 8 MB of CSV two.
LEAST_BYTES = 8 << 20
_FEWEST = 16  # Of much data, about; twice as many at most, about.
_FORMAT = 1  # Of what is written of a span: another one makes all spans new.
_PARSERS = ("pyarrow", "numpy", "tfx-assay")


@dataclass(frozen=True)
class Span:
    """Files whose rows have shards of their own.

    Attributes:
        files: In the order in which they are read.
        key: SHA-256 of their content and of all that decides what is made of it, hexadecimal; "":
            what is made of them depends on other files (images that are named in the rows).
        digests: SHA-256 of each file, hexadecimal; none where the key is empty.
    """

    files: tuple[InputFile, ...]
    key: str
    digests: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """What the names of its shards begin with where there are several spans."""
        return f"data_tfrecord-{self.key[:16]}"


def spans_of(files: Sequence[InputFile], source: Source, bounds: TimeBounds | None) -> list[Span]:
    """Cuts files into spans: each file is one if it is large enough, small ones are together.

    Where small ones are cut follows from their content, so new files and files that are gone leave
    most other spans as they were. (Of twice the data spans are twice as large: once in a long
    while all are new.)

    Raises:
        DataError: A file cannot be read.
    """
    if files[0].format == "images" or source.path_columns:
        return [Span(tuple(files), "")]
    how = _how(source)
    seen: Counter[str] = Counter()
    spans = []
    for together in _cut([(file, file_digest(file.path)) for file in files]):
        content = [
            f"{digest} {file.format} {file.path.suffix} {file.split or ''}"
            for file, digest in together
        ]
        if bounds is not None:
            content.append(bounds.within(file.path for file, _ in together))
        key = hashlib.sha256("\n".join([how, *content]).encode()).hexdigest()
        seen[key] += 1
        if seen[key] > 1:  # The same rows once more.
            key = hashlib.sha256(f"{key} {seen[key]}".encode()).hexdigest()
        its_files, digests = zip(*together, strict=True)
        spans.append(Span(its_files, key, digests))
    return spans


def _cut(files: Sequence[tuple[InputFile, str]]) -> Iterator[list[tuple[InputFile, str]]]:
    """Cuts behind each file of `least` bytes or more, and among others once in so many."""
    sizes = [file_size(file.path) for file, _ in files]
    # A power of two, so that it seldom changes while the data grow.
    least = max(LEAST_BYTES, 2 ** ((sum(sizes) // _FEWEST).bit_length() - 1))
    together: list[tuple[InputFile, str]] = []
    for (file, digest), size in zip(files, sizes, strict=True):
        if together and file.split != together[-1][0].split:
            yield together
            together = []
        together.append((file, digest))
        if int(digest[:8], 16) < size / least * 2**32:
            yield together
            together = []
    if together:
        yield together


def _how(source: Source) -> str:
    content = json.loads(source.to_json())
    del content["paths"], content["data"]["path"]
    versions = [version(package) for package in _PARSERS]
    return json.dumps([_FORMAT, versions, content], sort_keys=True)
