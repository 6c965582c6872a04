"""What the label is: its task, its classes, and which columns give it away."""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfx_pipeline.errors import DataError
from tfx_pipeline.init.columns import number, numbers

# The usual words of English, German, French, Spanish, Italian, Portuguese and Dutch.
_POSITIVE = (
    *("1", "1.0", "true", "t", "yes", "y", "positive", "pos", "on", ">50k"),
    *("ja", "wahr", "positiv", "oui", "vrai", "positif", "si", "sí", "sì", "verdadero", "vero"),
    *("sim", "verdadeiro", "positivo", "waar"),
)
_NEGATIVE = (
    *("0", "0.0", "false", "f", "no", "n", "negative", "neg", "off", "<=50k", "-1", "-1.0"),
    *("nein", "falsch", "negativ", "non", "faux", "négatif", "falso", "negativo", "não", "nao"),
    *("nee", "onwaar"),
)
_MAX_NUMBER_CLASSES = 20
_MAX_CLASSES = 200
_MIN_ROWS_A_VALUE = 5
_SEPARATORS = ("|", ";")
_MAX_LABELS = 50  # Classes of a multilabel: more are taken for texts of another kind.
_LEAST_CELLS = 3  # Two different cells are two classes, whatever they are called.


@dataclass(frozen=True)
class LabelProfile:
    """The label, as `assay init` understands it.

    Attributes:
        column: Its name.
        task: binary, multiclass, multilabel or regression.
        classes: Class names, the positive one second; empty for regression.
        why: How the task and the order of the classes were found.
        counts: Rows of each class; empty for regression.
        targets: float64 [N, C]: 1 for each class that a row has, or the number itself [N, 1].
        separator: Of the classes in a cell of a multilabel.
    """

    column: str
    task: str
    classes: list[str]
    why: str
    counts: dict[str, int]
    targets: np.ndarray
    separator: str = ""

    @property
    def majority_share(self) -> float:
        """Accuracy of always naming the most frequent class."""
        return max(self.counts.values()) / sum(self.counts.values())

    @property
    def ids(self) -> np.ndarray:
        """int64 [N]: which distinct label value each row has."""
        if self.task == "multilabel":
            return np.unique(self.targets, axis=0, return_inverse=True)[1].reshape(-1)
        if self.classes:
            return np.asarray(self.targets.argmax(axis=1))
        return np.unique(self.targets[:, 0], return_inverse=True)[1]


def profile_label(name: str, column: pa.Array, *, of_lists: bool = False) -> LabelProfile:
    """Profiles the label's column: text [N].

    Args:
        name: The column's.
        column: Its texts.
        of_lists: Whether some row had several values, which the text joins with `|`.

    Raises:
        DataError: It is missing in some rows, never varies, or has too many values to be classes.
    """
    if (several := _multilabel(name, column)) is not None:
        return several
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(
            f"the label {name!r} is missing in {column.null_count} of {len(column)} rows, first "
            f"in row {row + 1}",
            hint="Drop those rows or fill the label in; they can teach and test nothing.",
        )
    counts = Counter(column.to_pylist())
    if len(counts) == 1:
        raise DataError(
            f"the label {name!r} is {next(iter(counts))!r} in all {len(column)} rows",
            hint="A model needs at least two values to tell apart: check the column and the file.",
        )
    values = numbers(column)
    if values is not None and (
        len(counts) > _MAX_NUMBER_CLASSES
        or (len(counts) > 2 and bool(np.any(values != np.floor(values))))
    ):
        why = (
            f"numbers, {values.min():g} to {values.max():g}; for a range and not one number, set "
            "`task: quantile`"
        )
        return LabelProfile(name, "regression", [], why, {}, values[:, None])
    if len(counts) > _MAX_CLASSES:
        raise DataError(
            f"the label {name!r} has {len(counts)} different texts, too many to be classes",
            hint=f"Choose another column, or group its values into at most {_MAX_CLASSES}.",
        )
    if of_lists:
        raise DataError(
            f"the label {name!r} has several values in a row, of more than {_MAX_LABELS} names or "
            "of more names than different rows",
            hint="If each is a class of its own, write `task: multilabel` and the `classes` into a "
            "pipeline.yaml that `assay init` made for another label.",
        )
    if len(counts) == 2:
        classes, why = _binary_classes(counts)
        return LabelProfile(name, "binary", classes, why, dict(counts), _one_hot(column, classes))
    classes = sorted(counts, key=lambda text: (number(text) or 0.0, text))
    why = f"{len(classes)} values" + (
        "; for a number to estimate, set `task: regression` and drop `classes`"
        if values is not None
        else ""
    )
    return LabelProfile(name, "multiclass", classes, why, dict(counts), _one_hot(column, classes))


