"""The `data.label` section of `pipeline.yaml`: what the model learns to predict."""

from __future__ import annotations

import string
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, model_validator

from transform.catalog import read_ids
from transform.section import FieldError, Section

Task = Literal["binary", "multiclass", "multilabel", "regression", "quantile"]

NUMBER_TASKS = ("regression", "quantile")
"""Tasks whose label is a number to estimate; the others' is a class, or several."""


class LabelConfig(Section):
    """What the model learns to predict."""

    column: str = Field(description="The label's column.")
    task: Task = Field(
        "binary",
        description="Kind of label: one of two classes, one of many, any number of them, a number, "
        "or quantiles of a number (docs/labels.md).",
    )
    classes: list[str] = Field(
        [],
        description="The label's values; the position is the class's id. In a binary label the "
        "second is the positive one. Empty with `above` and where the label is a number.",
    )
    classes_file: str | None = Field(
        None,
        description="Instead of many `classes`: a CSV file with one row a class, named by its "
        "column of the label's name, else by its first; or a text file with one a line. Read with "
        "the config.",
    )
    top_k: int = Field(
        0,
        ge=0,
        le=1000,
        description="Multiclass and multilabel: also answer the names and probabilities of this "
        "many most probable classes, `top_ids` and `top_scores`; 0: do not.",
    )
    separator: str = Field(
        "|",
        min_length=1,
        description="Multilabel: what stands between the classes of a cell, as in "
        "`sport|politics`; the answer's `class` is written so, too.",
    )
    quantiles: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        [0.1, 0.5, 0.9],
        min_length=1,
        max_length=50,
        description="Quantile: which are estimated, increasing; 0.1 is the value that one label in "
        "ten is below.",
    )
    above: float | None = Field(
        None, description="Binary label from a number: 1 where the column is above this."
    )
    of: str | None = Field(
        None, description="With `above`: compare with `above` times this column's value."
    )

    @model_validator(mode="before")
    @classmethod
    def _classes_from_the_file(cls, given: Any, info: ValidationInfo) -> Any:
        """Only where `classes` are not there yet: a node is given both, and has no file."""
        if not isinstance(given, Mapping) or not given.get("classes_file"):
            return given
        if given.get("classes"):
            if "folder" in (info.context or {}):  # A file of the user's, where only one is meant.
                raise FieldError("give `classes` or `classes_file`, not both", "classes_file")
            return given
        path = (
            Path((info.context or {}).get("folder", "."))
            / Path(str(given["classes_file"])).expanduser()
        )
        try:
            return {**given, "classes": read_ids(path, str(given.get("column")))}
        except (OSError, ValueError) as error:
            raise FieldError(f"{path}: {error}", "classes_file") from None

    @model_validator(mode="after")
    def _classes_fit_the_task(self) -> LabelConfig:
        if self.of is not None and self.above is None:
            raise ValueError("`of` needs `above`: the label is 1 where column > above * of")
        if self.above is not None and self.task != "binary":
            raise ValueError("`above` makes a binary label; set `task: binary` or drop it")
        if self.is_value and self.classes:
            raise ValueError(f"a {self.task} label has no classes")
        if self.task == "binary" and self.above is None and len(self.classes) != 2:
            raise ValueError(
                "a binary label needs two `classes`, the second the positive one, or `above`"
            )
        if self.task in ("multiclass", "multilabel") and len(self.classes) < 2:
            raise ValueError(f"a {self.task} label needs its `classes`, at least two")
        if len(set(self.classes)) != len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise ValueError(f"`classes` names {twice!r} twice")
        if self.top_k and self.task not in ("multiclass", "multilabel"):
            raise FieldError("`top_k` is for `task: multiclass` and `task: multilabel`", "top_k")
        if self.top_k > len(self.classes):
            raise FieldError(
                f"`top_k` {self.top_k} is more than the {len(self.classes)} classes", "top_k"
            )
        return self

    @model_validator(mode="after")
    def _only_the_task_s_own_fields(self) -> LabelConfig:
        if self.task != "multilabel" and "separator" in self._changed:
            raise FieldError("`separator` is for `task: multilabel`", "separator")
        if self.task != "quantile" and "quantiles" in self._changed:
            raise FieldError("`quantiles` is for `task: quantile`", "quantiles")
        return self

    @model_validator(mode="after")
    def _classes_are_told_apart_in_a_cell(self) -> LabelConfig:
        if self.task != "multilabel":
            return self
        for index, name in enumerate(self.classes):
            if not name or name != name.strip(string.whitespace):
                raise FieldError(
                    f"class {name!r} could be no part of a cell: blanks around a part are dropped",
                    *("classes", index),
                )
            if self.separator in name:
                raise FieldError(
                    f"`separator` {self.separator!r} is in the class {name!r}; choose one that no "
                    "class has, or rename the class in the data",
                    "separator",
                )
        return self

    @model_validator(mode="after")
    def _quantiles_increase(self) -> LabelConfig:
        if any(low >= high for low, high in pairwise(self.quantiles)):
            raise FieldError("`quantiles` do not increase: sort them, each once", "quantiles")
        return self

    @property
    def _changed(self) -> set[str]:
        """Fields that differ from their defaults: a node is given all of them."""
        fields = type(self).model_fields
        return {name for name in fields if getattr(self, name) != fields[name].default}

    @property
    def is_number(self) -> bool:
        """Whether the raw label is stored as a float32; otherwise as the class's name."""
        return self.is_value or self.above is not None

    @property
    def is_value(self) -> bool:
        """Whether a number is estimated, and no class."""
        return self.task in NUMBER_TASKS

    @property
    def has_classes(self) -> bool:
        """Whether the label is of classes, named or (with `above`) 0 and 1."""
        return not self.is_value

    @property
    def width(self) -> int:
        """Columns of the transformed label: one, or of a multilabel one for each class."""
        return len(self.classes) if self.task == "multilabel" else 1

    @property
    def outputs(self) -> int:
        """Columns of the predictions: one, or one for each class or quantile."""
        match self.task:
            case "multiclass" | "multilabel":
                return len(self.classes)
            case "quantile":
                return len(self.quantiles)
        return 1
