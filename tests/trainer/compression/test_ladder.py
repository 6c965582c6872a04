"""Ladders on a real transform graph: every method's effect in what was written, and every fault."""

from __future__ import annotations

import dataclasses
import errno
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.server import paired, saved_model
from tfx_pipeline.errors import ConfigError, StorageError
from trainer.compression.candidate import CORE_FILE, INDEX_FILE, Candidate, read_index
from trainer.compression.config import CompressConfig
from trainer.compression.context import Context
from trainer.compression.ladder import make_ladder
from trainer.config import ModelConfig
from trainer.input import expand, first_rows, read

pytestmark = pytest.mark.filterwarnings("ignore:Input dict contained keys:UserWarning")


@pytest.fixture(scope="module")
def raw(binary: Any, context: Context) -> Context:
    """1,500 training rows with the transform graph that made them."""
    import tensorflow_transform as tft

    from transform.layout import layout

    output = tft.TFTransformOutput(binary.graph)
    features, spec = layout(binary.config, output), output.transformed_feature_spec()
    splits = {
        name: read(name, expand(binary.files(name)), features, spec, cache_max_mb=64)
        for name in ("train", "val")
    }
    return dataclasses.replace(
        context,
        tft_output=output,
        layout=features,
        transform=binary.config,
        model=ModelConfig(hidden_units=[64, 48]),
        train_split=splits["train"],
        val_split=splits["val"],
        rows=first_rows(splits["train"], 300),
    )


def _trained(context: Context, hidden_units: list[int], steps: int) -> Any:
    import tf_keras

    from trainer.compression.finetune import finetune
    from trainer.models.build import build

    tf_keras.utils.set_random_seed(3)
    config = ModelConfig(hidden_units=hidden_units)
    label, train = context.transform.label, context.train
    model = build(context.layout, config, train, label, context.scale, folder=context.folder)
    finetune(model, context, steps=steps, learning_rate=5e-3)
    return model


@pytest.fixture(scope="module")
def trained(raw: Context) -> Any:
    return _trained(raw, [64, 48], 100)


@pytest.fixture(scope="module")
def tiny(raw: Context) -> Any:
    """A model with no kernel that is large enough to prune."""
    return _trained(raw, [3], 20)


def _config(*candidates: dict[str, Any], **settings: Any) -> CompressConfig:
    return CompressConfig.model_validate({"candidates": list(candidates), **settings})


def _by_name(rows: list[Candidate]) -> dict[str, Candidate]:
    return {row.name: row for row in rows}


def _unchanged(model: Any, before: list[Any]) -> None:
    for old, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)


@pytest.fixture(scope="module")
def every(
    raw: Context, trained: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Candidate]]:
    """One candidate of every method, in a folder."""
    folder = tmp_path_factory.mktemp("every") / "ladder"
    some = {"steps": 10}
    config = _config(
        {"method": "int8", "representative_rows": 200},
        {"method": "dynamic_range"},
        {"method": "float16"},
        {"method": "int16x8"},
        {"method": "prune", **some},
        {"method": "prune", "pattern": "2:4", **some},
        {"method": "cluster", **some},
        {"method": "qat", **some},
        {"method": "prune_qat", **some},
        {"method": "cluster_qat", **some},
        {"method": "prune_cluster_qat", **some},
        {"method": "distill", "hidden_units": [32, 16], "steps": 50, "learning_rate": 1e-2},
        {"method": "int8", "of": "prune_80"},
        {"method": "int8", "of": "student"},
        {"method": "prune", "of": "student", "sparsity": 0.5, **some},
    )
    before = trained.get_weights()
    told: list[tuple[str, int, int]] = []
    rows = make_ladder(
        trained, config, raw, folder, lambda row, done, of: told.append((row.name, done, of))
    )
    _unchanged(trained, before)
    assert told == [(row.name, i, 16) for i, row in enumerate(rows, start=1)]
    assert read_index(folder) == rows
    return folder, _by_name(rows)


