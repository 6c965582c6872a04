"""Prints the part of requirements/lock.txt that an extra of setup.py needs.

An image that only serves installs a fifth of the lock, with the lock's versions and hashes. Which
package needs which is in the lock itself: uv notes behind each pin whom it came via. So this needs
no network and no installed packages.
"""

from __future__ import annotations

import argparse
import re
import runpy
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Pin:
    """One package of the lock."""

    lines: list[str]  # as in the lock, without the note
    via: list[str]  # the packages that ask for it


def canonical(requirement: str) -> str:
    """The package's name in `Name[extra]>=1`, as the lock writes names (PEP 503)."""
    match = _NAME.match(requirement.strip())
    if match is None:
        raise SystemExit(f"{requirement!r} names no package")
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def read_lock(text: str) -> dict[str, Pin]:
    """The pins of a lock that uv wrote with hashes and `--annotation-style line`."""
    pins: dict[str, Pin] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("    # via "):
            pins[name].via.extend(line.removeprefix("    # via ").split(", "))
        elif line.startswith("    "):
            pins[name].lines.append(line)
        elif line and not line.startswith("#"):
            name = canonical(line)
            pins[name] = Pin([line], [])
    return pins


def needed(pins: dict[str, Pin], roots: Iterable[str]) -> list[str]:
    """The roots and all that they need, in the lock's order."""
    found = {canonical(root) for root in roots}
    missing = sorted(found - set(pins))
    if missing:
        raise SystemExit(f"the lock has no {', '.join(missing)}")
    grown = True
    while grown:
        more = {name for name, pin in pins.items() if found.intersection(pin.via)} - found
        found |= more
        grown = bool(more)
    return [name for name in pins if name in found]


def requirements_of(setup: Path, extra: str) -> list[str]:
    """What setup.py asks for with an extra."""
    said: dict[str, Any] = {}
    listens = SimpleNamespace(setup=said.update, find_packages=lambda **_: [])
    with mock.patch.dict(sys.modules, {"setuptools": listens}):
        runpy.run_path(str(setup))
    if extra not in said["extras_require"]:
        raise SystemExit(f"{setup} has no extra {extra!r}")
    return [*said["install_requires"], *said["extras_require"][extra]]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("extra", help="serving, for instance")
    parser.add_argument("--lock", type=Path, default=Path("requirements/lock.txt"))
    parser.add_argument("--setup", type=Path, default=Path("setup.py"))
    asked = parser.parse_args(arguments)
    roots = requirements_of(asked.setup, asked.extra)
    pins = read_lock(asked.lock.read_text())
    for name in needed(pins, roots):
        print("\n".join(pins[name].lines))


if __name__ == "__main__":
    main(sys.argv[1:])
