"""What a node leaves in its run's record, whichever runner ran it."""

from __future__ import annotations

from tfx.types import Artifact

from tfx_pipeline.report.record import ArtifactRecord, NodeRecord, RunRecord, TrainingRecord
from tfx_pipeline.runners import results
from tfx_pipeline.runners.node import Outcome, State
from trainer import progress


def record_outcome(record: RunRecord, outcome: Outcome, event: progress.Event | None) -> NodeRecord:
    """Takes over how a node went, and what its outputs say.

    Args:
        record: Of the run; changed in place.
        outcome: Of the node.
        event: The last thing that the node said of its progress.

    Returns:
        The node's new record.
    """
    before = record.nodes.get(outcome.node_id, NodeRecord())
    reused = outcome.state is State.REUSED
    node = NodeRecord(
        state=outcome.state,
        note=before.note if reused else "",
        seconds=round(max(outcome.seconds, before.seconds if reused else 0.0), 3),
        tries=outcome.tries,
        error=str(outcome.error or ""),
        artifacts={key: [_artifact(a) for a in found] for key, found in outcome.outputs.items()},
        training=before.training if reused else None,
    )
    record.nodes[outcome.node_id] = node
    if isinstance(event, progress.Ended):
        node.note = progress.describe(event)
        node.training = TrainingRecord(
            steps=event.step,
            planned_steps=event.total_steps,
            kept_step=event.kept_step,
            loss=event.loss,
            val_loss=event.val_loss,
        )
    results.read(record, outcome.node_id)
    return node


def _artifact(artifact: Artifact) -> ArtifactRecord:
    proto = artifact.mlmd_artifact
    values = {**proto.properties, **proto.custom_properties}
    return ArtifactRecord(
        type=artifact.type_name,
        uri=artifact.uri,
        id=artifact.id,
        properties={
            key: getattr(value, value.WhichOneof("value"))
            for key, value in values.items()
            if value.WhichOneof("value") in ("int_value", "double_value", "string_value")
        },
    )
