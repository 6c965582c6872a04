"""What an earlier run has made of a span: its record, beside the shards, and their reuse.

No metadata store is asked: a span's key has the content of its files and all that decides what is
made of them, so its shards are what reading it again would make. They are linked, not copied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError

from tfx_pipeline.errors import storage_errors
from tfx_pipeline.files import link, write_text
from tfx_pipeline.ingest.checks import LabelCount
from tfx_pipeline.ingest.shards import shard_names
from tfx_pipeline.ingest.spans import Span
from tfx_pipeline.ingest.tally import Tally
from transform.config import LabelConfig

SPANS_FILE = "spans.json"


class Shard(BaseModel):
    """A file of examples: its name in the folder of its split, and its size in bytes."""

    name: str
    size: int


class SpanRecord(BaseModel):
    """What was made of a span.

    Attributes:
        shards: Its files of each split.
        rows: Its rows in each of `SPLITS`.
        split_by: Columns whose values decided the splits.
        labels: How often each label occurs in each of `SPLITS`.
        odd_values: Column, what is odd, and how many values are.
        columns: What each column holds, unless the files are CSVs.
        has_bad_rows: Whether rows were left out: then it is read anew each time, for they are
            told of.
    """

    shards: dict[str, list[Shard]]
    rows: list[int]
    split_by: list[str]
    labels: list[list[tuple[bool | int | float | str, int]]]
    odd_values: list[tuple[str, str, int]]
    columns: dict[str, str]
    has_bad_rows: bool = False

    def add_to(self, tally: Tally) -> None:
        """Tells a tally what was found in the rows."""
        label = tally.source.data.label
        counts = [Counter({_label(v, label): n for v, n in pairs}) for pairs in self.labels]
        odd = Counter({(column, what): count for column, what, count in self.odd_values})
        tally.add_known(LabelCount(label, counts, list(self.rows)), odd)


class SpanRecords(BaseModel):
    """What an `Examples` artifact was made of.

    Attributes:
        spans: Those that need not be read again, by their keys.
        files: SHA-256 of each file, by its path, in the order in which they were read.
    """

    spans: dict[str, SpanRecord]
    files: dict[str, str] = {}

    def write(self, folder: Path) -> None:
        """Writes `spans.json` into the artifact's folder.

        Raises:
            StorageError: It cannot be written.
        """
        in_order = SpanRecords(spans=dict(sorted(self.spans.items())), files=self.files)
        write_text(folder / SPANS_FILE, in_order.model_dump_json())


def labels_of(found: LabelCount) -> list[list[tuple[bool | int | float | str, int]]]:
    """Counts of labels as a record has them."""
    return [[(_plain(value), n) for value, n in counter.items()] for counter in found.counts]


def link_known(
    spans: Sequence[Span], earlier: Iterable[Path], folder: Path
) -> dict[str, SpanRecord]:
    """Links the shards of spans that an earlier artifact has into the folders of their splits.

    Args:
        spans: What is asked for.
        earlier: Folders of artifacts, the newest first.
        folder: Holds the folders of the splits.

    Returns:
        Records of what is there now, by the spans' keys. An artifact whose files are not what its
        record says has nothing that is known.

    Raises:
        StorageError: The folder cannot be written.
    """
    wanted = {span.key: span for span in spans if span.key}
    several = len(spans) > 1
    known: dict[str, SpanRecord] = {}
    for artifact in earlier:
        if len(known) == len(wanted):
            break
        for key, record in read_records(artifact).spans.items():
            if key in wanted and key not in known and _is_whole(record, artifact):
                prefix = wanted[key].prefix if several else ""
                linked = _linked(record, artifact, folder, prefix)
                if linked is not None:
                    known[key] = linked
    return known


def read_records(artifact: Path) -> SpanRecords:
    """What an artifact was made of; nothing where it does not say so."""
    try:
        return SpanRecords.model_validate_json((artifact / SPANS_FILE).read_bytes())
    except (OSError, ValidationError):
        return SpanRecords(spans={})  # None was written, or a later version wrote it.


def _is_whole(record: SpanRecord, artifact: Path) -> bool:
    return all(_size(source) == shard.size for source, shard in _sources(record, artifact))


def _sources(record: SpanRecord, artifact: Path) -> Iterator[tuple[Path, Shard]]:
    for split, shards in record.shards.items():
        for shard in shards:
            yield artifact / f"Split-{split}" / shard.name, shard


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _linked(record: SpanRecord, artifact: Path, folder: Path, prefix: str) -> SpanRecord | None:
    """The record of what is linked now; None: it is gone meanwhile, and will be read."""
    shards: dict[str, list[Shard]] = {}
    for split, old in record.shards.items():
        names = shard_names(len(old), prefix)
        shards[split] = [
            Shard(name=name, size=shard.size) for name, shard in zip(names, old, strict=True)
        ]
        with storage_errors(str(folder)):
            (folder / split).mkdir(parents=True, exist_ok=True)
            for shard, name in zip(old, names, strict=True):
                try:
                    link(artifact / f"Split-{split}" / shard.name, folder / split / name)
                except FileNotFoundError:
                    _unlink(shards, folder)
                    return None
    return record.model_copy(update={"shards": shards})


def _unlink(shards: dict[str, list[Shard]], folder: Path) -> None:
    for split, those in shards.items():
        for shard in those:
            (folder / split / shard.name).unlink(missing_ok=True)


def _plain(value: object) -> bool | int | float | str:
    if isinstance(value, bytes):
        return value.decode()
    assert isinstance(value, bool | int | float | str), value
    return value


def _label(value: bool | int | float | str, label: LabelConfig) -> object:
    """A label's value as `LabelCount` has it: classes are bytes."""
    if isinstance(value, str) and label.task != "multilabel":
        return value.encode()
    return value
