"""The environments of the two Airflows: their locks, and when `make` makes them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
sys.path.insert(0, str(REPO / "tools"))  # The scripts of make are no package.
import lock  # noqa: E402

LOCKS = ["airflow-3.txt", "airflow-2.txt"]


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_a_hash_and_none_is_of_tfx(name: str) -> None:
    text = (REPO / "requirements" / name).read_text()
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) > 100
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert not re.search(r"^(tensorflow|tfx|ml-metadata|keras)", text, re.MULTILINE)
    assert "apache-airflow" in text
    for line in text.splitlines():
        assert "://" not in line
        assert not re.search(r"(^|\s)/\w", line)


@pytest.mark.parametrize("name", LOCKS)
def test_a_changed_input_makes_the_lock_stale(name: str, tmp_path: Path) -> None:
    requirements = Path(shutil.copytree(REPO / "requirements", tmp_path / "requirements"))
    assert lock.staleness(requirements) == ""
    source = requirements / name.replace(".txt", ".in")
    source.write_text(f"{source.read_text()}\nhttpx\n")
    assert f"{name} is older than {source.name}" in lock.staleness(requirements)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose environments claim to be complete."""
    folder = tmp_path / "a checkout"
    for name in (".venv", ".venv-airflow3", ".venv-airflow2"):
        (folder / name / "bin").mkdir(parents=True)
        python = folder / name / "bin/python"
        python.write_text("#!/bin/sh\necho 3.11\n")
        python.chmod(0o755)
    for name in ("Makefile", "setup.py", "tools", "requirements"):
        (shutil.copytree if (REPO / name).is_dir() else shutil.copy)(REPO / name, folder / name)
    for planned in re.findall(r"tools/setup_\w+\.py (\S+)", make(folder, "setup", "airflow")):
        (folder / planned).touch()
    return folder


def make(folder: Path, *targets: str) -> str:
    """What `make` would do."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    command = ["make", "-n", *targets]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_nothing_is_made_twice(checkout: Path) -> None:
    assert "setup_airflow.py" not in make(checkout, "airflow")


def test_a_changed_lock_is_installed_in_its_environment_only(checkout: Path) -> None:
    with (checkout / "requirements/airflow-3.txt").open("a") as file:
        file.write("# one more line\n")
    planned = make(checkout, "airflow")
    assert ".venv-airflow3/stamp-" in planned
    assert ".venv-airflow2" not in planned


def test_an_environment_without_its_python_is_made_again(checkout: Path) -> None:
    (checkout / ".venv-airflow2/bin/python").unlink()
    planned = make(checkout, "airflow")
    assert ".venv-airflow2/stamp-" in planned
    assert "-broken" not in planned
    assert ".venv-airflow3" not in planned


def test_only_the_tests_need_them(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv-airflow3")
    assert "setup_airflow.py" in make(checkout, "test")
    for target in ("setup", "run", "test-fast", "lint"):
        assert "setup_airflow.py" not in make(checkout, target)
