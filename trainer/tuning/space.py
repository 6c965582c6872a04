"""The search space against the config: which fields there are, and a config with a trial's values.

Pydantic only, for `assay check` asks it too.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from tfx_pipeline.errors import ConfigError
from trainer.config import ModelConfig, TrainConfig
from trainer.models.config import OF_A_FAMILY
from trainer.tuning.config import Range, TuneConfig
from transform.section import Section

_Section = TypeVar("_Section", bound=Section)

_JSON = "json:"
"""What a value begins with that keras-tuner has no type for: the rest is JSON."""

WARMUP_HINT = "Raise tune.steps (half of train.steps if it is not set), or lower warmup_steps."

# They are of the process or the pipeline, and not of a trial.
_FIXED = {
    "train.run_fn": "the trials are trained by Assay's own",
    "train.strategy": "it is one for all trials",
    "train.logical_cpus": "it is one for all trials",
    "train.cache_max_mb": "the rows are read once for all trials",
    "train.join_timeout_seconds": "it does not change the model",
    "train.checkpoints_to_keep": "it does not change the model",
    "train.tensorboard": "it does not change the model",
    "train.profile_steps": "it does not change the model",
    "model.ensemble": "a trial trains one model",
    "model.builder": "name one builder, and tune the fields that it reads",
}


@dataclass(frozen=True)
class Problem:
    """What is wrong with one field of the space."""

    path: str
    what: str
    hint: str = ""


def applied(
    values: Mapping[str, Any], model: ModelConfig, train: TrainConfig
) -> tuple[ModelConfig, TrainConfig]:
    """The sections `model` and `train` with other values.

    Args:
        values: Field (`train.learning_rate`) to value. Of a section that the config leaves out
            (`train.early_stopping.patience_epochs`), the other fields get their defaults.
        model: The section. What it says of the family of its own goes, where a trial has another
            family.
        train: The section.

    Raises:
        ConfigError: The sections do not take the values.
    """
    sections: dict[str, dict[str, Any]] = {
        "model": model.model_dump(mode="json"),
        "train": train.model_dump(mode="json"),
    }
    if values.get("model.family", model.family) != model.family:
        for name in OF_A_FAMILY:
            sections["model"][name] = None
    for path, value in values.items():
        *parents, last = path.split(".")
        within: Any = sections
        for part in parents:
            if within.get(part) is None:
                within[part] = {}
            if isinstance(within[part], str):  # `train.optimizer: sgd` is short for its name.
                within[part] = {"name": within[part]}
            within = within[part]
        within[last] = value
    return _validated(type(model), "model", sections), _validated(type(train), "train", sections)


def _validated(kind: type[_Section], name: str, sections: Mapping[str, Any]) -> _Section:
    try:
        return kind.model_validate(sections[name])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join([name, *(str(part) for part in first["loc"])])
        said = str(first.get("ctx", {}).get("error", "")) or first["msg"]
        raise ConfigError(
            f"{said[0].lower()}{said[1:]}",
            where=where,
            hint="Mend this field, or take the value that it has here out of tune.space.",
        ) from None


def is_unchanged(values: Mapping[str, Any], model: ModelConfig, train: TrainConfig) -> bool:
    """Whether the sections have these values already; those that they refuse they do not have."""
    try:
        return applied(values, model, train) == (model, train)
    except ConfigError:
        return False


def problems(
    space: Mapping[str, Range], model: ModelConfig, train: TrainConfig
) -> Iterator[Problem]:
    """What in a search space cannot be: fields that do not exist, values they do not take."""
    for path, range_ in space.items():
        if path in _FIXED:
            yield Problem(path, f"this field cannot be tuned: {_FIXED[path]}", "leave it out")
            continue
        field = field_at(path, model, train)
        if field is None:
            known = list(_paths(model, train))
            near = difflib.get_close_matches(path, known, 1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else "name a field of `model` or `train`"
            yield Problem(path, "there is no such field in the config", hint)
            continue
        fault = _fault_of_values(path, range_, space, model, train)
        if fault:
            yield Problem(path, fault, "take this value out of the range")


@dataclass(frozen=True)
class Variant:
    """The sections with one value of the space in its place; `path` is its field."""

    path: str
    value: Any
    model: ModelConfig
    train: TrainConfig


def variants(
    space: Mapping[str, Range], model: ModelConfig, train: TrainConfig
) -> Iterator[Variant]:
    """The config with each choice, and the ends of each range, in its place.

    Other fields are as they are, or as `when` asks for. A value that the sections refuse is left
    out: `problems` tells it.
    """
    for path, range_ in space.items():
        for value in _extremes(range_, is_whole(field_at(path, model, train))):
            with suppress(ConfigError):
                yield Variant(
                    path, value, *applied({**_asked_for(path, space), path: value}, model, train)
                )


def fault_of_warmup(tune: TuneConfig, train: TrainConfig) -> str:
    """Why a trial of this section would end before its learning rate is there; "" if it is."""
    steps, warmup = tune.steps_of_a_trial(train.steps), train.schedule.warmup_steps
    if not warmup or warmup < steps:
        return ""
    return f"warmup_steps {warmup} leave none of the {steps} steps of a trial for training"


def field_at(path: str, model: ModelConfig, train: TrainConfig) -> FieldInfo | None:
    """The field of the config that a path names, or None."""
    section, *parts = path.split(".")
    roots: dict[str, type[BaseModel]] = {"model": type(model), "train": type(train)}
    kinds = [roots[section]] if section in roots else []
    field: FieldInfo | None = None
    for part in parts:
        field = next((k.model_fields[part] for k in kinds if part in k.model_fields), None)
        if field is None:
            return None
        kinds = _models_in(field.annotation)
    return field


def is_whole(field: FieldInfo | None) -> bool:
    """Whether a field is a whole number."""
    return field is not None and (field.annotation is int or int in get_args(field.annotation))


def encoded(choices: list[Any]) -> list[Any]:
    """A choice's values as keras-tuner takes them: of one scalar type, or JSON."""
    kinds = {type(value) for value in choices}
    if kinds <= {int, float}:
        return choices if len(kinds) == 1 else [float(value) for value in choices]
    if kinds == {str} and not any(value.startswith(_JSON) for value in choices):
        return choices
    return [f"{_JSON}{json.dumps(value)}" for value in choices]


