from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tfx_pipeline.runners.airflow.python_text import Call, python_text

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, width=32) | TEXTS
PLAIN |= st.timedeltas(timedelta(0), timedelta(days=400))
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5)
)


@given(VALUES)
def test_a_value_comes_back_from_its_source(value: Any) -> None:
    names = {"timedelta": timedelta, "inf": float("inf")}
    assert eval(python_text(value), names) == value
    assert eval(python_text(value, used=200), names) == value


def test_a_call_is_written_with_its_arguments() -> None:
    call = Call("dict", {"a": [1, 2], "b": Call("len", {})})
    assert python_text(call) == "dict(a=[1, 2], b=len())"
    assert python_text(call, used=80).splitlines()[1] == "    a=[1, 2],"


def test_it_is_laid_out_as_black_would(tmp_path: Path) -> None:
    value = {
        "short": [1, 2],
        "a" * 40: ["b" * 40, "c" * 40, {"d": timedelta(minutes=1), "e" * 70: ["f" * 10]}],
        "call": [Call("some.function", {"name": "n" * 30, "inner": Call("g", {"x": "y" * 60})})],
        "text": "t" * 100,
        "empty": [{}, []],
    }
    file = tmp_path / "made.py"
    file.write_text(f"VALUE = {python_text(value, used=8)}\n")
    ruff = [str(Path(sys.executable).with_name("ruff")), "format", "--isolated", "--line-length=88"]
    subprocess.run([*ruff, "--diff", str(file)], check=True, capture_output=True)
