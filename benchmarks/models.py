"""What each model family reaches, and in which time, beside scikit-learn's gradient boosting.

    .venv/bin/python benchmarks/models.py --adult FILE --mnist FILE [--only adult,digits]
        [--cache FOLDER] [--replicas 2]

Each data set is a project that `assay run --to Transform` has transformed; with --cache that is
done once. Then the Trainer's own `run_fn` trains each model on the rows of train (val decides when
it stops), and the metric is that of the exported SavedModel on the raw rows of eval. The seconds
are those of the whole `run_fn`, from transformed rows to a SavedModel. Gradient boosting
(HistGradientBoostingClassifier, defaults) learns from the raw columns of the same rows, train and
val. The config of each run is printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path[0] = str(Path(__file__).absolute().parent / "models_parts")
sys.path.insert(1, str(Path(__file__).absolute().parent.parent))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import yaml  # noqa: E402
from data_sets import DATA_SETS, DataSet  # noqa: E402

from tfx_pipeline.config import load_config  # noqa: E402
from tfx_pipeline.gates.measures import measure  # noqa: E402
from tfx_pipeline.gates.metrics import METRICS  # noqa: E402
from tfx_pipeline.report import record as records  # noqa: E402
from transform.config import LABEL  # noqa: E402

ASSAY = Path(sys.executable).with_name("assay")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adult", type=Path, help="UCI Adult, adult.data")
    parser.add_argument("--mnist", type=Path, help="MNIST digits as tf.Examples")
    parser.add_argument("--only", default=",".join(DATA_SETS), help="data sets, with commas")
    parser.add_argument("--models", default="", help="only these runs, with commas")
    parser.add_argument("--replicas", type=int, default=1, help="train on so many logical CPUs")
    parser.add_argument("--cache", type=Path, help="leave the transformed projects in this folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as folder:
        for name in arguments.only.split(","):
            data = DATA_SETS[name]
            source = getattr(arguments, data.needs) if data.needs else None
            if data.needs and source is None:
                print(f"\n{data.title}: left out, --{data.needs} is not given")
                continue
            project = (arguments.cache or Path(folder)) / name
            compare(data, transformed(data, source, project), arguments)


def transformed(data: DataSet, source: Path | None, folder: Path) -> Path:
    """The project's folder, run up to Transform."""
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        gates = {"quality": {"thresholds": [{"metric": data.metric, "min": 0}]}}
        if METRICS[data.metric].better == "lower":
            gates["quality"]["thresholds"] = [{"metric": data.metric, "max": 1e9}]
        config = {"name": folder.name, **data.write(folder, source), "gates": gates}
        (folder / "pipeline.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        command = [ASSAY, "run", "--quiet", "--to", "Transform", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{data.title}: assay run ended with {done.returncode}\n{done.stderr}")
        (folder / "done").touch()
    return folder


def compare(data: DataSet, project: Path, arguments: argparse.Namespace) -> None:
    """Trains every model of a data set, and prints the table."""
    config = load_config(project)
    nodes = records.load(config.root, "latest").nodes
    made = nodes["ExampleGen"].artifacts | nodes["Transform"].artifacts
    uris = {key: found[0].uri for key, found in made.items() if found}
    shown = yaml.safe_dump({"train": data.train}, sort_keys=False, default_flow_style=None)
    print(f"\n{data.title}; {data.metric} on eval\n{shown}")
    print(f"{'':18}{data.metric:>10}{'log loss':>10}{'seconds':>9}{'parameters':>12}", flush=True)
    best = None
    with tempfile.TemporaryDirectory() as folder:
        for name, model in data.models.items():
            if arguments.models and name not in arguments.models.split(","):
                continue
            train = {**data.train, **data.train_of.get(name, {}), "tensorboard": False}
            if arguments.replicas > 1:
                train |= {"strategy": "mirrored", "logical_cpus": arguments.replicas}
            found, seconds, count = trained(config, uris, model, train, Path(folder) / name)
            _print(name, found, data.metric, seconds, f"{count:,}", f"  {model}")
            value = found[data.metric]
            better = max if METRICS[data.metric].better == "higher" else min
            best = value if best is None else better(best, value)
    if all(f.kind != "image" for f in config.features.columns.values()):
        start = time.perf_counter()
        found = boosted(config, uris["examples"])
        _print("gradient boosting", found, data.metric, time.perf_counter() - start, "", "")
    if data.asked is not None and best is not None:
        verdict = "reached" if best >= data.asked else "NOT reached"
        print(f"asked: {data.metric} {data.asked}: {verdict} ({best:.4f})", flush=True)


def trained(
    config: Any, uris: dict[str, str], model: dict[str, Any], train: dict[str, Any], folder: Path
) -> tuple[dict[str, float], float, int]:
    """Runs the Trainer; gives the metrics on eval, the seconds and the number of weights."""
    import tensorflow as tf
    from tfx.components.trainer.fn_args_utils import FnArgs

    from trainer.run import run_fn

    files = {s: f"{uris['transformed_examples']}/Split-{s}/*" for s in ("train", "val")}
    eval_files = tf.io.gfile.glob(f"{uris['examples']}/Split-eval/*")
    transform = config.transform
    arguments = FnArgs(
        train_files=[files["train"]],
        eval_files=[files["val"]],
        transform_graph_path=uris["transform_graph"],
        serving_model_dir=str(folder / "serving"),
        model_run_dir=str(folder / "run"),
        custom_config={
            "transform": transform.model_dump(mode="json"),
            "model": model,
            "train": train,
            "folder": str(config.folder),
        },
    )
    start = time.perf_counter()
    run_fn(arguments)
    seconds = time.perf_counter() - start
    served = tf.saved_model.load(arguments.serving_model_dir)
    answers, labels = [], []
    for batch in tf.data.TFRecordDataset(eval_files, "GZIP").batch(1024):
        answers.append(served.signatures["serving_default"](examples=batch)["predictions"])
        labels.append(served.signatures["transform_features"](examples=batch)[LABEL])
    found = measure(
        transform.label.task, np.concatenate(labels).reshape(-1), np.concatenate(answers)
    )
    return found, seconds, sum(int(np.prod(v.shape)) for v in served.model_variables)


def boosted(config: Any, examples: str) -> dict[str, float]:
    """Gradient boosting on the raw columns of train and val, measured on eval."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    label, columns = config.transform.label, list(config.features.columns)
    rows = {s: _raw(examples, s, [*columns, label.column]) for s in ("train", "val", "eval")}
    tables = pd.concat(rows, names=["split"])
    for name in columns:
        numbers = pd.to_numeric(tables[name], errors="coerce")
        if numbers.notna().mean() > 0.9:
            tables[name] = numbers
        else:
            tables[name] = tables[name].astype("category")
    target = tables[label.column]
    if label.task == "regression":
        booster: Any = HistGradientBoostingRegressor()
    else:
        booster = HistGradientBoostingClassifier(categorical_features="from_dtype")
        target = target.map({name: place for place, name in enumerate(label.classes)})
    fitted = tables.index.get_level_values("split") != "eval"
    booster.fit(tables[columns][fitted], target[fitted])
    left, truth = tables[columns][~fitted], target[~fitted]
    if label.task == "regression":
        predictions = booster.predict(left)[:, None]
    else:
        predictions = booster.predict_proba(left)
        predictions = predictions[:, 1:] if label.task == "binary" else predictions
    return measure(label.task, truth.to_numpy(), predictions)


def _raw(examples: str, split: str, columns: list[str]) -> pd.DataFrame:
    """The raw rows of a split; a value that is missing is None."""
    import tensorflow as tf

    files = tf.io.gfile.glob(f"{examples}/Split-{split}/*")
    rows = []
    for record in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        row: dict[str, Any] = {}
        for name in columns:
            kind = feature[name].WhichOneof("kind")
            values = getattr(feature[name], kind).value if kind else []
            value = values[0] if len(values) else None
            row[name] = value.decode() if isinstance(value, bytes) else value
        rows.append(row)
    return pd.DataFrame(rows)


def _print(
    name: str, found: dict[str, float], metric: str, seconds: float, weights: str, more: str
) -> None:
    loss = f"{found['log_loss']:.4f}" if "log_loss" in found else ""
    value = f"{found[metric]:.4f}" if np.isfinite(found[metric]) else "NaN"
    print(f"{name:18}{value:>10}{loss:>10}{seconds:>9.1f}{weights:>12}{more}", flush=True)


if __name__ == "__main__":
    main()
