"""The `features` section of `pipeline.yaml`: which columns become features, and how.

Pydantic only: the config is read and checked long before TensorFlow is imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from transform.date_format import pattern_of
from transform.label_config import LabelConfig as LabelConfig
from transform.section import FieldError as FieldError
from transform.section import Section as Section

# Names in the transformed examples. `LABEL` is what the trainer and TFMA read.
LABEL = "label_xf"


def feature_name(column: str, part: str = "") -> str:
    """The transformed feature made from a raw column (and one part of it)."""
    return f"{column}_{part}_xf" if part else f"{column}_xf"


class NumericFeature(Section):
    """A number. Stored as float32; a missing value is imputed with the column's mean (0 after
    `zscore`)."""

    kind: Literal["numeric"] = "numeric"
    scale: Literal["zscore", "minmax", "none"] = Field(
        "zscore", description="How the value is scaled: to mean 0 and variance 1, to [0, 1], not."
    )
    log: bool = Field(False, description="Take sign(x) * log(1 + |x|) before scaling.")
    buckets: int = Field(
        0, ge=0, le=1000, description="Cut into this many quantile buckets, one-hot; 0: do not."
    )
    missing_indicator: bool = Field(
        False, description="Add a feature that is 1 where the value was missing."
    )


class CategoricalFeature(Section):
    """One of several values. Stored as a string (as an integer for `identity`)."""

    kind: Literal["categorical"] = "categorical"
    encoding: Literal["vocabulary", "hash", "identity"] = Field(
        "vocabulary",
        description="Ids by a vocabulary learned from the data, by hashing, or the integer itself.",
    )
    max_values: int = Field(
        1000, ge=1, description="Most frequent values kept in the vocabulary; for identity, ids."
    )
    min_count: int = Field(
        1, ge=1, description="A value seen in fewer rows than this is out of vocabulary."
    )
    oov_buckets: int = Field(
        1, ge=1, description="Ids for values outside the vocabulary, chosen by hash."
    )
    hash_buckets: int = Field(100, ge=2, description="Number of ids with `encoding: hash`.")


class DateFeature(Section):
    """A point in time: Unix seconds, ISO 8601 text (2024-01-31, 2024-01-31T13:45:00), or text in
    a format of its own (31.01.2024). A request states it as the data do."""

    kind: Literal["date"] = "date"
    unit: Literal["seconds", "milliseconds", "iso"] = Field(
        "iso", description="How the column states time: Unix seconds, milliseconds, or as text."
    )
    format: str = Field(
        "",
        description="How the text is written, for instance `%d.%m.%Y`, `%m/%d/%Y %I:%M %p` or "
        "`%Y%m%d`; empty: ISO 8601. It may have %Y %y %m %d %H %I %p %M %S %f.",
    )
    parts: list[Literal["hour", "weekday", "day", "month", "year"]] = Field(
        ["hour", "weekday", "month"],
        min_length=1,
        description="Parts that become features; all but year as sine and cosine of their cycle.",
    )

    @field_validator("format")
    @classmethod
    def _format_is_readable(cls, value: str) -> str:
        pattern_of(value)
        return value

    @model_validator(mode="after")
    def _format_is_of_text(self) -> DateFeature:
        if self.format and self.unit != "iso":
            raise FieldError(f"`format` is of text, and `unit: {self.unit}` a number", "format")
        return self


class TextFeature(Section):
    """Free text: lower-cased and split at non-word characters; then counted as a bag of n-grams,
    or kept in order as a sequence of tokens."""

    kind: Literal["text"] = "text"
    output: Literal["bag", "sequence"] = Field(
        "bag",
        description="A bag forgets the order of words; a sequence keeps it, for the encoders of "
        "`model.text`.",
    )
    max_length: int = Field(
        64,
        ge=1,
        le=4096,
        description="sequence: tokens a row; a longer text is cut, a shorter one padded.",
    )
    vocabulary: str | None = Field(
        None,
        description="sequence: file with the words to know, one a line, relative to this config "
        "file, as a pretrained encoder has it beside it; empty: learned from the training rows.",
    )
    max_tokens: int = Field(5000, ge=1, description="Most frequent n-grams kept.")
    min_count: int = Field(2, ge=1, description="An n-gram in fewer rows than this is dropped.")
    ngrams: int = Field(1, ge=1, le=4, description="bag: longest n-gram, in tokens.")
    weight: Literal["tfidf", "count"] = Field(
        "tfidf", description="bag: value of a token in a row."
    )

    @model_validator(mode="after")
    def _a_sequence_is_of_single_tokens(self) -> TextFeature:
        if self.output == "sequence" and self.ngrams > 1:
            raise FieldError("`ngrams` goes with `output: bag`; a sequence has tokens", "ngrams")
        if self.output == "bag" and self.vocabulary is not None:
            raise FieldError("`vocabulary` goes with `output: sequence`", "vocabulary")
        return self


class SeriesFeature(Section):
    """A window of measurements in one cell: numbers between spaces, commas or semicolons. Each
    channel is scaled to mean 0 and variance 1 over the training rows; what is missing is 0."""

    kind: Literal["series"] = "series"
    length: int = Field(
        ge=1,
        le=100_000,
        description="Steps a row; a longer cell is cut at its end, a shorter one padded.",
    )
    channels: int = Field(
        1,
        ge=1,
        le=1000,
        description="Numbers a step, next to each other in the cell: a1 b1 a2 b2 ...",
    )


class ImageFeature(Section):
    """An encoded image (PNG, JPEG, BMP, GIF), as bytes; its pixels end in [0, 1]."""

    kind: Literal["image"] = "image"
    height_px: int = Field(32, ge=1, le=2048, description="Height after resizing, in pixels.")
    width_px: int = Field(32, ge=1, le=2048, description="Width after resizing, in pixels.")
    channels: Literal[1, 3] = Field(3, description="1 for grey, 3 for RGB.")
    stored_as: Literal["bytes", "path", "base64"] = Field(
        "bytes",
        description="What the data hold: the image itself, the path of its file (from the folder "
        "of the data file), or base64. A request sends the image in each case.",
    )


Feature = Annotated[
    NumericFeature | CategoricalFeature | DateFeature | TextFeature | SeriesFeature | ImageFeature,
    Field(discriminator="kind"),
]


class Cross(Section):
    """The combination of several categorical columns, as one hashed categorical feature."""

    columns: list[str] = Field(min_length=2, description="Columns to combine.")
    hash_buckets: int = Field(1000, ge=2, description="Number of ids.")

    @property
    def name(self) -> str:
        """Its columns joined with `_x_`."""
        return "_x_".join(self.columns)


class FeaturesConfig(Section):
    """Which columns become features, and how."""

    columns: dict[str, Feature] = Field(
        min_length=1, description="One entry a column that is a feature; others are ignored."
    )
    crosses: list[Cross] = Field([], description="Combinations of categorical columns.")
    preprocessing_fn: str = Field(
        "transform.preprocessing.preprocessing_fn",
        description="Function that maps raw columns to features: import path or file.py:function.",
    )

    @property
    def by_user(self) -> bool:
        """Whether a function of the user's makes the features, and not ours from `columns`."""
        return self.preprocessing_fn != type(self).model_fields["preprocessing_fn"].default

    def with_files(self, resolve: Callable[[str], str]) -> FeaturesConfig:
        """The same, with the paths of files as `resolve` gives them."""
        columns = {
            name: feature.model_copy(update={"vocabulary": resolve(feature.vocabulary)})
            if isinstance(feature, TextFeature) and feature.vocabulary
            else feature
            for name, feature in self.columns.items()
        }
        return self.model_copy(update={"columns": columns})

    @model_validator(mode="after")
    def _crosses_name_categorical_columns(self) -> FeaturesConfig:
        for cross in self.crosses:
            for name in cross.columns:
                feature = self.columns.get(name)
                if feature is None or feature.kind != "categorical":
                    raise ValueError(
                        f"a cross names {name!r}, which is not a categorical column of features"
                    )
        return self

    @model_validator(mode="after")
    def _each_output_has_a_name_of_its_own(self) -> FeaturesConfig:
        if self.by_user:
            return self  # The names are that function's.
        made_by = {LABEL: "the label"}
        for source, path, names in _outputs(self):
            for name in names:
                if name in made_by:
                    raise FieldError(
                        f"{source} and {made_by[name]} both become the transformed feature "
                        f"{name!r}; rename a column in the data, or drop the one you can do "
                        "without",
                        *path,
                    )
                made_by[name] = source
        return self


