"""`assay run --profile`: what it asks the Trainer for, and what it says at the end."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.runners.conftest import YAML
from tfx_pipeline.cli import running
from tfx_pipeline.cli.main import app
from tfx_pipeline.config import load_config
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.report import record as records
from tfx_pipeline.report.record import ArtifactRecord, NodeRecord, RunRecord


@pytest.mark.parametrize(
    ("words", "yaml", "steps"),
    [
        ([], "", 0),
        (["--profile"], "", 20),
        (["--profile"], "train: {profile_steps: 7}\n", 7),
    ],
)
def test_the_trainer_is_asked_for_a_few_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], yaml: str, steps: int
) -> None:
    (tmp_path / "pipeline.yaml").write_text(YAML + yaml)
    ran: list[PipelineConfig] = []

    def note(config: PipelineConfig, *_: Any, **__: Any) -> None:
        ran.append(config)

    monkeypatch.setattr(running, "run_shown", note)
    done = CliRunner().invoke(app, ["run", str(tmp_path), *words])
    assert done.exit_code == 0, done.output
    assert ran[0].train.profile_steps == steps
    assert ran[0].source == load_config(tmp_path).source  # Errors still name file and line.
    assert ran[0].folder == tmp_path


def test_the_end_says_how_to_look_at_it(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(YAML)
    config = load_config(tmp_path).with_train(profile_steps=20)
    logs = tmp_path / "runs" / "Trainer" / "model_run" / "7"
    trainer = NodeRecord(
        state="complete",
        artifacts={"model_run": [ArtifactRecord(type="ModelRun", uri=str(logs), id=7)]},
    )
    record = RunRecord(
        run_id="20261124-025040-a0f1",
        pipeline="doubles",
        started=records.now(),
        nodes={"Trainer": trainer},
    )
    out = io.StringIO()
    running.show_end(Console(file=out, width=200), config, record)
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["run", "log", "profile"]
    assert lines[2].split(maxsplit=1)[1].startswith("tensorboard --logdir ")
    assert lines[2].endswith("model_run/7")
    record.nodes["Trainer"] = NodeRecord(state="failed")
    running.show_end(Console(file=out, width=200), config, record)
    assert out.getvalue().count("tensorboard") == 1
