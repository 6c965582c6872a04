"""Makes the locks in requirements/, and checks that each was made from the inputs beside it.

A lock can be stale in two ways. New releases appear on their own and are no reason to fail; a
changed input is. So the header records a digest of the inputs, and `--check` compares that alone:
it needs no network and says the same tomorrow.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple


class Lock(NamedTuple):
    """A lock and what it is made from: files in requirements/."""

    file: str
    inputs: tuple[str, ...]  # The requirements, and what overrides those of packages.


LOCKS = (
    Lock("lock.txt", ("assay.in", "overrides.txt")),
    # Airflow 3 fits into no environment with TFX; the tests run both.
    Lock("airflow-3.txt", ("airflow-3.in",)),
    Lock("airflow-2.txt", ("airflow-2.in",)),
    Lock("kfp.txt", ("kfp.in",)),
)
# The oldest platform that the lock supports; resolving for it gives one result on every machine.
PLATFORM = "x86_64-manylinux_2_28"
_RECORDED = re.compile(r"^# inputs: sha256:([0-9a-f]{64})$", re.MULTILINE)


def input_digest(requirements: Path, inputs: tuple[str, ...]) -> str:
    """SHA-256 of what the inputs ask for; comments and blank lines do not count."""
    digest = hashlib.sha256()
    for name in inputs:
        digest.update(f"{name}\n".encode())
        for line in (requirements / name).read_text().splitlines():
            requirement = line.split("#")[0].strip()
            if requirement:
                digest.update(f"{requirement}\n".encode())
    return digest.hexdigest()


def staleness(requirements: Path) -> str:
    """Why a lock does not belong to its inputs, or "" if all do."""
    for file, inputs in LOCKS:
        lock = requirements / file
        if not lock.exists():
            return f"{lock} is missing: run `make lock`"
        recorded = _RECORDED.search(lock.read_text())
        if recorded is None:
            return f"{lock} does not record its inputs: run `make lock`"
        if recorded[1] != input_digest(requirements, inputs):
            return f"{lock} is older than {' or '.join(inputs)}: run `make lock`"
    return ""


def make_lock(lock: Lock, requirements: Path, uv: str, *, upgrade: bool) -> None:
    """Resolves the inputs and replaces a lock in one step.

    Args:
        lock: The lock.
        requirements: The folder with the inputs and the locks.
        uv: The uv to resolve with.
        upgrade: Take the newest releases instead of keeping the pins that still fit.
    """
    final = requirements / lock.file
    source, *overrides = lock.inputs
    with tempfile.TemporaryDirectory(dir=requirements) as folder:
        made = Path(folder) / lock.file
        if final.exists():
            made.write_text(final.read_text())  # uv keeps the pins it finds in its output file.
        command = [uv, "pip", "compile", str(requirements / source), "--generate-hashes"]
        for name in overrides:
            command += ["--override", str(requirements / name)]
        command += ["--python-version", "3.11", "--python-platform", PLATFORM]
        command += ["--custom-compile-command", "make lock", "--annotation-style", "line"]
        command += ["--quiet", "--output-file", str(made)] + (["--upgrade"] if upgrade else [])
        subprocess.run(command, check=True)
        header, _, pins = made.read_text().partition("make lock\n")
        inputs = f"# inputs: sha256:{input_digest(requirements, lock.inputs)}\n"
        # The paths in uv's notes are this machine's way of naming the inputs.
        pins = pins.replace(f"-r {requirements}/", "-r ").replace(
            f"--override {requirements}/", "--override "
        )
        made.write_text(f"{header}make lock\n{inputs}{pins}")
        made.replace(final)


def main(arguments: list[str]) -> int:
    requirements = Path("requirements")
    if arguments == ["--check"]:
        problem = staleness(requirements)
        print(problem or "The locks belong to their inputs.")
        return 1 if problem else 0
    for lock in LOCKS:
        make_lock(lock, requirements, os.environ["UV"], upgrade="--upgrade" in arguments)
        pins = re.findall(r"^\S+==", (requirements / lock.file).read_text(), re.MULTILINE)
        print(f"{requirements / lock.file}: {len(pins)} packages.")
    print("Run `make test` before you commit them.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
