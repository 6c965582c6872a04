"""Components that do what components must not: raise, hang, die, fill a disk, pass with time.

They are real TFX components, run by the real launcher. (TFX reads the annotations, so they are not
postponed here.)
"""

import errno
import os
import signal
import time
from pathlib import Path

from tfx import v1 as tfx
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import String as StringArtifact

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import DataError, Transient
from tfx_pipeline.runners import mlmd
from trainer.cluster import WorkerLost


@component
def Source(text: Parameter[str], out: OutputArtifact[StringArtifact]) -> None:
    out.value = text


@component
def Step(
    name: Parameter[str],
    folder: Parameter[str],
    data: InputArtifact[StringArtifact],
    out: OutputArtifact[StringArtifact],
    mark: Parameter[str] = "",
) -> None:
    """Does what the file `<folder>/<name>` says, and writes that it was here.

    With another `mark` it is another node to the cache.
    """
    with open(Path(folder) / f"{name}.tries", "a") as tries:
        tries.write("x")
    act(Path(folder) / name)
    Path(out.uri).parent.mkdir(parents=True, exist_ok=True)
    out.value = f"{data.value}>{name}"


@component
def Join(
    left: InputArtifact[StringArtifact],
    right: InputArtifact[StringArtifact],
    out: OutputArtifact[StringArtifact],
) -> None:
    out.value = f"{left.value}+{right.value}"


# Source does not say so: on each runner, one node starts with all that most nodes import.
Step.needs_tensorflow = False
Join.needs_tensorflow = False


def act(order: Path) -> None:
    """Misbehaves as the file says; without one, it behaves."""
    if not order.exists():
        return
    what = order.read_text().strip()
    if what == "raise":
        raise ValueError("the double was told to raise")
    if what == "data error":
        raise DataError("bad row", where="data.csv:7", hint="mend row 7")
    if what == "disk full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if what == "worker lost":
        raise WorkerLost("another worker is gone")
    if what == "kill":
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "once":
        order.unlink()
        raise Transient("the connection was reset")
    if what == "always":
        raise Transient("the connection was reset")
    if what.startswith("sleep"):
        time.sleep(float(what.split()[1]))


def create(config: PipelineConfig) -> tfx.dsl.Pipeline:
    """Source -> A -> (B, C) -> Join. What A, B and C do is said in files beside the config."""
    folder = str(config.folder)
    source = Source(text="rows").with_id("Source")
    a = Step(name="A", folder=folder, data=source.outputs["out"]).with_id("A")
    b = Step(name="B", folder=folder, data=a.outputs["out"]).with_id("B")
    c = Step(name="C", folder=folder, data=a.outputs["out"]).with_id("C")
    join = Join(left=b.outputs["out"], right=c.outputs["out"]).with_id("Join")
    return tfx.dsl.Pipeline(
        pipeline_name=config.name,
        pipeline_root=str(config.root / "artifacts"),
        components=[source, a, b, c, join],
        enable_cache=config.run.cache,
        metadata_connection_config=mlmd.connection_config(config),
    )
