"""`run.beam.runner: auto`: who runs the Beam jobs follows from the data and the memory."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

from tests.e2e.project import TAXI
from tfx_pipeline.cli.display import show_choice
from tfx_pipeline.config.beam import BeamConfig
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import ConfigError
from tfx_pipeline.ingest.sizes import data_size
from tfx_pipeline.runners.beam import choice
from tfx_pipeline.runners.beam.options import LOCAL_RUNNER, beam_args

GB = 10**9
CLOUD = {"project": "my-project", "region": "europe-west1", "temp_location": "gs://my/tmp"}


def auto(**values: Any) -> BeamConfig:
    return BeamConfig.model_validate({"runner": "auto", **values})


def of(path: str, **beam: Any) -> PipelineConfig:
    document = copy.deepcopy(TAXI)
    document["data"]["path"] = path
    return PipelineConfig.model_validate({**document, "run": {"beam": {"runner": "auto", **beam}}})


@pytest.mark.parametrize(
    "beam",
    [auto(), auto(master="flink.example:8081"), auto(dataflow=CLOUD)],
    ids=["nothing named", "flink", "dataflow"],
)
def test_data_that_fit_stay_in_this_process(beam: BeamConfig) -> None:
    chosen = choice.by_size(beam, 10**6, 16 * GB)
    assert chosen is not None
    assert (chosen.beam.runner, chosen.is_warning) == ("local", False)
    assert chosen.said.endswith("1.0 MB of data, about 2.0 GB of the 16 GB free")


@pytest.mark.parametrize(
    ("named", "engine", "where"),
    [
        ({"master": "flink.example:8081"}, "flink", "(flink.example:8081)"),
        ({"master": "[local]"}, "flink", "([local])"),
        ({"master": "spark://spark.example:7077"}, "spark", "(spark://spark.example:7077)"),
        ({"master": "local[2]"}, "spark", "(local[2])"),
        ({"dataflow": CLOUD}, "dataflow", "(europe-west1)"),
    ],
)
def test_data_that_do_not_fit_go_where_the_config_says(
    named: dict[str, Any], engine: str, where: str
) -> None:
    chosen = choice.by_size(auto(**named), 20 * GB, 16 * GB)
    assert chosen is not None
    assert (chosen.beam.runner, chosen.is_warning) == (engine, False)
    # As if the config had named it.
    assert chosen.beam == BeamConfig.model_validate({"runner": engine, **named})
    assert f"on {engine} {where}: 20 GB of data may take 16 GB here, and 16 GB" in chosen.said


def test_where_no_engine_is_named_it_stays_and_warns_or_stops() -> None:
    tight = choice.by_size(auto(), 25 * GB, 16 * GB)
    assert tight is not None
    assert (tight.beam.runner, tight.is_warning) == ("local", True)
    assert "25 GB of data may take 20 GB here" in tight.said
    assert "run.beam.master" in tight.said
    # Without any caution it would still be more than the memory.
    assert choice.by_size(auto(), 46 * GB, 16 * GB) is None


def test_the_graph_gets_the_choice_and_the_log_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "trips.csv").write_bytes(b"x" * 1000)
    config = of(str(tmp_path / "*.csv"), master="flink.example:8081")
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(choice, "memory_free", lambda _: 16 * GB)
    assert f"--runner={LOCAL_RUNNER}" in beam_args(config)
    assert "1.0 kB of data" in caplog.text
    monkeypatch.setattr(choice, "memory_free", lambda _: GB)
    named = config.with_run(beam=BeamConfig(runner="flink", master="flink.example:8081"))
    assert beam_args(config) == beam_args(named)
    assert "Beam runs on flink" in caplog.text


def test_without_the_data_or_room_for_them_nothing_is_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="cannot be measured here") as error:
        choice.choose(of(str(tmp_path / "no.csv")))
    assert error.value.hint == "Name the runner: local, flink, spark or dataflow."
    (tmp_path / "trips.csv").write_bytes(b"x" * 1000)
    monkeypatch.setattr(choice, "memory_free", lambda _: 349)
    with pytest.raises(
        ConfigError, match=r"1\.0 kB of data may take 2\.0 GB, far more than"
    ) as error:
        choice.choose(of(str(tmp_path)))
    assert "run.beam.master" in error.value.hint


def test_a_warning_is_shown_even_to_those_who_asked_for_quiet() -> None:
    for memory, lines in ((16 * GB, 0), (GB, 1)):
        console = Console(record=True, width=200)
        chosen = choice.by_size(auto(), 10**6, memory)
        assert chosen is not None
        show_choice(console, chosen, quiet=True)
        assert console.export_text().count("Beam runs on this machine") == lines


def test_a_named_runner_is_taken_whatever_the_size() -> None:
    chosen = choice.choose(PipelineConfig.model_validate(TAXI))
    assert (chosen.beam.runner, chosen.said) == ("local", "")


@pytest.mark.parametrize(
    ("beam", "message"),
    [
        ({"parallelism": 2}, "`parallelism` has no meaning with runner: auto and no `master`"),
        ({"master": "[local]", "dataflow": CLOUD}, "with runner: auto and dataflow"),
        ({"master": "local[2]", "version": "1.20"}, "with runner: auto and spark"),
        ({"master": "nonsense"}, "is no Flink"),
        ({"dataflow": {"region": "europe-west1"}}, r"needs dataflow\.project"),
    ],
)
def test_what_names_no_engine_is_refused(beam: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        auto(**beam)


def test_the_size_of_data(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "c.txt"):
        (tmp_path / name).write_bytes(b"12345")
    assert data_size(tmp_path) == 15
    assert data_size(tmp_path / "a.csv") == 5
    assert data_size(tmp_path / "*.csv") == 10
    (tmp_path / "d.csv.gz").write_bytes(b"12345")
    assert data_size(tmp_path / "d.csv.gz") == 25  # It is unpacked to be read.