def _multilabel(name: str, column: pa.Array) -> LabelProfile | None:
    """The label as one of several classes a cell, where its texts are made of few parts that come
    together in different ways; None where they are not.

    Parts of a hierarchy ("animal|cat") are more than its cells, or each has its place in all cells;
    those of a multilabel are not, and have not.
    """
    cells = Counter(column.to_pylist())
    texts = [text for text in cells if text is not None]
    if len(texts) < _LEAST_CELLS or numbers(column) is not None:
        return None
    for separator in _SEPARATORS:
        parts = {text: _parts(text, separator) for text in texts}
        rows = Counter[str]()
        for text, of in parts.items():
            rows.update(dict.fromkeys(of, cells[text]))
        joined = sum(cells[text] for text, of in parts.items() if len(of) > 1)
        if joined < 2 or not 2 <= len(rows) <= min(_MAX_LABELS, len(texts)):
            continue
        if _is_hierarchy(list(parts.values())):
            continue
        classes = sorted(rows, key=lambda text: (number(text) or 0.0, text))
        empty = f"; {column.null_count} rows have none" if column.null_count else ""
        why = f"{joined} cells hold several of {len(classes)} names, between {separator!r}{empty}"
        of_cell = np.array(
            [*(np.isin(classes, of) for of in parts.values()), [False] * len(classes)]
        )
        cell = pc.fill_null(pc.index_in(column, pa.array(texts, column.type)), len(texts))
        targets = of_cell[cell.to_numpy()].astype(np.float64)
        return LabelProfile(name, "multilabel", classes, why, dict(rows), targets, separator)
    return None


def _is_hierarchy(cells: Sequence[Sequence[str]]) -> bool:
    """Whether all cells have as many parts, and no part is in one place here and another there."""
    places = {place_and_part for of in cells for place_and_part in enumerate(of)}
    return len({len(of) for of in cells}) == 1 and len(places) == len({part for _, part in places})


def _parts(text: str, separator: str) -> list[str]:
    """As ingest and the transform graph cut a cell: only ASCII's blanks are dropped."""
    stripped = (part.strip(string.whitespace) for part in text.split(separator))
    return [part for part in stripped if part]


def gives_away(column: pa.Array, label: LabelProfile) -> str:
    """Why a column tells the label of every row, or "" if it does not.

    Such a column is nearly always made from the label, or known only after it. A column with
    fewer than five rows a value proves nothing.
    """
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    values = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    distinct = len(encoded.dictionary)
    ids = label.ids
    pairs = len(np.unique(values * (int(ids.max()) + 1) + ids))
    if distinct > 1 and pairs == distinct and len(values) >= _MIN_ROWS_A_VALUE * distinct:
        return "each of its values goes with one value of the label only"
    if label.task == "regression":
        found = numbers(column)
        if found is not None and not np.isnan(found).any() and found.std() > 0:
            correlation = float(np.corrcoef(found, label.targets[:, 0])[0, 1])
            if abs(correlation) > 0.999999:
                return "it is the label on another scale"
    return ""


def association(column: pa.Array, label: LabelProfile) -> float:
    """Share of the label's variance that the column's values explain (eta squared), 0 to 1."""
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    values = encoded.indices.to_numpy(zero_copy_only=False)
    counts = np.bincount(values, minlength=len(encoded.dictionary))
    centred = label.targets - label.targets.mean(axis=0)
    between = 0.0
    for target in centred.T:
        sums = np.bincount(values, weights=target, minlength=len(counts))
        between += float(np.sum(sums**2 / np.maximum(counts, 1)))
    return between / float(np.sum(centred**2))


def _binary_classes(counts: Counter[str]) -> tuple[list[str], str]:
    common, rare = (value for value, _ in counts.most_common())
    for positive, negative in ((rare, common), (common, rare)):
        if _word(positive) in _POSITIVE or _word(negative) in _NEGATIVE:
            return [negative, positive], f"{positive!r} is positive, by its name"
    return [common, rare], f"{rare!r} is positive because it is the rarer; swap them if not"


def _word(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip().lower())


def _one_hot(column: pa.Array, classes: list[str]) -> np.ndarray:
    ids = pc.index_in(column, pa.array(classes, column.type)).to_numpy(zero_copy_only=False)
    return np.eye(len(classes))[ids]