def _outputs(features: FeaturesConfig) -> Iterator[tuple[str, tuple[str | int, ...], list[str]]]:
    """What makes features, where it stands in the section, and its features' names."""
    for column, feature in features.columns.items():
        match feature:
            case TextFeature(output="bag"):
                names = [feature_name(column, "ids"), feature_name(column, "weights")]
            case TextFeature():
                names = [feature_name(column, "sequence")]
            case SeriesFeature():
                names = [feature_name(column, "series")]
            case _:
                names = [feature_name(column)]
        path = ("columns", column)
        yield f"column {column!r}", path, names
        if isinstance(feature, NumericFeature) and feature.missing_indicator:
            source = f"the missing_indicator of column {column!r}"
            yield source, (*path, "missing_indicator"), [feature_name(column, "missing")]
    for index, cross in enumerate(features.crosses):
        yield f"the cross of {cross.columns}", ("crosses", index), [feature_name(cross.name)]


class TransformConfig(Section):
    """What the preprocessing function is given, as its `custom_config`: features and label."""

    features: FeaturesConfig
    label: LabelConfig
    missing_values: list[str] = Field(
        [], description="`data.missing_values` but the empty one: what a request may send, too."
    )


def number_marks(missing_values: Iterable[str]) -> list[float]:
    """The numbers that mean missing in a column of numbers: -999, where the texts have "-999".

    A text with leading zeros is a code and no number.
    """
    return [float(text) for text in missing_values if re.fullmatch(_PLAIN_NUMBER, text)]


