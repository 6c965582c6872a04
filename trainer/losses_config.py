"""The fields of the `train` section that say what is minimized. Pydantic only, no TensorFlow."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from transform.section import Section


def _told(value: Any) -> Any:
    """Pydantic would tell what is wrong with each side of the union."""
    if isinstance(value, str) and value != "balanced":
        raise ValueError(f"{value!r} is neither `balanced` nor a mapping {{class: weight}}")
    if isinstance(value, dict) and any(isinstance(name, bool) for name in value):
        raise ValueError("YAML takes yes and no for truth values; put the classes' names in quotes")
    return value


ClassWeights = Annotated[Literal["balanced"] | dict[str, float] | None, BeforeValidator(_told)]


class FocalConfig(Section):
    """The focal loss: rows that are answered right count less."""

    gamma: float = Field(
        2.0, ge=0, description="How much less; 0 is the usual cross entropy, of all rows alike."
    )
    alpha: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Weight of the positive class of a binary label, the other has 1 - alpha; "
        "empty: both count alike.",
    )
