from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture(scope="module")
def lock_tool(repo: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("lock_tool", repo / "tools/lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def inputs(repo: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(repo / "requirements", tmp_path / "requirements"))


def pins(repo: Path) -> dict[str, str]:
    text = (repo / "requirements/lock.txt").read_text()
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def names_in(text: str) -> set[str]:
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return {canonicalize_name(Requirement(line).name) for line in lines if line}


def test_every_pin_has_a_hash(repo: Path) -> None:
    blocks = re.split(r"^(?=[A-Za-z0-9])", (repo / "requirements/lock.txt").read_text(), flags=re.M)
    requirements = blocks[1:]
    assert len(requirements) == len(pins(repo)) > 100
    assert [block.split()[0] for block in requirements if "--hash=sha256:" not in block] == []


def test_lock_tells_nothing_of_the_machine_that_made_it(repo: Path) -> None:
    for line in (repo / "requirements/lock.txt").read_text().splitlines():
        assert "://" not in line
        assert "index-url" not in line
        assert not re.search(r"(^|\s)/\w", line)


def test_lock_is_fresh_until_an_input_asks_for_something_else(
    lock_tool: ModuleType, inputs: Path
) -> None:
    assert lock_tool.staleness(inputs) == ""
    asked = (inputs / "assay.in").read_text()
    (inputs / "assay.in").write_text(f"# another remark\n\n{asked}")
    assert lock_tool.staleness(inputs) == ""
    (inputs / "assay.in").write_text(f"{asked}\nhttpx\n")
    assert "make lock" in lock_tool.staleness(inputs)


@pytest.mark.parametrize("harm", ["override", "header", "gone"])
def test_lock_that_was_not_made_from_its_inputs_is_stale(
    lock_tool: ModuleType, inputs: Path, harm: str
) -> None:
    lock = inputs / "lock.txt"
    if harm == "override":
        (inputs / "overrides.txt").write_text("numpy==2.0.*\n")
    elif harm == "header":
        lock.write_text(lock.read_text().replace("# inputs: ", "# "))
    else:
        lock.unlink()
    assert "make lock" in lock_tool.staleness(inputs)


def test_every_requirement_of_setup_allows_the_locked_version(repo: Path) -> None:
    locked = pins(repo)
    overridden = names_in((repo / "requirements/overrides.txt").read_text())
    other_environments = {"airflow", "vertex", "notebooks"}
    checked = set()
    for text in importlib.metadata.requires("tfx-assay") or []:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        extra = re.search(r"extra == [\"'](\w+)", str(requirement.marker or ""))
        if name not in locked:
            assert extra is not None, text
            assert extra[1] in other_environments, text
        elif name not in overridden:
            assert requirement.specifier.contains(locked[name]), f"{text}, lock: {locked[name]}"
            checked.add(name)
    assert {"tfx", "keras-tuner", "pydantic", "grpcio"} <= checked


def needed_by(extra: str) -> set[str]:
    """Direct requirements of an extra and of the base, by name."""
    requirements = [Requirement(text) for text in importlib.metadata.requires("tfx-assay") or []]
    return {
        canonicalize_name(requirement.name)
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra})
    }


def test_extras_keep_small_images_small() -> None:
    base = needed_by("")
    assert needed_by("client") - base == {"grpcio", "protobuf", "numpy"}
    assert "tensorflow" in needed_by("serving")
    assert not {"tfx", "tf-keras", "apache-beam", "pandas"} & needed_by("serving")
    assert {"tfx", "tf-keras", "tensorflow"} <= needed_by("pipeline")
    provided = importlib.metadata.metadata("tfx-assay").get_all("Provides-Extra") or []
    extras = {"pipeline", "serving", "client", "airflow", "vertex", "notebooks", "dev"}
    assert set(provided) == extras
    assert not any(name.startswith("tensorflow") or name == "tfx" for name in base)


def test_errors_can_be_imported_by_all_because_it_imports_only_the_standard_library(
    repo: Path,
) -> None:
    stdlib = set(sys.stdlib_module_names)
    assert imported_packages(repo / "tfx_pipeline/errors.py") <= stdlib
    # Importing the module runs its package's __init__ first: that must be as light.
    assert imported_packages(repo / "tfx_pipeline/__init__.py") == {"tfx_pipeline"}
    assert imported_packages(repo / "tfx_pipeline/on_demand.py") <= stdlib


def imported_packages(file: Path) -> set[str]:
    import ast

    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
    return found
