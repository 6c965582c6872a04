"""The small pipeline that every runner runs: real TFX components that misbehave on request.

(TFX reads the annotations of components, so they are not postponed here.)
"""

from pathlib import Path

from tfx import v1 as tfx
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import ModelBlessing
from tfx.types.standard_artifacts import String as StringArtifact

from tests.runners.doubles import Join, Source, Step
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.runners import mlmd

UPSTREAM = {
    "Source": set(),
    "A": {"Source"},
    "B": {"A"},
    "C": {"A"},
    "Join": {"B", "C"},
    "Gate": {"Join"},
    "Push": {"Join", "Gate"},
}
NODES = list(UPSTREAM)


@component
def Gate(
    folder: Parameter[str],
    data: InputArtifact[StringArtifact],
    blessing: OutputArtifact[ModelBlessing],
) -> None:
    """Blesses, unless there is a file `<folder>/refuse`."""
    refused = (Path(folder) / "refuse").exists()
    blessing.set_int_custom_property("blessed", 0 if refused else 1)
    Path(blessing.uri).mkdir(parents=True, exist_ok=True)
    (Path(blessing.uri) / "seen").write_text(data.value)


@component
def Push(data: InputArtifact[StringArtifact], out: OutputArtifact[StringArtifact]) -> None:
    """Stands for the push behind a gate."""
    out.value = f"pushed {data.value}"


Gate.needs_tensorflow = False
Push.needs_tensorflow = False


def create(config: PipelineConfig) -> tfx.dsl.Pipeline:
    """Source -> A -> (B, C) -> Join -> Gate -> [if it blessed] Push.

    What A, B and C do is said in files beside the config; the file `mark` makes B anew.
    """
    folder = str(config.folder)
    mark = config.folder / "mark"
    source = Source(text="rows").with_id("Source")
    a = Step(name="A", folder=folder, data=source.outputs["out"]).with_id("A")
    b = Step(
        name="B",
        folder=folder,
        data=a.outputs["out"],
        mark=mark.read_text() if mark.exists() else "",
    ).with_id("B")
    c = Step(name="C", folder=folder, data=a.outputs["out"]).with_id("C")
    join = Join(left=b.outputs["out"], right=c.outputs["out"]).with_id("Join")
    gate = Gate(folder=folder, data=join.outputs["out"]).with_id("Gate")
    with tfx.dsl.Cond(gate.outputs["blessing"].future()[0].custom_property("blessed") == 1):
        push = Push(data=join.outputs["out"]).with_id("Push")
    return tfx.dsl.Pipeline(
        pipeline_name=config.name,
        pipeline_root=str(config.root / "artifacts"),
        components=[source, a, b, c, join, gate, push],
        enable_cache=config.run.cache,
        metadata_connection_config=mlmd.connection_config(config),
    )
