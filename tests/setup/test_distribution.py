from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACKAGES = ("transform", "trainer", "serving", "tfx_pipeline")


def test_every_file_of_our_packages_is_in_the_distribution(repo: Path, tmp_path: Path) -> None:
    built = tmp_path / "lib"
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(built)],
        cwd=repo,
        check=True,
        capture_output=True,
    )
    ours = {
        str(path.relative_to(repo))
        for package in PACKAGES
        for path in (repo / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {str(path.relative_to(built)) for path in built.rglob("*") if path.is_file()}
    # A folder without __init__.py is no package: its modules would be missing from an image.
    assert ours - packed == set()
