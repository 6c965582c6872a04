"""Commands that should answer at once import nothing heavy: pinned by module, not by the clock.

A module that is not in a list here costs every call of the command. Import it where it is used.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tfx_pipeline.templates.copy import copy_template

# Typer's help is drawn by rich, which takes attr where it is installed.
TERMINAL = {
    "annotated_doc", "attr", "markdown_it", "mdurl", "pygments", "rich", "shellingham", "typer",
}  # fmt: skip
CONFIG = {
    "annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection",
    "yaml",
}  # fmt: skip
RECORDS = {"psutil"}
# pyarrow imports cloudpickle and pandas where they are installed.
ROWS = {"cloudpickle", "dateutil", "numpy", "pandas", "pyarrow", "pytz", "six"}

_CHILD = """
import json, sys
before = set(sys.modules)
from tfx_pipeline.cli.main import app
app(json.loads(sys.argv[1]), standalone_mode=False)
loaded = [[name, getattr(sys.modules[name], "__file__", None) or ""]
          for name in set(sys.modules) - before]
open(sys.argv[2], "w").write(json.dumps(loaded))
"""


def imported(arguments: Sequence[str], folder: Path) -> tuple[set[str], set[str]]:
    """What a command has imported by its end: names of other people's packages, and our modules."""
    written = folder / "modules.json"
    command = [sys.executable, "-c", _CHILD, json.dumps(list(arguments)), str(written)]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    loaded: list[tuple[str, str]] = json.loads(written.read_text())
    theirs = {name.partition(".")[0] for name, file in loaded if "site-packages" in file}
    ours = ("serving", "tfx_pipeline", "trainer", "transform")
    return theirs - set(ours), {name for name, _ in loaded if name.partition(".")[0] in ours}


def test_help_needs_what_draws_it(tmp_path: Path) -> None:
    theirs, ours = imported(["--help"], tmp_path)
    assert theirs <= TERMINAL
    # The commands and the errors, and no config, which takes pydantic a while.
    packages = {".".join(name.split(".")[:2]) for name in ours if name.count(".")}
    assert packages <= {
        "serving.cli", "serving.cli_bench", "serving.cli_connect", "serving.cli_models",
        "serving.cli_predict", "tfx_pipeline.cli", "tfx_pipeline.doctor", "tfx_pipeline.errors",
        "tfx_pipeline.init", "tfx_pipeline.on_demand",
    }  # fmt: skip


@pytest.fixture(scope="module")
def taxi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_template("taxi", tmp_path_factory.mktemp("taxi"))


def test_check_reads_the_config_and_the_first_rows(taxi: Path, tmp_path: Path) -> None:
    theirs, _ = imported(["check", str(taxi)], tmp_path)
    assert theirs <= TERMINAL | CONFIG | ROWS | RECORDS
    assert {"pydantic", "pyarrow"} <= theirs


def test_the_list_of_runs_needs_the_config(taxi: Path, tmp_path: Path) -> None:
    theirs, ours = imported(["runs", "-c", str(taxi)], tmp_path)
    assert theirs <= TERMINAL | CONFIG | RECORDS
    assert "tfx_pipeline.lint" not in ours


def test_init_reads_the_rows(taxi: Path, tmp_path: Path) -> None:
    data = str(taxi.parent / "data.csv")
    command = ["init", "--data", data, "--label", "tips", "-o", str(tmp_path / "pipeline.yaml")]
    theirs, _ = imported(command, tmp_path)
    assert theirs <= TERMINAL | CONFIG | ROWS | {"jinja2", "markupsafe"}
