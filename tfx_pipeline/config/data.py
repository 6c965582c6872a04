"""The `data` section: where the rows come from and how they are split."""

from __future__ import annotations

import codecs
from typing import Literal

from pydantic import Field, field_validator, model_validator

from transform.config import FieldError, LabelConfig, Section


class SplitConfig(Section):
    """How rows are divided into `train`, `val` (early stopping) and `eval` (the gates)."""

    method: Literal["hash", "time", "column", "folders"] = Field(
        "hash",
        description="By a hash of the row or of key columns, by time (the latest rows are eval), "
        "by a column that names the split, or by folders train/, val/ and eval/.",
    )
    eval_fraction: float = Field(0.33, gt=0, lt=1, description="Share of rows held out for eval.")
    val_fraction: float = Field(
        0.07,
        ge=0,
        lt=1,
        description="Share of rows for validation and early stopping. With `folders` and `column`: "
        "0 if there is no val split.",
    )
    key: list[str] = Field(
        [], description="hash: rows with equal values here stay in one split; empty: whole row."
    )
    column: str | None = Field(None, description="column, time: the column that decides.")

    @property
    def has_val(self) -> bool:
        """Whether there is a split `val`; the graph is wired before any row is read."""
        return self.val_fraction > 0

    @model_validator(mode="after")
    def _fields_fit_the_method(self) -> SplitConfig:
        if self.method in ("time", "column") and not self.column:
            raise ValueError(f"`method: {self.method}` needs `column`")
        if self.method != "hash" and self.key:
            raise ValueError("`key` goes with `method: hash`")
        if self.eval_fraction + self.val_fraction >= 1:
            raise ValueError("eval_fraction + val_fraction must leave rows for training")
        return self


class BigQueryConfig(Section):
    """Rows from BigQuery, through TFX's own BigQueryExampleGen."""

    query: str = Field(description="Standard SQL; its columns are the raw columns.")
    project: str | None = Field(None, description="Google Cloud project that is billed.")


class DataConfig(Section):
    """Where the rows come from, what is predicted, how rows are split."""

    path: list[str] = Field(
        [], description="File, folder or glob, or several. Relative to this config file."
    )
    format: Literal["auto", "csv", "parquet", "arrow", "tfrecord", "images", "bigquery"] = Field(
        "auto",
        description="By the file's ending unless stated. arrow is Arrow IPC (Feather); tfrecord "
        "holds tf.Example; images is a folder with one folder of images a class: columns `image` "
        "and `label`.",
    )
    delimiter: str = Field(",", min_length=1, max_length=1, description="CSV: between two fields.")
    column_names: list[str] = Field(
        [], description="CSV: names for files without a header line; empty: first line has them."
    )
    encoding: str = Field("utf-8", description="CSV: text encoding, by its Python name.")
    strip_spaces: bool = Field(
        False, description="CSV: drop spaces around fields and names, as after `, `."
    )
    decimal: Literal[".", ","] = Field(
        ".", description="CSV: between a number's whole part and its fraction: 27.37 or 27,37."
    )
    thousands: Literal["", ".", ",", " ", "'"] = Field(
        "", description="CSV: between groups of three digits, as in 1.234,5; empty: nothing."
    )
    missing_values: list[str] = Field(
        [""],
        description="Texts that mean missing, besides the empty one. With `nan` or `NaN` here, "
        "a NaN in a numeric column is missing too; without, it is an error.",
    )
    max_bad_rows: int = Field(
        0,
        ge=0,
        description="How many rows may be left out because a value is not what the config says: "
        "they go to `rejected_rows.jsonl` beside the examples, with line and reason. One more is "
        "an error.",
    )
    label: LabelConfig = Field(description="What the model learns to predict.")
    split: SplitConfig = Field(SplitConfig(), description="How rows are split.")
    bigquery: BigQueryConfig | None = Field(None, description="With `format: bigquery`.")

    @field_validator("path", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except LookupError:
            raise ValueError(f"Python knows no text encoding {value!r}") from None
        return value

    @model_validator(mode="after")
    def _marks_in_numbers_differ(self) -> DataConfig:
        if self.decimal == self.thousands:
            raise FieldError("`decimal` and `thousands` are the same", "thousands")
        return self

    @model_validator(mode="after")
    def _a_folder_of_images_has_its_label(self) -> DataConfig:
        if self.format == "images" and self.label.column != "label":
            raise FieldError(
                "with `format: images` the label is the folder's name: write `column: label`",
                *("label", "column"),
            )
        return self

    @model_validator(mode="after")
    def _rows_come_from_somewhere(self) -> DataConfig:
        if (self.format == "bigquery") != (self.bigquery is not None):
            raise ValueError("`format: bigquery` and the section `bigquery` go together")
        if self.bigquery is not None and self.max_bad_rows:
            raise FieldError("BigQuery rows are not looked at one by one: drop it", "max_bad_rows")
        if self.bigquery is None and not self.path:
            raise ValueError("`path` names no file")
        return self
