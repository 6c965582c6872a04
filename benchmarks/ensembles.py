"""What an ensemble of three gains over its members, on scikit-learn's digits.

    .venv/bin/python benchmarks/ensembles.py [--members 3] [--seed 17]

1,797 digits as 64 numbers, two thirds to learn from, the others to measure on. Each method trains
its members as the Trainer does (`trainer.ensemble`); the snapshots share one member's steps.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path[0] = str(Path(__file__).absolute().parent.parent)

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf_keras  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

from tfx_pipeline.gates.measures import measure  # noqa: E402
from trainer import ensemble, fit  # noqa: E402
from trainer.config import ModelConfig, TrainConfig  # noqa: E402
from trainer.ensemble_config import EnsembleConfig  # noqa: E402
from trainer.input import Held, Split  # noqa: E402
from trainer.models.build import LabelScale, build  # noqa: E402
from transform.config import LabelConfig  # noqa: E402
from transform.layout import FeatureSpec  # noqa: E402

LAYOUT = [FeatureSpec("pixels_xf", "dense", 64, (64,))]
LABEL = LabelConfig(column="digit", task="multiclass", classes=[str(i) for i in range(10)])
MODEL = ModelConfig(hidden_units=[64])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=3, help="members of each ensemble")
    parser.add_argument("--seed", type=int, default=17, help="seed of the first member")
    arguments = parser.parse_args()
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = (x[order] / 16).astype(np.float32), y[order][:, None].astype(np.int64)
    rows = Split("train", (), LAYOUT, {}, 1198, Held({"pixels_xf": x[:1198]}, y[:1198]))
    train = TrainConfig(
        steps=600,
        steps_per_epoch=600,
        batch_size=64,
        learning_rate=0.005,
        tensorboard=False,
        seed=arguments.seed,
    )
    print(f"{'':12}{'accuracy':>10}{'log loss':>10}{'seconds':>9}   each member's log loss")

    def measured(model: tf_keras.Model) -> dict[str, float]:
        return measure("multiclass", y[1198:], model.predict(x[1198:], verbose=0))

    for method in ("average", "bagging", "snapshot"):
        alone: list[dict[str, float]] = []

        def train_one(member: ensemble.Member) -> tf_keras.Model:
            tf_keras.utils.set_random_seed(member.train.seed)
            model = build(LAYOUT, MODEL, member.train, LABEL, LabelScale(), Path())
            fit.compile_model(model, member.train, LABEL, LabelScale())
            if member.start is not None:
                model.set_weights(member.start)
            fit.fit(model, member.train, member.split, None, member.run_dir, {})
            return model

        def finish(model: tf_keras.Model, member: ensemble.Member) -> tf_keras.Model:
            alone.append(measured(model))  # noqa: B023  Called before the loop goes on.
            return model

        section = EnsembleConfig(method=method, members=arguments.members)
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            given = rows, folder, LabelScale()
            whole = measured(ensemble.trained(section, train, *given, train_one, finish))
        each = ", ".join(f"{one['log_loss']:.3f}" for one in alone)
        seconds = time.perf_counter() - start
        print(
            f"{method:12}{whole['accuracy']:>10.4f}{whole['log_loss']:>10.4f}{seconds:>9.1f}   "
            f"{each}",
            flush=True,
        )


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    main()
