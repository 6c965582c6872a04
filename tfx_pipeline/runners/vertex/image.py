"""The build context of the image that nodes run in: Dockerfile, Assay, its lock, the project."""

from __future__ import annotations

import glob
import importlib.metadata
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import ConfigError, EnvironmentMismatch, storage_errors
from tfx_pipeline.files import write_text

_PACKAGES = ("transform", "trainer", "serving", "tfx_pipeline")
_TEMPLATE = Path(__file__).with_name("Dockerfile.j2")
_IGNORED = ("**/__pycache__", "**/*.pyc", "**/.git", "**/.venv", "**/.ipynb_checkpoints")
_MARK = ".written-by-assay-image"


@dataclass(frozen=True)
class Context:
    """What was written; `megabytes` is what the image gets of it."""

    dockerfile: Path
    megabytes: float


def write_context(config: PipelineConfig, folder: Path, *, gpu: bool) -> Context:
    """Writes the context; what an earlier call wrote there is replaced.

    Args:
        config: Its folder goes into the image, at `run.vertex.project_dir`.
        folder: To write to: new, empty, or written by an earlier call.
        gpu: With the CUDA libraries that TensorFlow asks for.

    Raises:
        ConfigError: The folder holds something else.
        EnvironmentMismatch: Assay is installed without the files that its image is made from.
        StorageError: The folder cannot be written.
    """
    source = _checkout()
    folder = folder.resolve()
    with storage_errors(str(folder)):
        _empty(folder)
        (folder / _MARK).touch()
        for name in _PACKAGES:
            shutil.copytree(
                source / name, folder / "assay" / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        for name in ("setup.py", "pyproject.toml"):
            shutil.copy(source / name, folder / "assay" / name)
        for name in ("lock.txt", "bootstrap.txt"):
            shutil.copy(source / "requirements" / name, folder / name)
        shutil.copytree(config.folder, folder / "project", ignore=_left_out(config, folder))
    if gpu:
        write_text(folder / "gpu.txt", "\n".join(cuda_requirements()) + "\n")
    write_text(folder / ".dockerignore", "\n".join((*_IGNORED, _MARK)) + "\n")
    write_text(folder / "Dockerfile", dockerfile(config.run.vertex.project_dir, gpu=gpu))
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Context(folder / "Dockerfile", total / 1e6)


def dockerfile(project_dir: str, *, gpu: bool) -> str:
    """The Dockerfile's text."""
    import jinja2

    template = jinja2.Template(
        _TEMPLATE.read_text(encoding="utf-8"), undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    version = importlib.metadata.version("tfx-assay")
    return template.render(project_dir=project_dir, gpu=gpu, version=version) + "\n"


def cuda_requirements() -> list[str]:
    """NVIDIA's libraries for the installed TensorFlow, as its own extra `and-cuda` names them."""
    found = []
    for line in importlib.metadata.requires("tensorflow") or []:
        requirement, _, marker = line.partition(";")
        if "and-cuda" in marker:
            found.append(requirement.strip())
    return sorted(found)


def _checkout() -> Path:
    source = Path(__file__).resolve().parents[3]
    missing = [
        name
        for name in ("setup.py", "requirements/lock.txt", "requirements/bootstrap.txt")
        if not (source / name).exists()
    ]
    if missing:
        raise EnvironmentMismatch(
            f"Assay is installed without {missing[0]}, which its image is made from",
            where=str(source),
            hint="Run `assay image` from a checkout of Assay (`make setup`).",
        )
    return source


def _empty(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            raise ConfigError(
                "the folder is not empty, and not written by `assay image`",
                where=str(folder),
                hint="Name another with --output.",
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def _left_out(config: PipelineConfig, context: Path) -> Callable[[str, list[str]], set[str]]:
    """What of the project's folder is not for the image: runs, data (they are in the cloud),
    caches, and the context itself."""
    elsewhere = {config.folder / config.run.root, context}
    patterns = [re.compile(r"\..*"), re.compile(r"__pycache__"), re.compile(r".*\.pyc")]
    data = {
        Path(found).resolve()
        for path in config.data.path
        for found in glob.glob(str(config.folder / path), recursive=True)
    }

    def left_out(folder: str, names: list[str]) -> set[str]:
        paths = {name: Path(folder, name).resolve() for name in names}
        return {
            name
            for name, path in paths.items()
            if any(pattern.fullmatch(name) for pattern in patterns)
            or path in data
            or path in {each.resolve() for each in elsewhere}
            or (path / _MARK).exists()
        }

    return left_out