def decoded(values: Mapping[str, Any]) -> dict[str, Any]:
    """keras-tuner's values as those of the config's fields; what it adds (`tuner/...`) is gone."""
    return {
        path: json.loads(value.removeprefix(_JSON))
        if isinstance(value, str) and value.startswith(_JSON)
        else value
        for path, value in values.items()
        if path.startswith(("model.", "train."))
    }


def tuned_values(hyperparameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """Field of the config to value, of what `kt.HyperParameters.get_config` gives."""
    return decoded((hyperparameters or {}).get("values") or {})


def parents_values(range_: Range) -> dict[str, list[Any]]:
    """`when`, with a list of values for each field."""
    return {
        path: value if isinstance(value, list) else [value] for path, value in range_.when.items()
    }


def _fault_of_values(
    path: str, range_: Range, space: Mapping[str, Range], model: ModelConfig, train: TrainConfig
) -> str:
    """Why the config does not take the ends of a range, or one of the choices; "" if it does."""
    for parent, allowed in parents_values(range_).items():
        has = space[parent].choice or ([True, False] if space[parent].boolean else None)
        if has is None:
            return f"`when` names {parent!r}, which is neither a `choice` nor a `boolean`"
        strange = [value for value in allowed if value not in has]
        if strange:
            return f"`when` asks for {strange[0]!r}, which is none of the choices of {parent!r}"
    for value in _extremes(range_, is_whole(field_at(path, model, train))):
        try:
            applied({**_asked_for(path, space), path: value}, model, train)
        except ConfigError as error:
            return f"{value!r} is no value of this field ({error.where}: {error.headline})"
    return ""


def _asked_for(path: str, space: Mapping[str, Range]) -> dict[str, Any]:
    """Values of other fields with which this one is in a trial at all, by its `when`."""
    parents: dict[str, Any] = {}
    for parent, allowed in parents_values(space[path]).items():
        parents |= _asked_for(parent, space)
        if allowed:
            parents[parent] = allowed[0]
    return parents


def _extremes(range_: Range, whole: bool) -> list[Any]:
    if range_.choice is not None:
        return range_.choice
    if range_.boolean:
        return [True, False]
    ends: list[Any] = list((range_.int or range_.float or range_.log or [])[:2])
    return [int(end) if range_.log and whole and end == int(end) else end for end in ends]


def _paths(model: ModelConfig, train: TrainConfig) -> Iterator[str]:
    for name, kind in (("model", type(model)), ("train", type(train))):
        yield from _paths_in(name, kind)


def _paths_in(prefix: str, kind: type[BaseModel]) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        path = f"{prefix}.{name}"
        if path not in _FIXED:
            yield path
        for inner in _models_in(field.annotation):
            yield from _paths_in(path, inner)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]
