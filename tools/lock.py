"""Makes requirements/lock.txt, and checks that it was made from the inputs beside it.

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

INPUTS = ("assay.in", "overrides.txt")
# The oldest platform that the lock supports; resolving for it gives one result on every machine.
PLATFORM = "x86_64-manylinux_2_28"
_RECORDED = re.compile(r"^# inputs: sha256:([0-9a-f]{64})$", re.MULTILINE)


def input_digest(requirements: Path) -> str:
    """SHA-256 of what the inputs ask for; comments and blank lines do not count."""
    digest = hashlib.sha256()
    for name in INPUTS:
        digest.update(f"{name}\n".encode())
        for line in (requirements / name).read_text().splitlines():
            requirement = line.split("#")[0].strip()
            if requirement:
                digest.update(f"{requirement}\n".encode())
    return digest.hexdigest()


def staleness(requirements: Path) -> str:
    """Why the lock does not belong to the inputs, or "" if it does."""
    lock = requirements / "lock.txt"
    if not lock.exists():
        return f"{lock} is missing: run `make lock`"
    recorded = _RECORDED.search(lock.read_text())
    if recorded is None:
        return f"{lock} does not record its inputs: run `make lock`"
    if recorded[1] != input_digest(requirements):
        return f"{lock} is older than {' or '.join(INPUTS)}: run `make lock`"
    return ""


def make_lock(requirements: Path, uv: str, *, upgrade: bool) -> None:
    """Resolves the inputs and replaces the lock in one step.

    Args:
        requirements: The folder with the inputs and the lock.
        uv: The uv to resolve with.
        upgrade: Take the newest releases instead of keeping the pins that still fit.
    """
    lock = requirements / "lock.txt"
    with tempfile.TemporaryDirectory(dir=requirements) as folder:
        made = Path(folder) / "lock.txt"
        if lock.exists():
            made.write_text(lock.read_text())  # uv keeps the pins it finds in its output file.
        command = [uv, "pip", "compile", str(requirements / "assay.in")]
        command += ["--override", str(requirements / "overrides.txt"), "--generate-hashes"]
        command += ["--python-version", "3.11", "--python-platform", PLATFORM]
        command += ["--custom-compile-command", "make lock", "--annotation-style", "line"]
        command += ["--quiet", "--output-file", str(made)] + (["--upgrade"] if upgrade else [])
        subprocess.run(command, check=True)
        header, _, pins = made.read_text().partition("make lock\n")
        inputs = f"# inputs: sha256:{input_digest(requirements)}\n"
        # The paths in uv's notes are this machine's way of naming the inputs.
        pins = pins.replace(f"-r {requirements}/", "-r ").replace(
            f"--override {requirements}/", "--override "
        )
        made.write_text(f"{header}make lock\n{inputs}{pins}")
        made.replace(lock)


def main(arguments: list[str]) -> int:
    requirements = Path("requirements")
    if arguments == ["--check"]:
        problem = staleness(requirements)
        print(problem or "The lock belongs to its inputs.")
        return 1 if problem else 0
    make_lock(requirements, os.environ["UV"], upgrade="--upgrade" in arguments)
    pins = re.findall(r"^\S+==", (requirements / "lock.txt").read_text(), re.MULTILINE)
    print(f"requirements/lock.txt: {len(pins)} packages. Run `make test` before you commit it.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
