"""Reads from a node's outputs what the run's record is to say: verdicts, data digest, push."""

from __future__ import annotations

import json
from pathlib import Path

from tfx_pipeline.components.earlier import KNOWN_PROPERTY
from tfx_pipeline.gates.serving.verdict import read_serving_verdict
from tfx_pipeline.gates.verdict import OVERALL, read_verdict
from tfx_pipeline.report.record import ArtifactRecord, RunRecord
from trainer.compression.candidate import read_index
from trainer.compression.config import FLOAT
from trainer.tuning.journal import TRIALS_FILE, read_trials, summary

# Node, output key: the artifact that holds a gate's verdict.
_GATES = {"DataGate": "verdict", "Evaluator": "blessing"}
_INFRA_VALIDATOR = "InfraValidator"


def read(record: RunRecord, node_id: str) -> None:
    """Takes over what one node's outputs say."""
    if node_id in _GATES:
        artifact = _first(record, node_id, _GATES[node_id])
        verdict = read_verdict(artifact.uri) if artifact is not None else None
        if verdict is not None:
            record.verdicts[node_id] = json.loads(verdict.to_json())
            record.nodes[node_id].outcome = "" if verdict.blessed else "refused"
            overall = verdict.metrics.get(OVERALL, {})
            record.metrics.update({k: v for k, v in overall.items() if v is not None})
    elif node_id == "ServingGate":
        _serving(record)
    elif node_id == "Compressor":
        _ladder(record)
    elif node_id == "Tuner":
        _search(record)
    elif node_id == _INFRA_VALIDATOR:
        artifact = _first(record, node_id, "blessing")
        if artifact is not None and artifact.properties.get("blessed") != 1:
            record.nodes[node_id].outcome = "refused"
    elif node_id == "ExampleGen":
        artifact = _first(record, node_id, "examples")
        if artifact is not None:
            record.data_digest = str(artifact.properties.get("input_fingerprint", "")).removeprefix(
                "sha256:"
            )
            said = [
                _rows(artifact),
                _known(record, node_id, "examples"),
                str(artifact.properties.get("note", "")),
            ]
            record.nodes[node_id].note = "; ".join(filter(None, said))
    elif node_id == "StatisticsGen":
        record.nodes[node_id].note = _known(record, node_id, "statistics")
    elif node_id == "Pusher":
        artifact = _first(record, node_id, "pushed_model")
        if artifact is None:
            return
        if artifact.properties.get("pushed"):
            record.pushed_to = str(artifact.properties.get("pushed_destination", ""))
        else:
            record.nodes[node_id].outcome = "not pushed"


def _rows(examples: ArtifactRecord) -> str:
    """How many files and rows the data are."""
    files = examples.properties.get("files")
    if not isinstance(files, int):
        return ""
    rows = sum(int(examples.properties.get(f"rows_{name}", 0)) for name in ("train", "val", "eval"))
    return f"{files:,} file{'s' if files > 1 else ''}, {rows:,} rows"


def _known(record: RunRecord, node_id: str, output: str) -> str:
    """What a node took from earlier runs, in the run in which it did."""
    artifact = _first(record, node_id, output)
    if artifact is None or record.nodes[node_id].state != "complete":
        return ""
    return str(artifact.properties.get(KNOWN_PROPERTY, ""))


def refusal(record: RunRecord) -> str | None:
    """One sentence on the gate that refused, or None where every gate has blessed."""
    for node_id, verdict in record.verdicts.items():
        if not verdict.get("blessed"):
            return f"{node_id} refused: {verdict.get('reason') or 'no reason given'}"
    validator = record.nodes.get(_INFRA_VALIDATOR)
    if validator is not None and validator.outcome == "refused":
        return f"{_INFRA_VALIDATOR} refused: the model did not load and answer in its container"
    skipped = [node_id for node_id, node in record.nodes.items() if node.state == "skipped"]
    if skipped:  # A gate without a verdict that could be read: closed all the same.
        return f"{', '.join(skipped)} did not run, for a gate before them did not bless"
    return None


def _serving(record: RunRecord) -> None:
    artifact = _first(record, "ServingGate", "verdict")
    verdict = read_serving_verdict(artifact.uri) if artifact is not None else None
    if verdict is None:
        return
    node = record.nodes["ServingGate"]
    record.verdicts["ServingGate"] = json.loads(verdict.overall().to_json())
    node.outcome = "" if verdict.blessed else "refused"
    node.note = f"{verdict.winner} ships" if verdict.blessed else ""


def _ladder(record: RunRecord) -> None:
    artifact = _first(record, "Compressor", "candidates")
    if artifact is None:
        return
    made = [c for c in read_index(Path(artifact.uri)) if c.name != FLOAT]
    failed = sum(bool(candidate.failed) for candidate in made)
    what = f"{len(made)} candidate{'s' if len(made) != 1 else ''}"
    record.nodes["Compressor"].note = what + (f", {failed} failed" if failed else "")


def _search(record: RunRecord) -> None:
    artifact = _first(record, "Tuner", "tuner_results")
    if artifact is None or not (Path(artifact.uri) / TRIALS_FILE).exists():
        return
    found = read_trials(Path(artifact.uri))
    record.nodes["Tuner"].note = summary(found)
    record.tuned = found.best.values if found.best else {}


def _first(record: RunRecord, node_id: str, key: str) -> ArtifactRecord | None:
    found = record.nodes[node_id].artifacts.get(key, [])
    return found[0] if found else None
