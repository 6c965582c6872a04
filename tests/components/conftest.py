"""Small real data and SavedModels for the gates: nothing is trained, the weights are given."""

from __future__ import annotations

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.gates.verdict import Verdict, read_verdict
from tfx_pipeline.runners.beam.options import LOCAL_RUNNER

BEAM_ARGS = [f"--runner={LOCAL_RUNNER}", "--sdk_container_image=local"]
ROWS = 300

Config = Callable[..., PipelineConfig]


@dataclass(frozen=True)
class Small:
    """Folders of real artifacts."""

    root: Path
    examples: Path
    empty_examples: Path
    schema: Path

    def model(self, task: str, quality: str) -> Path:
        """A model: `good`, `bad`, or `nan`; of a task."""
        folder = self.root / f"model-{task}-{quality}"
        if not folder.exists():
            _save_model(folder / "Format-Serving", task, quality)
        return folder


@pytest.fixture
def config() -> Config:
    """A config with some fields of gates.quality given."""

    def make(task: str = "binary", **quality: Any) -> PipelineConfig:
        label: dict[str, Any] = {"column": f"y_{task}", "task": task}
        if task not in ("regression", "quantile"):
            label["classes"] = ["a", "b", "c"][: 2 if task == "binary" else 3]
        return PipelineConfig.model_validate(
            {
                "name": "small",
                "data": {"path": "rows.csv", "label": label},
                "features": {
                    "columns": {"x": {"kind": "numeric"}, "group": {"kind": "categorical"}}
                },
                "gates": {"quality": quality},
            }
        )

    return make


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """300 rows in each split: x ~ N(0, 1), group `big` or `tiny` (5 rows, all of one class)."""
    import tensorflow as tf

    root = tmp_path_factory.mktemp("small")
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    for name, rows in (("examples", ROWS), ("empty", 0)):
        for seed, split in enumerate(("train", "eval")):
            folder = root / name / f"Split-{split}"
            folder.mkdir(parents=True)
            with tf.io.TFRecordWriter(str(folder / "data.gz"), options) as writer:
                for row in _rows(seed, rows):
                    writer.write(row)
    schema = root / "schema"
    schema.mkdir()
    (schema / "schema.pbtxt").write_text(SCHEMA)
    return Small(root, root / "examples", root / "empty", schema)


# Of a normal distribution, the quantiles 0.1, 0.5 and 0.9.
NORMAL_DECILES = np.array([-1.2816, 0.0, 1.2816], np.float32)
SCHEMA = """
feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 }
          shape { dim { size: 1 } } }
feature { name: "group" type: BYTES domain: "group" presence { min_fraction: 1 min_count: 1 }
          shape { dim { size: 1 } } }
feature { name: "y_binary" type: BYTES presence { min_fraction: 1 min_count: 1 }
          shape { dim { size: 1 } } }
feature { name: "y_multiclass" type: BYTES presence { min_fraction: 1 min_count: 1 }
          shape { dim { size: 1 } } }
feature { name: "y_multilabel" type: BYTES }
feature { name: "y_regression" type: FLOAT presence { min_fraction: 1 min_count: 1 }
          shape { dim { size: 1 } } }
feature { name: "y_quantile" type: FLOAT presence { min_fraction: 1 min_count: 1 }
          shape { dim { size: 1 } } }
string_domain { name: "group" value: "big" value: "tiny" }
"""


def _rows(seed: int, count: int) -> list[bytes]:
    import tensorflow as tf

    generator = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        x = float(generator.normal())
        tiny = index < 5
        noisy = x + float(generator.normal()) * 0.5
        binary = b"a" if tiny or noisy < 0 else b"b"
        multiclass = [b"a", b"b", b"c"][int(np.digitize(noisy, [-0.5, 0.5]))]
        values = {
            "x": tf.train.Feature(float_list=tf.train.FloatList(value=[x])),
            "group": _text(b"tiny" if tiny else b"big"),
            "y_binary": _text(binary),
            "y_multiclass": _text(multiclass),
            "y_regression": tf.train.Feature(float_list=tf.train.FloatList(value=[noisy])),
            "y_quantile": tf.train.Feature(float_list=tf.train.FloatList(value=[noisy])),
        }
        several = [name for name, above in ((b"a", -0.5), (b"b", 0.5)) if noisy > above]
        if several:  # The others have none, and no cell.
            values["y_multilabel"] = _texts(several)
        example = tf.train.Example(features=tf.train.Features(feature=values))
        rows.append(example.SerializeToString())
    return rows


def _text(value: bytes) -> Any:
    return _texts([value])