@pytest.mark.slow
def test_the_ladder_starts_with_the_float_model(every: Any, trained: Any) -> None:
    folder, rows = every
    first = next(iter(rows.values()))
    assert (first.name, first.of, first.failed, first.has_core) == ("float", "", "", True)
    assert first.effects["parameters"] == trained.count_params()
    assert first.effects["core_bytes"] == (folder / "float" / CORE_FILE).stat().st_size
    assert {row.name: row.failed for row in rows.values() if row.failed} == {}
    assert {row.of for row in rows.values()} == {"", "float", "prune_80", "student"}
    assert all(row.seconds > 0 for row in rows.values())


@pytest.mark.slow
def test_every_method_shows_in_weights_and_files(every: Any) -> None:
    folder, rows = every
    found = {name: row.effects for name, row in rows.items()}
    whole = found["float"]
    numbers = {name: row.numbers for name, row in rows.items()}
    assert {name for name, kind in numbers.items() if kind == "float32"} == {
        "float",
        "prune_80",
        "prune_2x4",
        "cluster_16",
        "student",
        "student_prune_50",
    }
    assert [numbers[n] for n in ("int8", "qat", "prune_80_int8", "cluster_16_qat")] == ["int8"] * 4
    for name, kind in numbers.items():
        assert (found[name]["int8_tensors"] > 0) == (kind not in ("float32", "float16")), name
    for name in ("int8", "prune_80_int8", "qat", "prune_80_qat"):
        assert found[name]["core_bytes"] < 0.5 * whole["core_bytes"], name
    assert found["float16"]["core_bytes"] < 0.62 * whole["core_bytes"]
    assert found["int16x8"]["core_bytes"] < 0.6 * whole["core_bytes"]
    assert found["dynamic_range"]["core_bytes"] < 0.62 * whole["core_bytes"]

    assert whole["sparsity"] < 0.01
    for name in ("prune_80", "prune_80_int8", "prune_80_qat", "prune_80_cluster_16_qat"):
        assert found[name]["sparsity"] > 0.7, name  # The head and the tables stay dense.
        assert found[name]["core_gzip_bytes"] < 0.5 * whole["core_gzip_bytes"], name
    assert found["prune_2x4"]["pattern_2_4"] > 0.8
    assert whole["distinct_values"] > 1000
    for name in ("cluster_16", "cluster_16_qat"):
        assert found[name]["distinct_values"] < 200, name  # Small kernels are not clustered.
        assert found[name]["core_gzip_bytes"] < 0.6 * whole["core_gzip_bytes"]
    assert found["student"]["parameters"] < 0.4 * whole["parameters"]
    assert found["student_int8"]["core_bytes"] < found["student"]["core_bytes"]
    core = (folder / "prune_80" / CORE_FILE).read_bytes()
    assert found["prune_80"]["core_gzip_bytes"] == len(gzip.compress(core, 9, mtime=0))


@pytest.mark.slow
def test_every_candidate_answers_raw_rows(every: Any, binary: Any) -> None:
    folder, rows = every
    examples = np.array(binary.examples("eval", 50, label=False), object)

    def ask(model: Any) -> Any:
        (alias,) = model.signatures["serving_default"].inputs
        answer = model.run("serving_default", {alias: examples}, ["predictions"])["predictions"]
        model.close()
        return answer

    assert all(row.has_core and row.max_difference is not None for row in rows.values())
    # Of each kind of numbers and each way of training one: a load takes a second.
    for name in ("float", "int16x8", "float16", "prune_80_int8", "prune_80_cluster_16_qat"):
        by_core, plain = ask(paired.load(folder / name)), ask(saved_model.load(folder / name))
        assert by_core.shape == (50, 1)
        assert np.abs(by_core - plain).max() < 0.2, name
        assert np.ptp(by_core) > 0.05, name


