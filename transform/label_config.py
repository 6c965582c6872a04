"""The `data.label` section of `pipeline.yaml`: what the model learns to predict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, model_validator

from transform.catalog import read_ids
from transform.section import FieldError, Section


class LabelConfig(Section):
    """What the model learns to predict."""

    column: str = Field(description="The label's column.")
    task: Literal["binary", "multiclass", "regression"] = Field(
        "binary", description="Kind of label."
    )
    classes: list[str] = Field(
        [],
        description="The label's values; the position is the class's id. In a binary label the "
        "second is the positive one. Empty with `above` and for regression.",
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
        description="Multiclass: also answer the names and probabilities of this many most "
        "probable classes, `top_ids` and `top_scores`; 0: do not.",
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
        if self.task == "regression" and self.classes:
            raise ValueError("a regression label has no classes")
        if self.task == "binary" and self.above is None and len(self.classes) != 2:
            raise ValueError(
                "a binary label needs two `classes`, the second the positive one, or `above`"
            )
        if self.task == "multiclass" and len(self.classes) < 2:
            raise ValueError("a multiclass label needs its `classes`, at least two")
        if len(set(self.classes)) != len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise ValueError(f"`classes` names {twice!r} twice")
        if self.top_k and self.task != "multiclass":
            raise FieldError("`top_k` is for `task: multiclass`", "top_k")
        if self.top_k > len(self.classes):
            raise FieldError(
                f"`top_k` {self.top_k} is more than the {len(self.classes)} classes", "top_k"
            )
        return self

    @property
    def is_number(self) -> bool:
        """Whether the raw label is stored as a float32; otherwise as the class's name."""
        return self.task == "regression" or self.above is not None
