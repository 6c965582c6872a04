"""Cells with several classes, as in `sport|politics`: which row has which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfx_pipeline.ingest.faults import BadValues
from transform.config import LabelConfig

if TYPE_CHECKING:
    import pyarrow as pa

OUTSIDE = "is none of the label's classes"


@dataclass(frozen=True)
class Memberships:
    """What the cells of N rows say.

    Attributes:
        rows: Of each pair of a row and a class that it has, the row: int64 [P]. A class that is
            named twice in a row is there twice.
        classes: The class's position: int64 [P].
        faults: Rows with a class that there is not.
    """

    rows: np.ndarray
    classes: np.ndarray
    faults: list[BadValues]


def memberships(cells: pa.Array, label: LabelConfig) -> Memberships:
    """Splits the cells of a multilabel as `transform.label` does.

    Args:
        cells: Lists of binary [N]; a missing cell, an empty list, has no class.
        label: Its classes and separator.
    """
    import pyarrow.compute as pc

    row_of_cell = np.repeat(
        np.arange(len(cells)), cells.value_lengths().to_numpy(zero_copy_only=False)
    )
    # A column has far fewer different cells than cells.
    coded = pc.dictionary_encode(cells.flatten())
    codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    places = {name.encode(): place for place, name in enumerate(label.classes)}
    parts = [list(_parts(text, label)) for text in coded.dictionary.to_pylist()]
    known = [[places[part] for part in of if part in places] for of in parts]
    unknown = [[part for part in of if part not in places] for of in parts]
    sizes = np.array([len(of) for of in known], np.int64)
    starts = np.cumsum(sizes) - sizes
    flat = np.array([place for of in known for place in of], np.int64)
    a_cell = sizes[codes]
    within = np.arange(a_cell.sum()) - np.repeat(np.cumsum(a_cell) - a_cell, a_cell)
    return Memberships(
        np.repeat(row_of_cell, a_cell),
        flat[np.repeat(starts[codes], a_cell) + within],
        _faults(row_of_cell, codes, unknown, label),
    )


def _parts(cell: bytes, label: LabelConfig) -> Iterator[bytes]:
    stripped = (part.strip() for part in cell.split(label.separator.encode()))
    return (part for part in stripped if part)


def _faults(
    row_of_cell: np.ndarray, codes: np.ndarray, unknown: list[list[bytes]], label: LabelConfig
) -> list[BadValues]:
    is_bad = np.array([bool(of) for of in unknown], bool)[codes]
    rows = np.unique(row_of_cell[is_bad])
    if not len(rows):
        return []
    first = _text(unknown[codes[is_bad.argmax()]][0])
    others = sorted({_text(part) for of in unknown for part in of} - {first})
    also = f" and {', '.join(map(repr, others[:5]))}" if others else ""
    hint = (
        f"`data.label.classes` has: {', '.join(map(repr, label.classes[:20]))}. Add "
        f"{first!r}{also} there, or drop the rows. Classes of a cell are told apart by "
        f"{label.separator!r} (`data.label.separator`)."
    )
    return [BadValues(int(rows[0]), first, OUTSIDE, hint, len(rows), rows)]


def _text(part: bytes) -> str:
    return part.decode(errors="backslashreplace")
