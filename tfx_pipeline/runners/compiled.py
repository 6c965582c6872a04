"""The file that `assay compile` writes: a pipeline's IR, and the config that it was made of.

Every runner but the local one starts from it. It holds no secret: a metadata server's password is
named by its environment variable. Nothing in it changes when the same config is compiled twice at
the same commit, which it names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2, platform_config_pb2

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import ConfigError
from tfx_pipeline.files import write_text
from tfx_pipeline.report import provenance
from tfx_pipeline.report import record as records

if TYPE_CHECKING:
    from tfx.dsl import Pipeline

FORMAT = 1
# Messages that the IR packs into `Any`: to be parsed they must have been imported.
_PACKED = (executable_spec_pb2, platform_config_pb2)


@dataclass(frozen=True)
class Compiled:
    """A compiled pipeline.

    Attributes:
        ir: TFX's intermediate representation. Its run id is a runtime parameter still.
        config: What it was compiled from.
        git_commit: Of the config's checkout; empty outside of git.
        light: Ids of the nodes whose components say `needs_tensorflow = False`: a process of their
            own runs them without importing TensorFlow and Beam, which takes most of its time.
    """

    ir: pipeline_pb2.Pipeline
    config: PipelineConfig
    git_commit: str = ""
    light: frozenset[str] = frozenset()


def log_file(compiled: Compiled, run_id: str, node_id: str) -> Path:
    """Where everything goes that a node prints which runs in a process of its own."""
    return compiled.config.root / run_id / records.NODE_LOGS / f"{node_id}.log"


def compile_config(
    config: PipelineConfig, create: Callable[[PipelineConfig], Pipeline] | None = None
) -> Compiled:
    """Compiles the pipeline that a config describes.

    Args:
        config: The pipeline.
        create: Makes the TFX pipeline from the config; None: `tfx_pipeline.graph.create_pipeline`.

    Raises:
        ConfigError: The config names a function or file that is not there.
    """
    from tfx.dsl.compiler import compiler  # It imports all of TFX, which reading need not.

    if create is None:
        from tfx_pipeline.graph import create_pipeline

        create = create_pipeline
    config = config.deferring_secrets()
    pipeline = create(config)
    ir = compiler.Compiler().compile(pipeline)
    light = frozenset(c.id for c in pipeline.components if not getattr(c, "needs_tensorflow", True))
    return Compiled(ir, config, provenance.git_commit(config.folder), light)


def write(compiled: Compiled, path: Path) -> None:
    """Writes a compiled pipeline, whole or not at all.

    Raises:
        StorageError: Disk full, read-only, no permission.
    """
    write_text(path, to_json(compiled))


def write_to(compiled: Compiled, folder: Path) -> list[Path]:
    """Writes `<pipeline's name>.ir.json` into a folder. Raises as `write`."""
    path = folder / f"{compiled.config.name}.ir.json"
    write(compiled, path)
    return [path]


def to_json(compiled: Compiled) -> str:
    """The content of the file."""
    content = {
        "format": FORMAT,
        "git_commit": compiled.git_commit,
        "folder": str(compiled.config.deployed_folder),
        "source": str(compiled.config.source or ""),
        "config": compiled.config.model_dump(mode="json"),
        "light": sorted(compiled.light),
        "pipeline": json_format.MessageToDict(compiled.ir, preserving_proto_field_name=True),
    }
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read(path: Path) -> Compiled:
    """Reads what `write` wrote.

    Raises:
        ConfigError: There is no such file, or it is not one of ours.
    """
    hint = "Write it with `assay compile pipeline.yaml --to ir -o DIR`."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"no compiled pipeline: {error.strerror}", where=str(path), hint=hint
        ) from error
    except ValueError as error:
        raise ConfigError(f"not a compiled pipeline: {error}", where=str(path), hint=hint) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ConfigError(
            "not a compiled pipeline of this version of Assay", where=str(path), hint=hint
        )
    return _parsed(content, path)


def _parsed(content: dict[str, Any], path: Path) -> Compiled:
    ir = pipeline_pb2.Pipeline()
    try:
        json_format.ParseDict(content["pipeline"], ir)
        config = PipelineConfig.from_resolved(
            content["config"], Path(content["folder"]), content["source"]
        ).deferring_secrets()
    except (KeyError, ValueError, json_format.ParseError) as error:
        raise ConfigError(
            f"the compiled pipeline is damaged, or of another version of Assay: {error}",
            where=str(path),
            hint="Compile it again with the Assay that runs it.",
        ) from error
    return Compiled(ir, config, content.get("git_commit", ""), frozenset(content.get("light", ())))
