"""Whether the answers of two models mean the same, so that their metrics may be compared."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from serving.client import model_info
from tfx_pipeline.gates.verdict import is_local

_MEANING = ("task", "classes", "quantiles")
_SHOWN = 80  # characters of a list of classes


def why_other_answers(now: str | Path, before: str | Path) -> str:
    """Why predictions of two models are of different things: one's quantiles or classes measured
    as the other's would be good or bad by chance.

    Args:
        now: Folder of a SavedModel that the trainer exported.
        before: Folder of an earlier one.

    Returns:
        `its quantiles are [0.1], not [0.9]`; empty where there is no difference, or one of them
        does not say what it answers.
    """
    try:
        new, old = (_description(str(folder)) for folder in (now, before))
    except (OSError, ValueError):
        return ""  # Whether it runs at all is for others to say.
    for what in _MEANING:
        if new.get(what) != old.get(what):
            verb = "is" if what == "task" else "are"
            return f"its {what} {verb} {_short(old.get(what))}, not {_short(new.get(what))}"
    return ""


def _description(folder: str) -> dict[str, Any]:
    path = os.path.join(folder, model_info.FILE)
    if is_local(folder):
        text = Path(path.removeprefix("file://")).read_text(encoding="utf-8")
    else:
        from tfx.dsl.io import fileio

        text = fileio.open(path).read()
    found: dict[str, Any] = json.loads(text)
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
