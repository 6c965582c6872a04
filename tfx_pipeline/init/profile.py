"""`profile`: reads a data set and decides everything that its pipeline.yaml will say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfx_pipeline.config.data import DataConfig, SplitConfig
from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest import splits
from tfx_pipeline.ingest.files import InputFile, find_files
from tfx_pipeline.ingest.nulls import without
from tfx_pipeline.ingest.readers import column_names
from tfx_pipeline.ingest.source import Source
from tfx_pipeline.init import sniff
from tfx_pipeline.init.columns import ColumnProfile, find_markers, profile_column
from tfx_pipeline.init.decimals import number_form, with_points
from tfx_pipeline.init.label import LabelProfile, association, gives_away, profile_label
from tfx_pipeline.init.table import Table, nearest_label, read_table

MAX_ROWS = 1_000_000
_SLICE_VALUES = (2, 12)  # A slicing column has at least and at most this many values.


@dataclass(frozen=True)
class TrainingPlan:
    """How long and in what steps to train on this many rows."""

    batch_size: int
    steps: int
    steps_per_epoch: int
    hidden_units: list[int]
    epochs: int


@dataclass(frozen=True)
class DataProfile:
    """All that `assay init` found out.

    Attributes:
        data: How the files are read and split; its label is a placeholder.
        rows: Rows that were looked at.
        sampled: Whether there are more.
        label: The label.
        columns: Every other column, in the data's order.
        leaks: Columns that are left out because they give the label away.
        slices: Categorical columns to measure by, the most telling first.
        plan: How to train.
        split_rows: Rows in train, val and eval.
    """

    data: DataConfig
    rows: int
    sampled: bool
    label: LabelProfile
    columns: list[ColumnProfile]
    leaks: list[str]
    slices: list[str]
    plan: TrainingPlan
    split_rows: tuple[int, int, int]

    @property
    def features(self) -> list[ColumnProfile]:
        """The columns that become features."""
        return [column for column in self.columns if column.is_feature]


def locate(
    path: str | Path,
    label: str,
    *,
    delimiter: str | None = None,
    no_header: bool = False,
    column_names: list[str] | None = None,
) -> tuple[list[InputFile], DataConfig]:
    """The data's files and how they are read; for the arguments see `profile`.

    Raises:
        DataError: There is no file, it cannot be read, or it lacks the label's column.
    """
    files = _files(Path(path).expanduser())
    if files[0].format == "csv":
        data = sniff.csv_config(
            files, label, delimiter=delimiter, no_header=no_header, column_names=column_names
        )
    else:
        data = _data([str(file.path) for file in files], files[0].format, label)
    _require_label(files[0], data, label)
    return files, data


def profile(
    path: str | Path,
    label: str,
    *,
    delimiter: str | None = None,
    no_header: bool = False,
    column_names: list[str] | None = None,
    max_rows: int = MAX_ROWS,
) -> DataProfile:
    """Profiles CSV, Parquet or TFRecord data.

    Args:
        path: File, folder or glob.
        label: The label's column.
        delimiter: CSV: the delimiter; None: found out.
        no_header: CSV: the first line is data.
        column_names: CSV: names, for a file without a header.
        max_rows: Rows to look at.

    Raises:
        DataError: The data cannot be read, or no model can be made of them.
    """
    files, data = locate(
        path, label, delimiter=delimiter, no_header=no_header, column_names=column_names
    )
    table = read_table(files, data, max_rows)
    form = number_form(table.columns.values(), data.delimiter)
    columns = {
        # Two numbers are classes, whose names stay as they are written.
        name: column
        if name == label and pc.count_distinct(column).as_py() <= 2
        else with_points(column, form)
        for name, column in table.columns.items()
    }
    markers = find_markers(columns, label)
    columns = {name: _without(column, markers) for name, column in columns.items()}
    found_label = profile_label(label, columns[label], of_lists=table.lists)
    profiles, leaks = _columns(table, columns, found_label)
    split = _split(table, found_label)
    sizes = np.bincount(splits.cut(table.hashes, split), minlength=3)
    data = data.model_copy(
        update={
            "missing_values": markers,
            "split": split,
            "decimal": form.decimal,
            "thousands": form.thousands,
        }
    )
    return DataProfile(
        data=data,
        rows=table.rows,
        sampled=table.sampled,
        label=found_label,
        columns=profiles,
        leaks=leaks,
        slices=_slices(profiles, columns, found_label),
        plan=plan(int(sizes[splits.TRAIN])),
        split_rows=(int(sizes[0]), int(sizes[1]), int(sizes[2])),
    )


def plan(train_rows: int) -> TrainingPlan:
    """Batch and steps so that small data is seen dozens of times and large data does not take long.

    The validation, which is also when a checkpoint is written, comes at least 50 steps apart.
    """
    steps_of_batches = ((500, 16), (3000, 32), (10_000, 64), (200_000, 128))
    batch = next((size for rows, size in steps_of_batches if train_rows < rows), 512)
    batches = math.ceil(train_rows / batch)
    per_epoch = max(50, batches)
    steps = min(max(batches * 60, 600), max(3000, 3 * batches))
    steps = math.ceil(steps / per_epoch) * per_epoch
    units = [32, 16] if train_rows < 1000 else [128, 64]
    return TrainingPlan(batch, steps, per_epoch, units, round(steps / batches))


def _files(path: Path) -> list[InputFile]:
    return find_files(Source(_data([str(path.absolute())], "auto", ""), {}, [str(path.absolute())]))


def _data(paths: list[str], stated: str, label: str) -> DataConfig:
    return DataConfig.model_validate(
        {"path": paths, "format": stated, "label": {"column": label, "task": "regression"}}
    )


def _require_label(file: InputFile, data: DataConfig, label: str) -> None:
    found = column_names(file, Source(data, {}, []))
    if found is not None and label not in found:
        raise nearest_label(label, found)


def _without(column: pa.Array, markers: list[str]) -> pa.Array:
    text = pc.utf8_trim_whitespace(column)
    is_marker = pc.is_in(text, pa.array([*markers, ""], text.type))
    return without(column, is_marker)


def _columns(
    table: Table, columns: dict[str, pa.Array], label: LabelProfile
) -> tuple[list[ColumnProfile], list[str]]:
    profiles, leaks = [], []
    for name, column in columns.items():
        if name == label.column:
            continue
        found = profile_column(name, column)
        if found.is_feature and (leak := gives_away(column, label)):
            leaks.append(name)
            why = f"it gives the label away: {leak}"
            found = ColumnProfile(name, "left out", why, found.distinct, found.missing)
        profiles.append(found)
    for name, problem in table.unusable.items():
        profiles.append(ColumnProfile(name, "left out", problem, 0, 0))
    if not any(found.is_feature for found in profiles):
        reasons = "; ".join(f"{found.name}: {found.why}" for found in profiles[:5])
        raise DataError(
            "no column is left to be a feature", hint=f"Left out: {reasons or 'there is no other'}."
        )
    return profiles, leaks


def _split(table: Table, label: LabelProfile) -> SplitConfig:
    """A third for eval, and a val split only where it would have the rows to judge by.

    Raises:
        DataError: No split leaves every class in train and eval.
    """
    has_one = label.classes and label.task != "multilabel"
    needed = len(np.unique(label.ids)) if has_one else 2
    for val_fraction in (0.07, 0.15, 0.0):
        split = SplitConfig(eval_fraction=0.33, val_fraction=val_fraction)
        ids = splits.cut(table.hashes, split)
        kinds = [len(np.unique(label.ids[ids == part])) for part in range(3)]
        is_val_useful = val_fraction == 0 or (
            (ids == splits.VAL).sum() >= 20 and kinds[splits.VAL] > 1
        )
        if kinds[splits.TRAIN] >= needed and kinds[splits.EVAL] >= 2 and is_val_useful:
            return split
    raise DataError(
        f"{table.rows} rows are too few to train on and to test with",
        hint="Some class of the label would be missing from the train or the eval split. Add rows.",
    )


def _slices(
    profiles: list[ColumnProfile], columns: dict[str, pa.Array], label: LabelProfile
) -> list[str]:
    low, high = _SLICE_VALUES
    candidates = [
        found.name
        for found in profiles
        if found.kind == "categorical" and low <= found.distinct <= high
    ]
    by_use = sorted(candidates, key=lambda name: association(columns[name], label), reverse=True)
    return by_use[:2]
