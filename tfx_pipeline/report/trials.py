"""Where a run's table of trials lies, also while its Tuner is at work."""

from __future__ import annotations

from pathlib import Path

from tfx_pipeline.errors import ConfigError
from tfx_pipeline.report import record as records
from trainer.tuning.journal import TRIALS_FILE, Trials, read_trials

_NODE, _OUTPUT = "Tuner", "tuner_results"


def trials_of(root: Path, run_id: str) -> tuple[Path, Trials]:
    """The folder of a run's trials, and their table.

    Args:
        root: `run.root`.
        run_id: As `record.load` takes it.

    Raises:
        ConfigError: There is no such run, or it has no trials.
    """
    record = records.load(root, run_id)
    node = record.nodes.get(_NODE)
    if node is None:
        raise ConfigError(
            f"run {record.run_id} has no Tuner",
            where=str(root / record.run_id),
            hint="Add a section `tune` to the config (docs/tuning.md), then `assay run`.",
        )
    found = [Path(artifact.uri) for artifact in node.artifacts.get(_OUTPUT, [])]
    if not found and node.state in ("running", "failed"):
        # MLMD has no output of an execution that has not ended.
        folder = root / "artifacts" / _NODE / _OUTPUT
        tables = folder.glob(f"*/{TRIALS_FILE}")
        started = record.started.timestamp()
        found = [path.parent for path in tables if path.stat().st_mtime >= started]
    if not found:
        raise ConfigError(
            f"run {record.run_id} has no trials yet: its Tuner is {node.outcome or node.state}",
            where=str(root / record.run_id),
        )
    try:
        return found[-1], read_trials(found[-1])
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the table of trials cannot be read: {error}",
            where=str(found[-1]),
            hint="Search again: `assay run --from Tuner`.",
        ) from error
