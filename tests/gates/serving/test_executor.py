"""The ServingGate's executor on a ladder in which all candidates but one are broken."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.gates.serving.conftest import QUICK, Export, World, build, export_model
from tfx_pipeline.components.serving_gate import executor as gate
from tfx_pipeline.config.gates import GatesConfig
from tfx_pipeline.errors import DataError
from tfx_pipeline.gates.serving.settings import Settings, settings_of
from tfx_pipeline.gates.serving.verdict import ServingVerdict, read_serving_verdict
from trainer.compression.candidate import Candidate, write_index

pytestmark = pytest.mark.slow

GATES: dict[str, Any] = {
    "quality": {
        "thresholds": [{"metric": "accuracy", "min": 0.5, "max_drop": 0.2}],
        "slices": [["my shop"]],
    },
    "slices": {"max_drop": 0.1},
    # Blocks of a few requests: on a busy machine the float model's own p99 is tens of milliseconds,
    # and what is broken must be over the bound all the same.
    "latency_p99_ms": {"max_ratio": 3.0},
    "size_bytes": {"max_ratio": 1.5, "of": "disk"},
    "skew": {"tolerance": 1e-4},
}
BRIEF = ("pairs", "block_s", "rate_trial_s", "resamples", "skew_rows")
BROKEN = {
    "skewed": "skew",
    "slow": "p99",
    "large": "disk bytes",
    "wrong_on_a_slice": "my shop=",
    "wrong": "accuracy",
    "damaged": "does not load",
}


@pytest.fixture(scope="module")
def wrong_on_a_slice(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The float model with one shop's embedding far on the other side."""
    import tf_keras

    folder = tmp_path_factory.mktemp("slice") / "model"
    model = build(world.transformed.config, world.transformed.graph)
    [embedding] = [x for x in model.layers if isinstance(x, tf_keras.layers.Embedding)]
    [table] = embedding.get_weights()
    table[2] = -50.0  # The first ids are of what the training rows did not have.
    embedding.set_weights([table])
    export_model(model, world.transformed, folder)
    return folder


class Run:
    """One execution, with artifacts as TFX would give them."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder

    def __call__(
        self, ladder: dict[str, Path] | None, gates: dict[str, Any], **more: Any
    ) -> tuple[ServingVerdict, dict[str, Any]]:
        from tfx.types import standard_artifacts as kinds
        from tfx.utils import json_utils

        from tfx_pipeline.components.compressor.component import CompressionLadder
        from tfx_pipeline.components.data_gate.component import GateVerdict

        def artifact(kind: Any, path: Path, **properties: str) -> Any:
            made = kind()
            made.uri = str(path)
            for name, value in properties.items():
                made.set_string_custom_property(name, value)
            return made

        world = self.world
        examples = artifact(kinds.Examples, world.raw, split_by=more.pop("split_by", ""))
        examples.split_names = json.dumps(["train", "val", "eval"])
        model_run = self.folder / "model_run"
        model_run.mkdir()
        shutil.copyfile(world.keras_model, model_run / "keras_model.h5")
        trained = self.folder / "model"
        shutil.copytree(world.float_model, trained / "Format-Serving")
        model = artifact(kinds.Model, trained)
        model.id = 7
        inputs = {
            "examples": [examples],
            "transformed_examples": [artifact(kinds.Examples, world.transformed.folder)],
            "transform_graph": [artifact(kinds.TransformGraph, Path(world.transformed.graph))],
            "model": [model],
            "model_run": [artifact(kinds.ModelRun, model_run)],
            **{
                key: [artifact(kinds.PushedModel, path)]
                for key, path in more.items()
                if key == "champion"
            },
        }
        if ladder is not None:
            made = self.folder / "ladder"
            for name, path in ladder.items():
                shutil.copytree(path, made / name)
            write_index(
                [Candidate(name, "float" if name == "float" else "prune") for name in ladder], made
            )
            inputs["candidates"] = [artifact(CompressionLadder, made)]
        outputs = {
            "winner": [artifact(kinds.Model, self.folder / "winner")],
            "blessing": [artifact(kinds.ModelBlessing, self.folder / "blessing")],
            "infra_blessing": [artifact(kinds.InfraBlessing, self.folder / "infra")],
            "verdict": [artifact(GateVerdict, self.folder / "verdict")],
        }
        for [output] in outputs.values():
            Path(output.uri).mkdir()
        config = {
            "transform": world.transformed.config.model_dump(mode="json"),
            "functions": [],
            "start_timeout_s": 60.0,
        }
        gate.Executor().Do(
            inputs,
            outputs,
            {
                "gates": GatesConfig.model_validate(gates).model_dump_json(),
                "custom_config": json_utils.dumps(config),
            },
        )
        verdict = read_serving_verdict(str(self.folder / "verdict"))
        assert verdict is not None
        return verdict, {key: output for key, [output] in outputs.items()}


@pytest.fixture
def run(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def quick(gates: GatesConfig, start_timeout_s: float) -> Settings:
        """What the config says, measured more briefly."""
        few = {name: getattr(QUICK, name) for name in BRIEF}
        return replace(settings_of(gates, start_timeout_s), binary="", **few)

    monkeypatch.setattr(gate, "settings_of", quick)
    return Run(world, tmp_path)


def gate_servers() -> set[int]:
    """The gates' model servers that are children of this process; of other tests, too."""
    return {
        child.pid
        for child in psutil.Process().children(recursive=True)
        if any("assay-gate-" in word for word in child.cmdline())
    }


