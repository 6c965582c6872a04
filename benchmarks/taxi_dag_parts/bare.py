"""The taxi model without a pipeline: read the CSV with pandas, train the same steps, save.

    .venv/bin/python benchmarks/taxi_dag_parts/bare.py data.csv FOLDER

What somebody writes in an hour who wants the model and nothing else: the taxi template's features
made with pandas, its network, steps and batch in tf_keras, an AUC, a SavedModel of the network. No
schema, no checks of the data, no slices, no lineage; the preprocessing is not in what is saved, so
that it could not be served as it is. It is the floor that a pipeline's overhead is measured from.
"""

from __future__ import annotations

import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import pandas as pd
import tf_keras

STEPS, BATCH = 1000, 128
LOGGED = ("trip_miles", "fare", "trip_seconds")
PLACES = ("pickup_latitude", "pickup_longitude", "dropoff_latitude", "dropoff_longitude")
IDS = (
    "payment_type", "company", "trip_start_hour", "trip_start_day", "trip_start_month",
    "pickup_community_area", "dropoff_community_area",
)  # fmt: skip
DATE_PARTS = ("hour", "weekday", "month", "year")


def main(data: str, folder: str) -> None:
    table = pd.read_csv(data)
    label = (table["tips"] > 0.2 * table["fare"]).to_numpy(np.float32)
    inputs, sizes = features(table)
    chance = np.random.default_rng(0).random(len(table))
    train, val, held_out = chance < 0.6, (chance >= 0.6) & (chance < 0.67), chance >= 0.67

    model = network(inputs, sizes)
    model.compile(tf_keras.optimizers.Adam(5e-4), "binary_crossentropy")
    model.fit(
        of(inputs, train),
        label[train],
        batch_size=BATCH,
        epochs=round(STEPS * BATCH / train.sum()),
        validation_data=(of(inputs, val), label[val]),
        validation_freq=3,  # As often as the template's five times.
        verbose=0,
    )
    auc = tf_keras.metrics.AUC(num_thresholds=1000)
    auc.update_state(label[held_out], model.predict(of(inputs, held_out), verbose=0)[:, 0])
    model.save(folder, save_format="tf")
    print(f"auc {float(auc.result()):.4f}")


def features(table: pd.DataFrame) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Columns of floats and of ids, and how many ids each of the latter has."""
    inputs: dict[str, np.ndarray] = {}
    sizes: dict[str, int] = {}
    for name in LOGGED:
        values = np.log1p(table[name].fillna(table[name].mean()))
        inputs[name] = ((values - values.mean()) / values.std()).to_numpy(np.float32)
    for name in PLACES:
        codes = pd.qcut(table[name], 10, labels=False, duplicates="drop")
        inputs[name], sizes[name] = (codes.fillna(-1) + 1).to_numpy(np.int32), 11
    for name in IDS:
        codes, values = pd.factorize(table[name])
        inputs[name], sizes[name] = (codes + 1).astype(np.int32), len(values) + 1
    date = pd.to_datetime(table["trip_start_timestamp"], unit="s").dt
    for part in DATE_PARTS:
        codes, values = pd.factorize(getattr(date, part))
        inputs[part], sizes[part] = codes.astype(np.int32), len(values)
    return inputs, sizes


def network(inputs: dict[str, np.ndarray], sizes: dict[str, int]) -> tf_keras.Model:
    """The template's network: embeddings and numbers, 128 and 64 units, dropout."""
    layers = tf_keras.layers
    entries = {name: tf_keras.Input((1,), name=name) for name in inputs}
    parts = [
        layers.Flatten()(layers.Embedding(sizes[name], min(16, sizes[name]))(entry))
        if name in sizes
        else entry
        for name, entry in entries.items()
    ]
    hidden = layers.Concatenate()(parts)
    for units in (128, 64):
        hidden = layers.Dropout(0.3)(layers.Dense(units, activation="relu")(hidden))
    return tf_keras.Model(entries, layers.Dense(1, activation="sigmoid")(hidden))


def of(inputs: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """The features of some rows, each as a column."""
    return {name: values[rows][:, None] for name, values in inputs.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
