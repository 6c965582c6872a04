"""Where a run comes from: the versions of everything, the git commit, the config's digest."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path

import yaml

from tfx_pipeline.config.pipeline import PipelineConfig

PACKAGES = (
    "tfx-assay",
    "tensorflow",
    "tf_keras",
    "keras",
    "tfx",
    "tfx-bsl",
    "tensorflow-transform",
    "tensorflow-data-validation",
    "tensorflow-model-analysis",
    "tensorflow-metadata",
    "tensorflow-model-optimization",
    "tensorflow-serving-api",
    "ml-metadata",
    "keras-tuner",
    "apache-beam",
    "numpy",
    "pandas",
    "pyarrow",
    "protobuf",
    "grpcio",
)


def versions() -> dict[str, str]:
    """Version of Python, the platform and every package that can change a result."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit(folder: Path) -> str:
    """The commit of the folder's checkout, `+changes` where it is dirty, empty outside of git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return f"{commit}+changes" if git("status", "--porcelain", "-uno") else commit
    except (OSError, subprocess.SubprocessError):
        return ""


def resolved_yaml(config: PipelineConfig) -> str:
    """The config with every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def config_digest(config: PipelineConfig) -> str:
    """SHA-256 of the resolved config, without `run`: how a run is carried out may change."""
    text = yaml.safe_dump(config.model_dump(mode="json", exclude={"run"}), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
