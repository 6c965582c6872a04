"""The contracts in pyproject.toml, shown to break on toy packages that break DESIGN's rules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MODULES = (
    "transform/__init__.py",
    "transform/features.py",
    "trainer/__init__.py",
    "trainer/run.py",
    "tfx_pipeline/__init__.py",
    "tfx_pipeline/errors.py",
    "tfx_pipeline/graph.py",
    "serving/__init__.py",
    "serving/tensors.py",
    "serving/client/__init__.py",
    "serving/server/__init__.py",
)


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [script, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def house(repo: Path, tmp_path: Path) -> Path:
    """Our packages in small, with every import that DESIGN allows across them."""
    (tmp_path / "pyproject.toml").write_text((repo / "pyproject.toml").read_text())
    for module in MODULES:
        (tmp_path / module).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / module).write_text("")
    allowed = {
        "transform/features.py": "import tensorflow, tfx_pipeline.errors\n",
        "trainer/run.py": "import tfx, transform.features, tfx_pipeline.errors\n",
        "tfx_pipeline/graph.py": "import tfx, trainer.run, transform.features, serving.client\n",
        "serving/client/__init__.py": "import grpc, serving.tensors, tfx_pipeline.errors\n",
        "serving/server/__init__.py": "import tensorflow, serving.tensors, tfx_pipeline.errors\n",
    }
    for module, text in allowed.items():
        (tmp_path / module).write_text(text)
    return tmp_path


def test_what_design_allows_passes(house: Path) -> None:
    result = lint(house)
    assert result.returncode == 0, result.stdout
    assert "5 kept, 0 broken" in result.stdout


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("transform/features.py", "trainer.run"),
        ("transform/features.py", "tfx_pipeline.graph"),
        ("trainer/run.py", "tfx_pipeline.graph"),
        ("serving/tensors.py", "transform.features"),
        ("serving/server/__init__.py", "trainer.run"),
        ("serving/client/__init__.py", "tfx_pipeline.graph"),
        ("serving/client/__init__.py", "tensorflow"),
        ("serving/client/__init__.py", "tfx"),
        ("serving/tensors.py", "tensorflow"),  # The client imports it.
        ("serving/tensors.py", "tfx"),
        ("serving/server/__init__.py", "tfx.v1"),
        ("tfx_pipeline/errors.py", "trainer"),
    ],
)
def test_what_design_forbids_breaks_a_contract(house: Path, module: str, imported: str) -> None:
    with (house / module).open("a") as file:
        file.write(f"import {imported}\n")
    result = lint(house)
    assert result.returncode == 1, result.stdout
    assert "BROKEN" in result.stdout
