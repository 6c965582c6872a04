from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from tfx_pipeline.doctor.checks import run_checks
from tfx_pipeline.doctor.command import doctor
from tfx_pipeline.doctor.finding import Finding
from tfx_pipeline.doctor.machine import Machine
from tfx_pipeline.doctor.render import render, summary
from tfx_pipeline.errors import ConfigError

app = typer.Typer()
app.command()(doctor)


def shown(findings: list[Finding], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render(findings))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_remedy_is_printed_as_it_must_be_typed() -> None:
    remedy = "uv pip install 'tensorflow[and-cuda]==2.21.0'"
    text = shown([Finding("GPUs", "warn", "1 x T4; TensorFlow sees 0", remedy)])
    assert f"-> {remedy}" in text
    assert text.startswith("warn  GPUs  1 x T4")


def test_findings_fit_a_narrow_terminal() -> None:
    text = shown(run_checks(Machine()), width=60)
    assert max(map(len, text.splitlines())) <= 60


def test_summary_counts_the_worst() -> None:
    ok, warn, fail = (Finding("x", status, "") for status in ("ok", "warn", "fail"))
    assert summary([ok, warn, fail]).startswith("1 of 3 checks failed")
    assert "1 of 2 checks have advice" in summary([ok, warn])
    assert summary([ok]) == "All 1 checks are fine."


def test_an_unknown_beam_runner_is_a_config_error() -> None:
    result = CliRunner().invoke(app, ["--beam", "samza"])
    assert isinstance(result.exception, ConfigError)
    assert "flink" in result.exception.hint


@pytest.mark.slow
def test_the_command_prints_json_and_ends_with_seven_when_a_check_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    # A PATH without java: the made-up environment, for the real command.
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(app, ["--json", "--beam", "flink"])
    findings = {item["name"]: item for item in json.loads(result.stdout)}
    assert findings["Java"]["status"] == "fail"
    assert result.exit_code == 7


def test_beam_changes_only_what_is_demanded() -> None:
    plain = {f.name: f.status for f in run_checks(Machine())}
    flink = {f.name: f.status for f in run_checks(replace(Machine(), beam="flink"))}
    assert {name for name in plain if plain[name] != flink[name]} == {"Java"}
