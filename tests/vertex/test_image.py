"""What `assay image` writes. There is no Docker here: the Dockerfile is read, not built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.vertex.conftest import YAML, make_project
from tfx_pipeline.errors import ConfigError
from tfx_pipeline.runners.vertex.image import write_context


def instructions(dockerfile: Path) -> list[str]:
    """The instructions, each on one line, without comments."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.parametrize("gpu", [False, True])
def test_everything_that_is_copied_is_there(tmp_path: Path, repo: Path, gpu: bool) -> None:
    config = make_project(tmp_path / "project")
    context = write_context(config, tmp_path / "image", gpu=gpu)
    lines = instructions(context.dockerfile)
    copied = [
        source
        for line in lines
        if line.startswith("COPY") and "--from" not in line
        for source in re.sub(r"--\S+", "", line).split()[1:-1]
    ]
    assert set(copied) == {"bootstrap.txt", "lock.txt", "assay", "project"} | (
        {"gpu.txt"} if gpu else set()
    )
    for source in copied:
        assert (tmp_path / "image" / source).exists(), source
    lock = (tmp_path / "image" / "lock.txt").read_bytes()
    assert lock == (repo / "requirements" / "lock.txt").read_bytes()
    for package in ("transform", "trainer", "serving", "tfx_pipeline"):
        assert (tmp_path / "image/assay" / package / "__init__.py").exists()


def test_installs_the_lock_as_make_setup_does_and_runs_as_nobody_in_particular(
    tmp_path: Path, repo: Path
) -> None:
    config = make_project(tmp_path / "project")
    lines = instructions(write_context(config, tmp_path / "image", gpu=False).dockerfile)
    bases = [line.split()[1] for line in lines if line.startswith("FROM")]
    python = re.search(r'PYTHON_VERSION = "(.+)"', (repo / "tools/setup_env.py").read_text())
    assert python is not None
    assert set(bases) == {f"python:{python[1]}-slim-bookworm"}
    [installs] = [line for line in lines if "-r lock.txt" in line]
    for option in (
        "--require-hashes -r bootstrap.txt",
        "--no-deps",
        "--build-constraints lock.txt",
    ):
        assert option in installs
    assert lines[-1] == "USER ${RUN_AS}"
    assert "ARG RUN_AS=assay" in lines
    assert f"WORKDIR {config.run.vertex.project_dir}" in lines


def test_leaves_out_runs_data_caches_and_itself(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    text = YAML.replace("/gcs/bucket/data/trips-*.csv", "trips-*.csv").replace("/gcs/bucket/", "")
    config = make_project(folder, text)
    for path in ("runs/1/run.json", ".git/config", "__pycache__/own.pyc", "trips-1.csv", ".env"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    (folder / "more").mkdir()
    (folder / "more" / "own.py").touch()
    for _ in range(2):  # The second one replaces the first.
        write_context(config, folder / "image", gpu=False)
    project = folder / "image" / "project"
    found = {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}
    assert found == {"pipeline.yaml", "own.py", "schema.pbtxt", "more/own.py"}


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    config = make_project(tmp_path / "project")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="not empty"):
        write_context(config, tmp_path / "mine", gpu=False)
    assert (tmp_path / "mine" / "thesis.tex").exists()