def test_faults_are_rows_with_the_reason(
    raw: Context, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("centroids are lost\nsecond line")

    monkeypatch.setattr("trainer.compression.cluster.cluster", fail)
    context = dataclasses.replace(raw, model=ModelConfig(hidden_units=[3]))
    config = _config(
        {"method": "prune"},
        {"method": "distill", "hidden_units": [50]},
        {"method": "int8", "representative_rows": 30},
        {"method": "cluster"},
        {"method": "distill", "name": "small", "of": "prune_80", "steps": 5},
        {"method": "int8", "of": "small"},
        {"method": "float16"},
    )
    stale = tmp_path / "ladder" / "prune_80"
    stale.mkdir(parents=True)
    before = tiny.get_weights()
    rows = _by_name(make_ladder(tiny, config, context, tmp_path / "ladder"))
    _unchanged(tiny, before)
    no_layer = "the model 'dnn' has no layer to prune"
    reasons = {name: row.failed for name, row in rows.items()}
    assert reasons.pop("student").startswith("the student has ")
    assert reasons.pop("int8").startswith("a representative set of 30 rows is too small")
    assert reasons == {
        "float": "",
        "prune_80": no_layer,
        "cluster_16": "RuntimeError: centroids are lost",
        "small": f"it starts from one that failed: prune_80: {no_layer}",
        "small_int8": f"it starts from one that failed: prune_80: {no_layer}",
        "float16": "",
    }
    made = {path.name for path in (tmp_path / "ladder").iterdir()}
    assert made == {"float", "float16", INDEX_FILE}
    assert _by_name(read_index(tmp_path / "ladder")) == rows
    assert "Traceback" in caplog.text
    assert "second line" in caplog.text


def test_a_model_without_a_core_is_a_candidate_and_its_int8_is_not(
    raw: Context, tiny: Any, tmp_path: Path
) -> None:
    import tensorflow as tf
    import tf_keras

    extra = tf_keras.layers.Activation(tf.math.bessel_i0)
    model = tf_keras.Model(tiny.input, extra(tiny.output), name="bessel")
    rows = make_ladder(model, _config({"method": "int8"}), raw, tmp_path)
    whole, int8 = rows
    assert (whole.failed, whole.has_core, whole.max_difference) == ("", False, None)
    assert "core_bytes" not in whole.effects
    assert whole.notes[0].startswith("no core: TFLite cannot convert 'bessel' to float32")
    assert not paired.is_pair(tmp_path / "float")
    saved_model.load(tmp_path / "float").close()
    assert int8.failed.startswith("TFLite cannot convert 'bessel' to int8")
    assert not (tmp_path / "int8").exists()


def test_nan_weights_make_no_core(raw: Context, tiny: Any, tmp_path: Path) -> None:
    import tf_keras

    model = tf_keras.models.clone_model(tiny)
    model.set_weights([np.full_like(weight, np.nan) for weight in tiny.get_weights()])
    whole, float16 = make_ladder(model, _config({"method": "float16"}), raw, tmp_path)
    assert not whole.has_core
    assert "are NaN or infinite" in whole.notes[0]
    assert "are NaN or infinite" in float16.failed


def test_a_full_disk_ends_the_ladder_and_leaves_the_index(
    raw: Context, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer import export

    write = export._write_extra

    def full(folder: str, files: Any) -> None:
        if "float16" in folder:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(folder, files)

    monkeypatch.setattr(export, "_write_extra", full)
    config = _config({"method": "float16"}, {"method": "distill", "hidden_units": [2]})
    with pytest.raises(StorageError, match="the disk is full"):
        make_ladder(tiny, config, raw, tmp_path)
    assert [row.name for row in read_index(tmp_path)] == ["float"]


def test_a_full_disk_in_the_converter_ends_it_too(
    raw: Context, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    def full(*_: Any) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "/tmp/x; No space left on device")

    monkeypatch.setattr(tf.lite.TFLiteConverter, "from_concrete_functions", full)
    with pytest.raises(StorageError, match="the disk is full"):
        make_ladder(tiny, _config({"method": "float16"}), raw, tmp_path)


def test_a_plan_that_cannot_be_makes_nothing(raw: Context, tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such candidate"):
        make_ladder(tiny, _config({"method": "int8", "of": "x"}), raw, tmp_path / "ladder")
    assert not (tmp_path / "ladder").exists()
