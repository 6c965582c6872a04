from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def checkout(repo: Path, tmp_path: Path) -> Path:
    """A checkout with what set-up reads and an environment that claims to be complete."""
    folder = tmp_path / "a checkout"  # A space in the path must not matter.
    (folder / ".venv/bin").mkdir(parents=True)
    python = folder / ".venv/bin/python"
    python.write_text("#!/bin/sh\necho 3.11\n")
    python.chmod(0o755)
    for name in ("Makefile", "setup.py", "tools", "requirements"):
        (shutil.copytree if (repo / name).is_dir() else shutil.copy)(repo / name, folder / name)
    planned = make(folder, "-n", "setup").stdout
    stamp = planned.split("setup_env.py ")[1].split()[0]
    (folder / stamp).touch()
    return folder


def outside_make() -> dict[str, str]:
    """The environment without the flags of the make that may have started these tests."""
    return {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={**outside_make(), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def installs(folder: Path) -> bool:
    return "setup_env.py" in make(folder, "-n", "setup").stdout


def test_a_second_set_up_does_and_says_nothing(checkout: Path) -> None:
    second = make(checkout, "setup")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")


def test_set_up_depends_on_content_not_on_times(checkout: Path) -> None:
    for file in (checkout / "requirements").iterdir():
        os.utime(file, (4e9, 4e9))
    assert not installs(checkout)
    with (checkout / "requirements/lock.txt").open("a") as lock:
        lock.write("# one more line\n")
    assert installs(checkout)


def test_an_environment_without_its_python_is_set_up_again(checkout: Path) -> None:
    (checkout / ".venv/bin/python").unlink()
    (checkout / ".venv/bin/python").symlink_to("/nowhere/python3.11")
    assert installs(checkout)


def test_a_moved_checkout_is_set_up_again(checkout: Path) -> None:
    assert installs(checkout.rename(checkout.with_name("moved")))


def test_the_default_target_lists_the_others_and_installs_nothing(checkout: Path) -> None:
    (checkout / ".venv/bin/python").unlink()
    listed = make(checkout)
    assert listed.returncode == 0
    for target in ("run", "test", "test-fast", "lint", "format", "lock", "bench"):
        assert f"make {target} " in listed.stdout


def test_a_python_that_is_too_old_is_named(checkout: Path, tmp_path: Path) -> None:
    old = tmp_path / "python3.6"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.6.9\nexit 1\n')
    old.chmod(0o755)
    (checkout / "setup.py").write_text("# changed\n")
    result = make(checkout, "setup", f"PYTHON={old}")
    assert result.returncode == 2
    assert "Python 3.6.9" in result.stderr
    assert f"PYTHON={old}" in result.stderr


def test_no_python_at_all_says_what_to_install(checkout: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "make", "cat", "cksum", "cut", "test", "rm", "grep", "awk", "sed"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    (checkout / "setup.py").write_text("# changed\n")
    result = make(checkout, "setup", PATH=str(tools))
    assert result.returncode == 2
    assert "no Python 3.10 or later on the PATH" in result.stderr
    assert "make PYTHON=" in result.stderr


def test_continuous_integration_runs_what_a_person_runs(repo: Path, tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(repo / ".ci/run", tmp_path / ".ci/run")
    (tmp_path / "Makefile").write_text("test:\n\t@echo tested in $(CURDIR)\n")
    run = subprocess.run(
        [tmp_path / ".ci/run"], env=outside_make(), capture_output=True, text=True, check=True
    )
    assert run.stdout == f"tested in {tmp_path}\n"
