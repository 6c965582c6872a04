"""The `data.label` section of `pipeline.yaml`: what the model learns to predict."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from transform.section import Section


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
    above: float | None = Field(
        None, description="Binary label from a number: 1 where the column is above this."
    )
    of: str | None = Field(
        None, description="With `above`: compare with `above` times this column's value."
    )

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
            raise ValueError("`classes` names a value twice")
        return self

    @property
    def is_number(self) -> bool:
        """Whether the raw label is stored as a float32; otherwise as the class's name."""
        return self.task == "regression" or self.above is not None
