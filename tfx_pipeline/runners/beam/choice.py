"""`run.beam.runner: auto`: who runs the Beam jobs, by the size of the data. Imports no Beam."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tfx_pipeline.config.beam import BeamConfig
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.doctor.machine import memory_free
from tfx_pipeline.errors import ConfigError
from tfx_pipeline.ingest.sizes import data_size

# Peak memory of a run with the local runner: what imports, ingest's processes and full buffers
# take, and for each byte of CSV what benchmarks/data_path.py measured from 38 to 388 MB of it.
_MEMORY_BASE = 2.0e9
_MEMORY_PER_BYTE = 0.35
# Of other data than that benchmark's.
_CAUTION = 2.0
# Below this share of the free memory the local runner is taken without a word of warning.
_COMFORTABLE = 0.7


@dataclass(frozen=True)
class Choice:
    """Who runs the Beam jobs.

    Attributes:
        beam: The section, with a runner that is not `auto`.
        said: Why, in one line; empty where the config names the runner.
        is_warning: Whether memory may run out.
    """

    beam: BeamConfig
    said: str = ""
    is_warning: bool = False


def choose(config: PipelineConfig) -> Choice:
    """Who runs the Beam jobs of a pipeline, seen from here and now.

    Raises:
        ConfigError: `auto`, and the data are not here to be measured, or surely do not fit into
            memory and no other engine is configured.
    """
    beam = config.run.beam
    if beam.runner != "auto":
        return Choice(beam)
    paths = [config.resolve(path) for path in config.data.path]
    data_bytes = sum(map(data_size, paths))
    if not data_bytes:
        there = ", ".join(map(str, paths)) or "what a query gives"
        raise ConfigError(
            f"run.beam.runner: auto goes by the size of the data, and {there} cannot be measured "
            "here",
            where=config.place("run.beam.runner"),
            hint="Name the runner: local, flink, spark or dataflow.",
        )
    chosen = by_size(beam, data_bytes, memory_free(Path("/sys/fs/cgroup")))
    if chosen is None:
        raise ConfigError(
            f"{shown(data_bytes)} of data may take {shown(local_memory(data_bytes))}, far more "
            "than this machine's free memory, and auto knows of no other engine",
            where=config.place("run.beam.runner"),
            hint='Set run.beam.master: "[local]" for Flink on this machine, which spills to disk, '
            "or a cluster's address (BeamRunner.md). `runner: local` tries all the same.",
        )
    return chosen


def by_size(beam: BeamConfig, data_bytes: int, memory: int) -> Choice | None:
    """What `auto` means.

    Args:
        beam: The section; its runner is `auto`.
        data_bytes: Size of the data as CSV, in bytes.
        memory: Free memory, in bytes.

    Returns:
        The local runner while the data fit, else the engine that the section names. Where it names
        none, the local runner with a warning, or None if without any caution the estimate is more
        than the memory.
    """
    needed = local_memory(data_bytes)
    here = beam.model_copy(update={"runner": "local", "parallelism": None})  # The engine's.
    if needed < _COMFORTABLE * memory:
        why = f"{shown(data_bytes)} of data, about {shown(needed)} of the {shown(memory)} free"
        return Choice(here, f"Beam runs on this machine: {why}")
    why = f"{shown(data_bytes)} of data may take {shown(needed)} here, and {shown(memory)} are free"
    if beam.engine is not None:
        where = beam.dataflow.region if beam.engine == "dataflow" else beam.master
        there = beam.model_copy(update={"runner": beam.engine})
        return Choice(there, f"Beam runs on {beam.engine} ({where}): {why}")
    if _MEMORY_PER_BYTE * data_bytes > memory:
        return None
    return Choice(
        here,
        f"Beam runs on this machine, but {why}. Should it run out: run.beam.master names Flink "
        '("[local]" spills to disk) or a cluster',
        is_warning=True,
    )


def local_memory(data_bytes: int) -> float:
    """Peak memory of a run with the local runner, in bytes, for data of a size as CSV: cautious."""
    return _MEMORY_BASE + _CAUTION * _MEMORY_PER_BYTE * data_bytes


def shown(size: float) -> str:
    """Bytes as a person reads them: 1.9 MB, 12 GB."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return (
                f"{size / factor:.0f} {unit}"
                if size >= 10 * factor
                else f"{size / factor:.1f} {unit}"
            )
    return f"{size / 1e3:.1f} kB"
