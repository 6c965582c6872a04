"""Modules that are put off: what importing them does, and when they run."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfx_pipeline import on_demand


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that is put off, and counts how often it runs in the list `runs`."""
    package = tmp_path / "late_package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import sys\n"
        "sys.late_runs.append(1)\n"
        "if len(sys.late_runs) in sys.late_fails: raise ValueError('not yet')\n"
        "from late_package.part import VALUE\n"
        "def double(): return 2 * VALUE\n"
    )
    (package / "part.py").write_text("VALUE = 21\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(on_demand.PUT_OFF, "late_package", "late_instead")
    (tmp_path / "late_instead.py").write_text("")
    monkeypatch.setattr(sys, "late_runs", [], raising=False)
    monkeypatch.setattr(sys, "late_fails", [], raising=False)
    for name in ("late_package", "late_package.part", "late_instead"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield package
    for name in ("late_package", "late_package.part", "late_instead"):
        sys.modules.pop(name, None)


def runs() -> int:
    return len(sys.late_runs)  # type: ignore[attr-defined]


def test_a_package_runs_when_something_of_it_is_asked_for(late: Path) -> None:
    module = importlib.import_module("late_package")
    assert "late_instead" in sys.modules
    assert module.__file__ == str(late / "__init__.py")
    assert not hasattr(module, "__wrapped__")  # As inspect looks.
    assert importlib.import_module("late_package.part").VALUE == 21
    from late_package import part  # type: ignore[import-not-found]

    assert (part.VALUE, runs()) == (21, 0)
    assert (module.double(), runs()) == (42, 1)
    assert (module.double(), runs()) == (42, 1)
    with pytest.raises(AttributeError, match="nothing"):
        module.nothing  # noqa: B018


def test_what_fails_fails_each_time_it_is_asked_for(late: Path) -> None:
    sys.late_fails.append(1)  # type: ignore[attr-defined]
    module = importlib.import_module("late_package")
    with pytest.raises(ValueError, match="not yet"):
        module.double()
    assert (module.double(), runs()) == (42, 2)


@pytest.mark.slow
def test_a_graph_without_a_tuner_imports_neither_keras_tuner_nor_what_comes_with_it() -> None:
    unneeded = (
        "google.cloud.aiplatform", "keras", "keras_tuner", "kubernetes",
        "matplotlib.figure", "nltk.parse", "scipy.stats._stats_py", "sklearn",
    )  # fmt: skip
    code = (
        "import sys\n"
        "from tfx_pipeline.config import load_config\n"
        "import tfx_pipeline.graph, tfx_pipeline.runners.local.execute\n"
        f"print([name for name in {unneeded} if name in sys.modules])\n"
        # All the same, whoever asks for them has them.
        "from tfx import v1 as tfx\n"
        "import tensorflow_model_analysis as tfma\n"
        "print(tfx.components.Tuner.__name__, tfma.EvalConfig.__name__)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert run.stdout.splitlines() == ["[]", "Tuner EvalConfig"], run.stderr