_PLAIN_NUMBER = r"-?(0|[1-9]\d*)(\.\d+)?"


StorageType = Literal["float", "int", "bytes"]


def storage_types(config: TransformConfig) -> dict[str, StorageType]:
    """The tf.Example kind that each raw column is stored and served as.

    It follows from the config's kind and not from the values: a numeric column that happens to
    hold whole numbers today is a float all the same, so training and serving agree tomorrow.
    """
    types: dict[str, StorageType] = {}
    for name, feature in config.features.columns.items():
        types[name] = _storage_type(feature)
    label = config.label
    types[label.column] = "float" if label.is_number else "bytes"
    if label.of is not None:
        types.setdefault(label.of, "float")
    return types


def date_formats(features: FeaturesConfig) -> dict[str, str]:
    """The format of each date column that is text; what a user's function reads is its own."""
    return {
        name: feature.format
        for name, feature in features.columns.items()
        if isinstance(feature, DateFeature) and feature.unit == "iso" and not features.by_user
    }


Content = Literal["text", "series", "image", "image_path", "image_base64"]


def contents(features: FeaturesConfig) -> dict[str, Content]:
    """What the columns stored as bytes hold, where ingest fetches or checks it.

    Of columns that a user's function reads, it fetches images and checks nothing.
    """
    found: dict[str, Content] = {}
    for name, feature in features.columns.items():
        match feature:
            case ImageFeature(stored_as="path"):
                found[name] = "image_path"
            case ImageFeature(stored_as="base64"):
                found[name] = "image_base64"
            case TextFeature() | SeriesFeature() | ImageFeature() if not features.by_user:
                found[name] = feature.kind
    return found


def _storage_type(feature: Feature) -> StorageType:
    match feature:
        case NumericFeature():
            return "float"
        case CategoricalFeature(encoding="identity"):
            return "int"
        case DateFeature(unit="seconds" | "milliseconds"):
            return "int"
        case _:
            return "bytes"
