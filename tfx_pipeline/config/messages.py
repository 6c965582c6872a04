"""What pydantic found wrong in a config, in words a person wants to read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from tfx_pipeline.config.pipeline import PipelineConfig
from trainer.compression.config import CandidateConfig
from transform.config import FieldError

Location = tuple[str | int, ...]

# What pydantic adds to a place in the config to say which branch of a union it is in: the sections
# that have branches, the position of the tag, and what tells the branches apart.
_TAGS: tuple[tuple[Location, int], ...] = (
    (("features", "columns"), 3),
    (("compress", "candidates"), 4),
    (("compress", "candidates"), 2),
)
# Other names of what a config may say, which their letters do not tell.
_SYNONYMS = {
    "r_squared": "r2",
    "rsquared": "r2",
    "r2_score": "r2",
    "roc_auc": "auc",
    "auroc": "auc",
    "auc_roc": "auc",
    "pr_auc": "auc_pr",
    "auprc": "auc_pr",
    "average_precision": "auc_pr",
    "acc": "accuracy",
    "logloss": "log_loss",
    "cross_entropy": "log_loss",
    "loss": "log_loss",
    "expected_calibration_error": "ece",
    "f1_macro": "macro_f1",
    "f1_micro": "micro_f1",
    "exact_match": "subset_accuracy",
    "quantile_loss": "pinball_loss",
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
    "root_mean_squared_error": "rmse",
    "number": "numeric",
    "float": "numeric",
    "integer": "numeric",
    "int": "numeric",
    "string": "categorical",
    "category": "categorical",
    "datetime": "date",
    "timestamp": "date",
    "classification": "multiclass",
    "quantile_regression": "quantile",
    "pruning": "prune",
    "clustering": "cluster",
    "distillation": "distill",
    "fp16": "float16",
    "float16": "mixed_float16",
    "bfloat16": "mixed_bfloat16",
    "accurate": "most_accurate",
}


def described(error: Any) -> tuple[Location, str, bool]:
    """One of pydantic's errors: where it is, what to say, and whether a reference would help."""
    path = yaml_path(error["loc"])
    field = field_name(path) or "the file"
    match error["type"]:
        case "extra_forbidden":
            return path, f"{field}: unknown key{_nearest_key(path)}", True
        case "missing":
            return path, f"{field}: missing, and it has no default", True
        case "value_error":
            raised = error["ctx"]["error"]
            within = raised.path if isinstance(raised, FieldError) else ()
            return (*path, *within), f"{field}: {raised}", False
        case "union_tag_invalid":
            key = error["ctx"]["discriminator"].strip("'")
            kinds = re.findall(r"'(\w+)'", error["ctx"]["expected_tags"])
            return (*path, key), f"{field}: {key} {unknown(error['ctx']['tag'], kinds)}", False
        case "union_tag_not_found":
            key = error["ctx"]["discriminator"].strip("'")
            return path, f"{field}: `{key}` is missing; choose one of {_KINDS[key]}", False
        case "literal_error":
            choices = re.findall(r"'([^']*)'", error["ctx"]["expected"])
            if isinstance(error["input"], str) and choices:
                return path, f"{field}: {unknown(error['input'], choices)}", False
        case "string_type" if isinstance(error["input"], bool):
            written = "yes, on or true" if error["input"] else "no, off or false"
            what = f"YAML takes {written} for a truth value; put the word in quotes"
            return path, f"{field}: {what}", False
        case "model_type" | "model_attributes_type":
            keys = ", ".join(_fields_at(path))
            return path, f"{field}: a mapping is expected, with keys of {keys}", True
    message = error["msg"][0].lower() + error["msg"][1:]
    given = error["input"]
    shown = "" if isinstance(given, (Mapping, list)) else f" (found {given!r})"
    return path, f"{field}: {message}{shown}", True


_KINDS = {
    "kind": "numeric, categorical, date, text, series, image",
    "method": ", ".join(
        method
        for section in get_args(get_args(CandidateConfig)[0])
        for method in get_args(section.model_fields["method"].annotation)
    ),
}


def unknown(value: str, choices: Sequence[str]) -> str:
    """That a value is none of the choices, and the one that was meant."""
    word = re.sub(r"[\s-]+", "_", value.strip().lower())
    meant = _SYNONYMS.get(word)
    close = [meant] if meant in choices else difflib.get_close_matches(word, choices, 1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    return f"{value!r} is unknown.{guess} Choose one of {', '.join(map(repr, choices))}"


def field_name(path: Location) -> str:
    """A place in the config as it is told: `gates.quality.thresholds[0].metric`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")


def yaml_path(loc: Location) -> Location:
    """Pydantic's location without the tag it adds for a union's branch."""
    dropped = {position for section, position in _TAGS if loc[: len(section)] == section}
    return tuple(part for position, part in enumerate(loc) if position not in dropped)


def _nearest_key(path: Location) -> str:
    fields = _fields_at(path[:-1])
    if str(path[-1]) in fields:  # One of several sections that may stand here has it.
        return "; it does not go with this `method`"
    close = difflib.get_close_matches(str(path[-1]), fields, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known here: {', '.join(fields)}" if fields else ""


def _fields_at(path: Location) -> list[str]:
    """The names that a section's keys may have."""
    candidates: list[Any] = [PipelineConfig]
    for part in path:
        candidates = [
            inner
            for model in candidates
            if part in model.model_fields
            for inner in models_in(model.model_fields[str(part)].annotation)
        ] or candidates  # A list's index or a mapping's key: the same models one level down.
    return sorted({name for model in candidates for name in model.model_fields})


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a field's type holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in models_in(inner)]
