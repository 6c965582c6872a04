"""Hints name the config, as it has to be typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfx_pipeline.cli import hints
from tfx_pipeline.errors import NodeFailed

HINT = "Mend it, then go on with `assay run --resume`, or see `assay runs`. `assay doctor` helps."


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("config", "run", "runs"),
    [
        ("pipeline.yaml", "assay run --resume", "assay runs"),
        ("bad2.yaml", "assay run --resume bad2.yaml", "assay runs -c bad2.yaml"),
        ("taxi/pipeline.yaml", "assay run --resume taxi", "assay runs -c taxi"),
        ("my taxi/a.yaml", "assay run --resume 'my taxi/a.yaml'", "assay runs -c 'my taxi/a.yaml'"),
    ],
)
def test_the_config_is_named_unless_it_is_the_default(
    here: Path, config: str, run: str, runs: str
) -> None:
    named = hints.with_config(HINT, Path(config))
    assert named == (f"Mend it, then go on with `{run}`, or see `{runs}`. `assay doctor` helps.")
    assert hints.with_config(named, Path(config)) == named


def test_a_config_elsewhere_is_named_in_full(
    here: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other") / "pipeline.yaml"
    assert hints.as_typed(other) == str(other.parent)


def test_an_error_that_passes_gets_the_config(here: Path) -> None:
    with pytest.raises(NodeFailed) as raised, hints.naming(Path("b.yaml")):
        raise NodeFailed("it broke", hint="Go on with `assay run --resume`.")
    assert raised.value.hint == "Go on with `assay run --resume b.yaml`."