def _texts(values: list[bytes]) -> Any:
    import tensorflow as tf

    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _save_model(folder: Path, task: str, quality: str) -> None:
    """A SavedModel with the two signatures that the trainer's have."""
    import tensorflow as tf

    slope = {"good": 1.0, "bad": -1.0, "nan": float("nan")}[quality]
    is_value = task in ("regression", "quantile")
    spec = {
        "x": tf.io.FixedLenFeature([1], tf.float32),
        f"y_{task}": tf.io.FixedLenFeature([1], tf.float32 if is_value else tf.string),
    }
    if task == "multilabel":
        spec["y_multilabel"] = tf.io.VarLenFeature(tf.string)

    class Model(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.slope = tf.Variable(slope)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def serving_default(self, examples: Any) -> Any:
            x = self.slope * tf.io.parse_example(examples, {"x": spec["x"]})["x"]
            if task == "regression":
                return {"predictions": x}
            if task == "quantile":
                return {"predictions": x + 0.5 * NORMAL_DECILES}
            if task == "multilabel":
                return {"predictions": tf.sigmoid(3 * (x - [-0.5, 0.5, 9.0]))}
            if task == "binary":
                return {"predictions": tf.sigmoid(3 * x), "class": tf.where(x[:, 0] > 0, "b", "a")}
            logits = 3 * tf.concat([-0.5 - x, tf.zeros_like(x), x - 0.5], axis=1)
            names = tf.gather(["a", "b", "c"], tf.argmax(logits, axis=1))
            return {"predictions": tf.nn.softmax(logits), "class": names}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def transform_features(self, examples: Any) -> Any:
            parsed = tf.io.parse_example(examples, spec)
            label = parsed[f"y_{task}"]
            if task == "multilabel":
                found = tf.sparse.to_dense(label, default_value="")[:, :, tf.newaxis]
                label = tf.reduce_any(found == ["a", "b", "c"], axis=1)
                label = tf.cast(label, tf.int64)
            elif not is_value:
                ids = tf.range(3, dtype=tf.int64)
                label = tf.where(label == ["a", "b", "c"], ids, 0)
                label = tf.reduce_max(label, axis=1, keepdims=True)
            return {"x_xf": parsed["x"], "label_xf": label}

    model = Model()
    tf.saved_model.save(
        model,
        str(folder),
        signatures={
            "serving_default": model.serving_default,
            "transform_features": model.transform_features,
        },
    )
    description = {"task": task, "quantiles": [0.1, 0.5, 0.9]}
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "assay_signature.json").write_text(json.dumps(description))


@pytest.fixture(scope="session")
def evaluate(
    small: Small, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Verdict, Any]]:
    """Runs the Evaluator's executor for real; gives the verdict and the ModelBlessing."""
    from tfx.components.evaluator import constants
    from tfx.dsl.components.base import base_beam_executor
    from tfx.types import standard_artifacts
    from tfx.utils import proto_utils

    from tfx_pipeline.components.evaluator.executor import GATE_KEY, Executor
    from tfx_pipeline.gates.eval_config import eval_config

    def artifact(kind: Any, folder: Path, identity: int = 0) -> Any:
        made = kind()
        made.uri = str(folder)
        made.id = identity
        return made

    def run(
        config: PipelineConfig,
        quality: str = "good",
        baseline: str | Path | None = None,
        examples: Path | None = None,
        split_by: tuple[str, str] = ("", ""),
        processes: int = 1,
    ) -> tuple[Verdict, Any]:
        root = tmp_path_factory.mktemp("evaluation")
        task = config.data.label.task
        rows = artifact(standard_artifacts.Examples, examples or small.examples)
        rows.split_names = json.dumps(["train", "eval"])
        now, before = split_by
        rows.set_string_custom_property("split_by", now)
        inputs = {
            "examples": [rows],
            "model": [artifact(standard_artifacts.Model, small.model(task, quality), 7)],
            "schema": [artifact(standard_artifacts.Schema, small.schema)],
        }
        if baseline:
            folder = baseline if isinstance(baseline, Path) else small.model(task, baseline)
            inputs["baseline_model"] = [artifact(standard_artifacts.Model, folder, 3)]
            judged = artifact(standard_artifacts.ModelBlessing, root)
            judged.set_string_custom_property("split_by", before)
            inputs["baseline_blessing"] = [judged]
        blessing = artifact(standard_artifacts.ModelBlessing, root / "blessing")
        outputs = {
            "evaluation": [artifact(standard_artifacts.ModelEvaluation, root / "evaluation")],
            "blessing": [blessing],
        }
        (root / "blessing").mkdir()
        context = base_beam_executor.BaseBeamExecutor.Context(
            beam_pipeline_args=[*BEAM_ARGS, f"--local_processes={processes}"],
            tmp_dir=str(root / "tmp"),
            unique_id="1",
        )
        Executor(context).Do(
            inputs,
            outputs,
            {
                "eval_config": proto_utils.proto_to_json(eval_config(config)),
                "example_splits": json.dumps(["eval"]),
                GATE_KEY: config.gates.quality.model_dump_json(),
            },
        )
        verdict = read_verdict(str(root / "blessing"))
        assert verdict is not None
        names = {True: constants.BLESSED_FILE_NAME, False: constants.NOT_BLESSED_FILE_NAME}
        assert (root / "blessing" / names[verdict.blessed]).exists()
        assert not (root / "blessing" / names[not verdict.blessed]).exists()
        assert blessing.get_int_custom_property("blessed") == int(verdict.blessed)
        assert blessing.get_int_custom_property("current_model_id") == 7
        assert blessing.get_string_custom_property("split_by") == now
        return verdict, blessing

    return run
