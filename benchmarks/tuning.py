"""By how much the tuner beats the default configuration, inside a fixed budget of trials.

    .venv/bin/python benchmarks/tuning.py ../shared/data/adult.csv [--trials 16] [--keep FOLDER]

Both go through `assay run` up to the Evaluator: once with the config's defaults, once with a
section `tune`. Trials are judged on the validation split; the figures below are the Evaluator's,
on the eval split, which neither the tuner nor the trainer looks at. With `--keep` the folder is
left, and a second call finds ExampleGen to Transform cached there. `--seeds` trains both again
with other seeds, for the spread.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).absolute().parent.parent))

from tfx_pipeline.config import load_config
from tfx_pipeline.report import record as records
from tfx_pipeline.report.trials import trials_of
from trainer.tuning.journal import shown, summary

ASSAY = Path(sys.executable).with_name("assay")
REFUSED = 5  # A verdict all the same.

COLUMNS = [
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status"),
    *("occupation", "relationship", "race", "sex", "capital_gain", "capital_loss"),
    *("hours_per_week", "native_country", "income"),
]
KINDS: dict[str, dict[str, Any]] = {
    **{name: {"kind": "categorical"} for name in COLUMNS[:-1]},
    **{name: {"kind": "numeric"} for name in ("age", "fnlwgt", "education_num", "hours_per_week")},
    **{name: {"kind": "numeric", "log": True} for name in ("capital_gain", "capital_loss")},
}
SPACE: dict[str, dict[str, Any]] = {
    "train.learning_rate": {"log": [3e-4, 3e-2]},
    "train.batch_size": {"choice": [64, 128, 256, 512]},
    "train.l2": {"choice": [0.0, 1e-6, 1e-5, 1e-4]},
    "train.schedule": {"choice": ["constant", "cosine"]},
    "model.hidden_units": {"choice": [[128, 64], [64, 32], [256, 128], [64], [32]]},
    "model.dropout": {"float": [0.0, 0.5, 0.1]},
    "model.embedding_max_dim": {"int": [4, 16, 4]},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="adult.csv, without a header")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--search", default="bayesian", help="as tune.search")
    parser.add_argument("--parallel", type=int, default=1, help="trials at once")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each, with new seeds")
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(arguments.data, folder / "adult.csv")
        compare(folder, arguments)


def compare(folder: Path, arguments: argparse.Namespace) -> None:
    """Prints what the defaults and the tuner's values give."""
    names = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras-tuner"))
    print(f"{names}; {arguments.search}, {arguments.trials} trials, {arguments.parallel} at once")
    tune = {
        "search": arguments.search,
        "trials": arguments.trials,
        "parallel": arguments.parallel,
        "objective": "auc",
        "space": SPACE,
    }
    start = time.monotonic()
    auc = {"tuned": [run(folder, {"tune": tune})]}
    seconds = time.monotonic() - start
    root = load_config(folder).root
    _, found = trials_of(root, "latest")
    took = records.load(root, "latest").nodes["Tuner"].seconds
    print(f"validation split: {summary(found)}; {took:.0f} s of {seconds:.0f} s")
    assert found.best is not None
    for path, value in found.best.values.items():
        print(f"  {path} {shown(value)}")
    auc["default"] = [run(folder, {})]
    for seed in range(1, arguments.seeds):
        for name, values in (("default", {}), ("tuned", found.best.values)):
            auc[name].append(run(folder, sections({**values, "train.seed": 17 + seed})))
    print(f"eval split, AUC of {arguments.seeds} training(s) each:")
    for name in ("default", "tuned"):
        spread = ", ".join(f"{value:.4f}" for value in auc[name])
        print(f"  {name:<8} {statistics.mean(auc[name]):.4f}  ({spread})")
    print(f"  gain     {statistics.mean(auc['tuned']) - statistics.mean(auc['default']):+.4f}")


def sections(values: dict[str, Any]) -> dict[str, Any]:
    """Fields of the config as its sections."""
    document: dict[str, Any] = {}
    for path, value in values.items():
        *parents, last = path.split(".")
        section = document
        for part in parents:
            section = section.setdefault(part, {})
        section[last] = value
    return document


def run(folder: Path, more: dict[str, Any]) -> float:
    """`assay run --to Evaluator`; the AUC of the eval split."""
    config = {
        "name": "adult",
        "data": {
            "path": "adult.csv",
            "column_names": COLUMNS,
            "strip_spaces": True,
            "missing_values": ["?"],
            "label": {"column": "income", "task": "binary", "classes": ["<=50K", ">50K"]},
            "split": {"eval_fraction": 0.2, "val_fraction": 0.15},
        },
        "features": {"columns": KINDS},
        "gates": {"quality": {"thresholds": [{"metric": "auc", "min": 0.5}]}},
        **more,
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    words: list[str | Path] = [ASSAY, "run", "--quiet", "--to", "Evaluator", folder]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode not in (0, REFUSED):
        sys.exit(f"assay run ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return records.load(load_config(folder).root, "latest").metrics["auc"]


if __name__ == "__main__":
    main()
