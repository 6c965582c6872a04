"""`render`: a data profile as the commented text of a pipeline.yaml."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from importlib import resources

import jinja2

from tfx_pipeline.init.profile import DataProfile

_TEMPLATE = "pipeline.yaml.j2"
_PATIENCE_EPOCHS = 8
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_YAML_WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")


@dataclass(frozen=True)
class _Threshold:
    metric: str
    min: float
    max_regression: float
    why: str


def render(profile: DataProfile, *, name: str, path: str, output: str = "pipeline.yaml") -> str:
    """The text of a pipeline.yaml that loads and runs as it is.

    Args:
        profile: What `profile` found.
        name: The pipeline's name.
        path: `data.path`, relative to the file.
        output: The file's name, for the command in its first lines.
    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    environment.filters["q"] = _yaml
    environment.filters["comment"] = _comment
    environment.filters["slices"] = lambda names: _yaml([[name] for name in names])
    text = resources.files("tfx_pipeline.init").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    counts = profile.label.counts
    return environment.from_string(text).render(
        p=profile,
        rows=f"{profile.rows:,}",
        name=name,
        path=path,
        output=output,
        patience=_PATIENCE_EPOCHS,
        class_counts=", ".join(f"{name}: {counts[name]}" for name in profile.label.classes[:20]),
        left_out=[column for column in profile.columns if not column.is_feature],
        thresholds=_thresholds(profile),
    )


def pipeline_name(text: str) -> str:
    """A valid pipeline name made from a file's name."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_-")
    if not name or not name[0].isalpha():
        name = f"p_{name}".rstrip("_")
    return name[:63]


def _thresholds(profile: DataProfile) -> list[_Threshold]:
    label = profile.label
    if label.task == "regression":
        return [_Threshold("r2", 0.0, 0.05, "0: no better than always saying the mean")]
    if label.task == "multilabel":
        why = "mean over the classes; 0.5 is guessing, 1 perfect"
        return [_Threshold("macro_auc", 0.6, 0.01, why)]
    share = label.majority_share
    # A point below, for the eval split's own share differs a little from the whole's.
    floor = max(math.floor(100 * share - 1) / 100, 0.0)
    accuracy = _Threshold(
        "accuracy", floor, 0.02, f"always naming the most frequent class gets {share:.3f}"
    )
    if label.task == "binary":
        return [_Threshold("auc", 0.6, 0.01, "0.5 is guessing, 1 perfect"), accuracy]
    return [accuracy]


def _yaml(value: object) -> str:
    """A value on one line; JSON is YAML, and quotes whatever needs it. Plain names stay plain."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _YAML_WORDS:
        return value
    text = json.dumps(value, ensure_ascii=False)
    # YAML forbids what JSON leaves bare: DEL and the C1 controls, and reads NEL, LS, PS as breaks.
    return re.sub(
        r"[\x7f-\x9f\u2028\u2029\ufeff]", lambda match: f"\\u{ord(match.group()):04x}", text
    )


def _comment(text: str) -> str:
    """Text that stays on its line, whatever a column is called."""
    return "".join(c if c.isprintable() else " " for c in text)[:160]