def test_a_broken_candidate_of_each_kind_is_refused_and_the_sound_one_ships(
    run: Run, world: World, export: Export, skewed: Path, wrong_on_a_slice: Path, tmp_path: Path
) -> None:
    damaged, large = tmp_path / "damaged", tmp_path / "large"
    shutil.copytree(world.float_model, damaged)
    (damaged / "saved_model.pb").write_bytes(b"damaged")
    shutil.copytree(world.float_model, large)
    (large / "assets.extra" / "more").write_bytes(bytes(2_000_000))
    ladder = {
        "skewed": skewed,
        "slow": export("slow", loops=4),
        "large": large,
        "wrong_on_a_slice": wrong_on_a_slice,
        "wrong": export("wrong", sign=-1.0),
        "damaged": damaged,
        "float": world.float_model,
    }
    from tfx.components.pusher.executor import Executor as StockPusher

    before = gate_servers()
    verdict, outputs = run(ladder, GATES)
    assert gate_servers() <= before
    rows = {row.candidate.name: row for row in verdict.rows}
    for name, word in BROKEN.items():
        assert not rows[name].passed, name
        assert word in " ".join(rows[name].reasons), (name, rows[name].reasons)
    # What is wrong on one shop alone is right on the whole.
    overall = [c for c in rows["wrong_on_a_slice"].checks if c.slice == "overall"]
    assert all(check.passed for check in overall), overall
    assert verdict.winner == "float", verdict.reason
    assert outputs["blessing"].get_int_custom_property("blessed") == 1
    assert outputs["blessing"].get_int_custom_property("current_model_id") == 7
    assert outputs["infra_blessing"].get_int_custom_property("blessed") == 1
    assert outputs["verdict"].blessed == 1
    shipped = Path(outputs["winner"].uri) / "Format-Serving"
    assert (shipped / "saved_model.pb").read_bytes() == (
        world.float_model / "saved_model.pb"
    ).read_bytes()
    assert (shipped / "assets.extra" / "tf_serving_warmup_requests").exists()
    # The stock Pusher would push this very folder.
    stock = StockPusher()
    given = {
        "model": [outputs["winner"]],
        "model_blessing": [outputs["blessing"]],
        "infra_blessing": [outputs["infra_blessing"]],
    }
    assert stock.CheckBlessing(given)
    assert Path(stock.GetModelPath(given)) == shipped
    # The trained model is as it was: the links were of files, and new ones were written.
    warmup = "assets.extra/tf_serving_warmup_requests"
    assert not (tmp_path / "ladder" / "float" / warmup).exists()


def test_without_a_ladder_the_trained_model_alone_is_judged_and_may_be_refused(
    run: Run, world: World, tmp_path: Path
) -> None:
    tight = {**GATES, "memory_mb": {"max": 1e-9}}
    verdict, outputs = run(None, tight, champion=world.float_model)
    [row] = verdict.rows
    assert row.candidate.name == "float"
    assert not verdict.blessed
    assert "over <= 1e-09 MB" in verdict.reason
    assert verdict.champion is not None
    # Nothing tells how the champion's rows were split, nor these: they are taken for the same.
    assert verdict.champion.failed == ""
    assert outputs["blessing"].get_int_custom_property("blessed") == 0
    assert (tmp_path / "blessing" / "NOT_BLESSED").exists()
    assert (tmp_path / "infra" / "INFRA_NOT_BLESSED").exists()
    assert not list((tmp_path / "winner").iterdir())
    assert not (tmp_path / "verdict" / "staged").exists()


def test_a_champion_whose_rows_were_split_otherwise_is_not_compared_with(
    run: Run, world: World
) -> None:
    split_by = json.dumps({"method": "hash", "columns": ["size"], "eval_fraction": 0.3})
    compared = {**GATES, "latency_p99_ms": {"max_ratio_champion": 5.0}}
    verdict, _ = run(None, compared, champion=world.float_model, split_by=split_by)
    assert verdict.champion is not None
    assert "not comparable" in verdict.champion.failed
    assert not verdict.blessed


def test_no_held_out_rows(run: Run, world: World, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(world.raw, raw)
    shutil.rmtree(raw / "Split-eval")
    (raw / "Split-eval").mkdir()
    run.world = replace(world, raw=raw)
    with pytest.raises(DataError, match="no held-out rows"):
        run(None, GATES)
    assert not list((tmp_path / "winner").iterdir())
