"""`encode_chunk`: rows as they were read -> what goes into the splits' files, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfx_pipeline.ingest.examples import encode_examples
from tfx_pipeline.ingest.files import SPLITS
from tfx_pipeline.ingest.readers import Chunk
from tfx_pipeline.ingest.rows import check_chunk
from tfx_pipeline.ingest.source import Source
from tfx_pipeline.ingest.splits import TimeBounds
from tfx_pipeline.ingest.tally import Findings
from tfx_pipeline.ingest.tfrecord_writer import Piece, make_piece


@dataclass(frozen=True)
class EncodedRows:
    """What was made of the rows of a chunk.

    Attributes:
        pieces: For each of `SPLITS`, its rows; none at all where too many rows are bad.
        split_by: Columns whose values decided the splits.
        findings: What is wrong with the chunk, and its labels.
    """

    pieces: list[Piece]
    split_by: list[str]
    findings: Findings


def encode_chunk(
    chunk: Chunk, order: np.ndarray, source: Source, bounds: TimeBounds | None
) -> EncodedRows:
    """Types, splits, encodes and compresses the rows of a chunk.

    Args:
        chunk: The rows.
        order: int64 [rows]: the order in which they are written.
        source: How they are typed and split.
        bounds: Where a time split cuts.
    """
    checked = check_chunk(chunk, source, bounds)
    pieces: list[Piece] = []
    if len(checked.findings.rejected) <= source.data.max_bad_rows:
        encoded = encode_examples(checked.rows.columns)
        order = _of_kept(order, checked.kept)
        splits = checked.rows.splits[order]
        parts = [order[splits == position].tolist() for position in range(len(SPLITS))]
        pieces = [make_piece([encoded[at] for at in part]) for part in parts]
    return EncodedRows(pieces, checked.rows.split_by, checked.findings)


def _of_kept(order: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The order of the rows that are kept, as positions among them."""
    if len(kept) == len(order):
        return order
    positions = np.full(len(order), -1)
    positions[kept] = np.arange(len(kept))
    found = positions[order]
    return found[found >= 0]
