"""Where files are for a node's container, and which fields of a config are not there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from tfx_pipeline import own_files
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import ConfigError

# Vertex mounts every bucket that the service account may read below it, in every container.
_MOUNT = "/gcs"
# Where Cloud Storage FUSE has mounted buckets here, if it has.
MOUNT_ENV = "ASSAY_GCS_MOUNT"


def mount() -> str:
    """The folder of buckets, as containers see it."""
    return os.environ.get(MOUNT_ENV, _MOUNT).rstrip("/")


def mounted(uri: str) -> str:
    """The path in a container of a gs:// address; any other address as it is."""
    return f"{mount()}/{uri.removeprefix('gs://')}" if uri.startswith("gs://") else uri


def unmounted(path: str) -> str:
    """The gs:// address of a path below the mount; any other path as it is."""
    prefix = f"{mount()}/"
    return f"gs://{path.removeprefix(prefix)}" if path.startswith(prefix) else path


def ir_address(config: PipelineConfig, content: str) -> str:
    """Where the compiled pipeline goes: named by its content, so that runs do not disturb
    each other.

    Args:
        config: The pipeline.
        content: Of `<name>.ir.json`.

    Returns:
        A gs:// address, or for Kubeflow a path on the volume.
    """
    vertex = config.run.vertex
    base = vertex.staging.rstrip("/") if vertex.kubeflow is None else vertex.kubeflow.mount_path
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return f"{base}/assay/{config.name}/{digest}/{config.name}.ir.json"


def check(config: PipelineConfig) -> None:
    """Refuses what a container would not find.

    Raises:
        ConfigError: Names the field, its file and line.
    """
    kubeflow = config.run.vertex.kubeflow
    base = mount() if kubeflow is None else kubeflow.mount_path.rstrip("/")
    what = "a bucket: Vertex mounts it" if kubeflow is None else "the volume, mounted"
    for field, path in _outside_the_image(config):
        if not Path(path).is_absolute() or not _below(Path(path), Path(base)):
            raise ConfigError(
                f"{field} is {path!r}, which a node's container does not see",
                where=config.place(field),
                hint=f"Set it to a path on {what} at {base}/"
                + ("BUCKET/..." if kubeflow is None else "...")
                + ", and copy the files there.",
            )
    for field, path in _of_the_project(config):
        local = (config.folder / path).resolve()
        if not _below(local, config.folder.resolve()) and not _below(Path(path), Path(base)):
            raise ConfigError(
                f"{field} is {path!r}, outside of the folder that `assay image` copies",
                where=config.place(field),
                hint=f"Move it into {config.folder}.",
            )


def _outside_the_image(config: PipelineConfig) -> Iterator[tuple[str, str]]:
    yield "run.root", config.run.root
    for index, path in enumerate(config.data.path):
        yield f"data.path[{index}]", path
    if config.serve.push_dir:
        yield "serve.push_dir", config.serve.push_dir


def _of_the_project(config: PipelineConfig) -> Iterator[tuple[str, str]]:
    if config.gates.data.schema_path:
        yield "gates.data.schema_path", config.gates.data.schema_path
    functions = {
        "features.preprocessing_fn": config.features.preprocessing_fn,
        "train.run_fn": config.train.run_fn,
        "model.builder": config.model.builder,
    }
    for field, function in functions.items():
        if function and ":" in function:
            yield field, function.partition(":")[0]
    for field, path in own_files.named(config):
        if "://" not in path:  # An address is the same everywhere.
            yield field, path


def _below(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents
