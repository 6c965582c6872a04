"""The `tune` section of `pipeline.yaml`. Pydantic only, no TensorFlow."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from trainer.tuning.metrics import METRICS
from transform.section import FieldError, Section

_KINDS = ("choice", "int", "float", "log", "boolean")


class Range(Section):
    """The values that one field of the config may take. One of `choice`, `int`, `float`, `log`
    and `boolean`."""

    choice: list[Any] | None = Field(
        None, min_length=1, description="One of these values; lists and mappings too."
    )
    int: list[builtins.int] | None = Field(
        None,
        min_length=2,
        max_length=3,
        description="[lowest, highest] or [lowest, highest, step], all whole numbers.",
    )
    float: list[builtins.float] | None = Field(
        None, min_length=2, max_length=3, description="[lowest, highest] or with a step."
    )
    log: list[builtins.float] | None = Field(
        None,
        min_length=2,
        max_length=2,
        description="[lowest, highest], evenly over the orders of magnitude; whole numbers for a "
        "field that is one.",
    )
    boolean: bool | None = Field(None, description="`true` or `false`: `{boolean: true}`.")
    when: dict[str, Any] = Field(
        {},
        description="Only in trials where another field of the space, above this one, has this "
        "value (or one of a list of values): `{model.family: dcn}`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _a_bare_boolean(cls, given: Any) -> Any:
        """`{boolean}` is a key without a value to YAML."""
        if isinstance(given, Mapping) and set(given) - {"when"} == {"boolean"}:
            return {**given, "boolean": True} if given["boolean"] is None else given
        return given

    @model_validator(mode="after")
    def _one_kind_and_in_order(self) -> Range:
        kinds = [kind for kind in _KINDS if getattr(self, kind) not in (None, False)]
        if len(kinds) != 1:
            raise ValueError(f"give one of {', '.join(f'`{kind}`' for kind in _KINDS)}")
        [kind] = kinds
        if kind in ("int", "float", "log"):
            low, high, *step = getattr(self, kind)
            if not low < high:
                raise FieldError(
                    f"the lowest value {low:g} is not below the highest {high:g}", kind
                )
            if kind == "log" and low <= 0:
                raise FieldError(f"the lowest value {low:g} of a `log` range is not above 0", kind)
            if step and not 0 < step[0] <= high - low:
                raise FieldError(f"a step of {step[0]:g} does not fit between them", kind)
        return self


class Budgets(Section):
    """What a trial may cost at most. Trials within all budgets win over those that are not."""

    parameters: int | None = Field(None, ge=1, description="Most weights of the model.")
    latency_us: float | None = Field(
        None,
        gt=0,
        description="Longest median time of one row through the model, in microseconds, as "
        "measured in the trial's process.",
    )
    metrics: dict[Literal[tuple(METRICS)], float] = Field(  # type: ignore[valid-type]
        {},
        description="Bounds on further metrics of the validation split: at least this where higher "
        "is better, at most this where lower is.",
    )


class TuneConfig(Section):
    """A search over values of `model` and `train`, before the Trainer trains with the best."""

    search: Literal["random", "bayesian", "hyperband", "grid"] = Field(
        "bayesian",
        description="How the next trial is chosen: at random; by a Gaussian process over the "
        "trials so far; many short trials of which the best go on; all combinations.",
    )
    space: dict[str, Range] = Field(
        min_length=1,
        description="Field of `model` or `train` (`train.learning_rate`) to the values it may "
        "take.",
    )
    trials: int | None = Field(
        None,
        ge=1,
        description="Most trials. Empty: 20; every combination for grid, one pass of all brackets "
        "for hyperband.",
    )
    seed: int = Field(17, ge=1, description="Seed of the choice of values.")
    parallel: int = Field(
        1, ge=1, le=64, description="Trials at once, each in a process of its own; 1: in this one."
    )
    steps: int | None = Field(
        None, ge=1, description="Optimizer steps of a whole trial. Empty: half of train.steps."
    )
    rounds: int | None = Field(
        None,
        ge=2,
        le=1000,
        description="Validations of a whole trial; after each it may be ended early. Empty: 5; 9 "
        "for hyperband.",
    )
    prune: bool = Field(
        True,
        description="End a trial whose objective is worse than the median of the trials before it "
        "at the same round (not for hyperband, whose brackets do so).",
    )
    objective: Literal[("auto", *METRICS)] = Field(  # type: ignore[valid-type]
        "auto",
        description="Metric of the validation split to make best. `auto`: log_loss; mse for "
        "regression.",
    )
    budgets: Budgets = Field(Budgets(), description="What a trial may cost.")
    max_seconds: float | None = Field(
        None,
        gt=0,
        description="Time for the whole search, in seconds: no trial starts after it, and those "
        "that run end with their round.",
    )

    @field_validator("space")
    @classmethod
    def _conditions_stand_above(cls, space: dict[str, Range]) -> dict[str, Range]:
        above: list[str] = []
        for path, range_ in space.items():
            for parent in range_.when:
                if parent not in above:
                    raise FieldError(
                        f"`when` names {parent!r}, which is no field of the space above this one",
                        path,
                        "when",
                    )
            above.append(path)
        return space

    @property
    def rounds_of_a_trial(self) -> int:
        """Validations of a whole trial."""
        return self.rounds or (9 if self.search == "hyperband" else 5)

    def steps_of_a_trial(self, train_steps: int) -> int:
        """Optimizer steps of a whole trial, of a config with this `train.steps`."""
        return self.steps or max(1, train_steps // 2)
