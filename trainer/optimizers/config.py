"""The parts of the `train` section that say how a step is taken. Pydantic only."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from transform.section import FieldError, Section

OptimizerName = Literal[
    "adam",
    "adamw",
    "sgd",
    "nesterov",
    "adafactor",
    "lion",
    "adagrad",
    "rmsprop",
    "ftrl",
    "lamb",
]
ScheduleName = Literal[
    "constant",
    "step",
    "exponential",
    "cosine",
    "cosine_restarts",
    "one_cycle",
    "polynomial",
    "plateau",
]

_ADAMS = ("beta_1", "beta_2", "epsilon")
# What each optimizer takes beside its name and its weight decay.
TAKES: dict[str, tuple[str, ...]] = {
    "adam": _ADAMS,
    "adamw": _ADAMS,
    "lamb": _ADAMS,
    "lion": ("beta_1", "beta_2"),
    "sgd": ("momentum",),
    "nesterov": ("momentum",),
    "rmsprop": ("rho", "momentum", "epsilon"),
    "adagrad": ("epsilon", "initial_accumulator"),
    "ftrl": ("initial_accumulator", "l1", "l2"),
    "adafactor": (),
}
_SCHEDULE_TAKES: dict[str, tuple[str, ...]] = {
    "constant": (),
    "step": ("factor", "every_steps"),
    "exponential": ("factor", "every_steps"),
    "cosine": ("decay_steps", "end"),
    "cosine_restarts": ("first_cycle_steps", "cycle_growth", "cycle_peak", "end"),
    "one_cycle": ("start", "end"),
    "polynomial": ("decay_steps", "end", "power"),
    "plateau": ("factor", "patience_epochs", "min_delta", "end"),
}


def _only(section: Section, takes: dict[str, tuple[str, ...]], common: tuple[str, ...]) -> None:
    """Refuses a field that the section's `name` does not know."""
    name = str(getattr(section, "name"))  # noqa: B009  The two sections that come here have one.
    for field in type(section).model_fields:
        if field in ("name", *common, *takes[name]) or getattr(section, field) is None:
            continue
        known = ", ".join((*takes[name], *common))
        raise FieldError(f"`{field}` does not go with `name: {name}`; it takes {known}", field)


class OptimizerConfig(Section):
    """How gradients become steps. What is left out is the optimizer's own default."""

    name: OptimizerName = Field("adam", description="The optimizer.")
    weight_decay: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Decoupled weight decay: each step takes learning_rate * weight_decay of a "
        "weight away. None: 0.01 for adamw and lamb, 0 for the others.",
    )
    decay_all: bool = Field(
        False, description="Decay biases and the weights of normalization as well."
    )
    momentum: float | None = Field(None, ge=0, lt=1, description="Of sgd, nesterov, rmsprop.")
    beta_1: float | None = Field(None, gt=0, lt=1, description="Memory of the first moment.")
    beta_2: float | None = Field(None, gt=0, lt=1, description="Memory of the second moment.")
    rho: float | None = Field(None, gt=0, lt=1, description="Memory of rmsprop's mean square.")
    epsilon: float | None = Field(None, gt=0, description="Keeps the denominator from zero.")
    initial_accumulator: float | None = Field(
        None, gt=0, description="Where adagrad's and ftrl's sums of squares start."
    )
    l1: float | None = Field(None, ge=0, description="ftrl's own L1: weights become exact zeros.")
    l2: float | None = Field(None, ge=0, description="ftrl's own L2.")

    @model_validator(mode="after")
    def _fields_fit_the_name(self) -> OptimizerConfig:
        _only(self, TAKES, ("weight_decay", "decay_all"))
        return self

    @property
    def decay(self) -> float:
        """The weight decay that is meant."""
        if self.weight_decay is None:
            return 0.01 if self.name in ("adamw", "lamb") else 0.0
        return self.weight_decay


class ScheduleConfig(Section):
    """How the learning rate changes, from `train.learning_rate`, which is its peak."""

    name: ScheduleName = Field("constant", description="The schedule.")
    warmup_steps: int = Field(
        0,
        ge=0,
        description="Steps in which the rate rises to its peak, linearly; of one_cycle the length "
        "of its rise (0: 30 % of all steps).",
    )
    decay_steps: int | None = Field(
        None, ge=1, description="Steps from the peak to the end; empty: all that are left."
    )
    end: float | None = Field(
        None, ge=0, le=1, description="Last rate, as a share of the peak; of plateau the lowest."
    )
    factor: float | None = Field(
        None, gt=0, lt=1, description="Of step, exponential, plateau: what the rate is cut to (0.1)"
    )
    every_steps: int | None = Field(
        None, ge=1, description="Steps between two such cuts; empty: a third of all."
    )
    power: float | None = Field(None, gt=0, description="Of polynomial; 1 is a straight line (1).")
    first_cycle_steps: int | None = Field(
        None, ge=1, description="First cycle of cosine_restarts; empty: three cycles fill all steps"
    )
    cycle_growth: float | None = Field(
        None, ge=1, description="How much longer the next cycle is than the one before (2)."
    )
    cycle_peak: float | None = Field(
        None, gt=0, le=1, description="How high the next cycle starts, of the one before (1)."
    )
    start: float | None = Field(
        None, gt=0, le=1, description="Of one_cycle: first rate, as a share of the peak (0.04)."
    )
    patience_epochs: int | None = Field(
        None, ge=1, description="Of plateau: epochs without improvement before a cut (3)."
    )
    min_delta: float | None = Field(
        None, ge=0, description="Of plateau: smallest change of the loss that counts (0)."
    )

    @model_validator(mode="after")
    def _fields_fit_the_name(self) -> ScheduleConfig:
        _only(self, _SCHEDULE_TAKES, ("warmup_steps",))
        return self


class ClipConfig(Section):
    """Bounds on gradients, of the whole batch: exactly one of them."""

    value: float | None = Field(None, gt=0, description="Each number of a gradient, to +-value.")
    norm: float | None = Field(None, gt=0, description="Each variable's gradient, by its L2 norm.")
    global_norm: float | None = Field(
        None, gt=0, description="All gradients together, by their L2 norm."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> ClipConfig:
        if sum(bound is not None for bound in (self.value, self.norm, self.global_norm)) != 1:
            raise ValueError("give exactly one of `value`, `norm` and `global_norm`")
        return self


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


# `optimizer: lion` is short for `optimizer: {name: lion}`.
Optimizer = Annotated[
    OptimizerConfig,
    BeforeValidator(_by_name, json_schema_input_type=OptimizerName | OptimizerConfig),
]
Schedule = Annotated[
    ScheduleConfig,
    BeforeValidator(_by_name, json_schema_input_type=ScheduleName | ScheduleConfig),
]

assert set(TAKES) == set(get_args(OptimizerName))
