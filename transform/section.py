"""What every section of `pipeline.yaml` is: a frozen pydantic model without unknown keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Of a layer, in units, rows or blocks.
Size = Annotated[int, Field(ge=1)]


class FieldError(ValueError):
    """Raise in a validator when the fault lies further down than the section it validates.

    `path` leads from that section to the field, so that the message can name the field's line.
    """

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.path = path


class Section(BaseModel):
    """A part of the config. Unknown keys are errors, values never change after they are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
