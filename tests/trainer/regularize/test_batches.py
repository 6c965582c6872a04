"""What is done to training batches: by seed and step, as the papers say, and to no other rows."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.rows import LAYOUT, split
from trainer.input import all_batches, train_batches
from trainer.regularize.config import CutoutConfig
from trainer.regularize.cutout import cut_out
from trainer.regularize.mixup import by_row, mixed, of_packed
from transform.layout import FeatureSpec

SEED = tf.constant([17, 3], tf.int64)


def batch(task: str) -> tuple[dict[str, Any], Any]:
    held = split(task, 64).held
    assert held is not None
    return {n: tf.constant(v) for n, v in held.features.items()}, tf.constant(held.label)


def test_mixup_of_values_is_linear_in_rows_and_labels() -> None:
    features, label = batch("regression")
    made, mixed_label = mixed(features, label, SEED, 0.4, LAYOUT, packed=False)
    # The share and the partner of each row, found from one feature, explain all the others.
    size, other = features["size_xf"].numpy()[:, 0], made["size_xf"].numpy()[:, 0]
    speed, truth = features["speed_xf"].numpy()[:, 0], label.numpy()[:, 0]
    explained = 0
    for row in range(64):
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = (other[row] - size) / (size[row] - size)  # By candidate partner.
        fits = [
            p
            for p in range(64)
            if 0.5 <= shares[p] <= 1
            and abs(shares[p] * speed[row] + (1 - shares[p]) * speed[p] - made["speed_xf"][row, 0])
            < 1e-4
            and abs(shares[p] * truth[row] + (1 - shares[p]) * truth[p] - mixed_label[row, 0])
            < 0.02
        ]
        explained += bool(fits) or bool(np.isclose(other[row], size[row]))
    assert explained == 64
    np.testing.assert_array_equal(made["shop_xf"], features["shop_xf"])
    np.testing.assert_allclose(tf.reduce_sum(made["review_weights_xf"], axis=1), 1.0, rtol=1e-6)
    assert made["review_ids_xf"].shape == (64, 4)


def test_a_multilabel_is_mixed_by_class() -> None:
    """Also one of three classes, which is as wide as a packed label."""
    label = tf.constant(np.random.default_rng(0).integers(0, 2, (64, 3)))
    spec = FeatureSpec("x_xf", "dense", 3, (3,))
    given = {"x_xf": tf.cast(label, tf.float32)}
    made, soft = mixed(given, label, SEED, 0.4, [spec], packed=False)
    np.testing.assert_allclose(soft, made["x_xf"])  # Of the same shares and partners.
    assert 0 < np.mean((soft > 0) & (soft < 1)) < 1
    entropy = -(soft * np.log(0.3) + (1 - soft) * np.log(0.7)).numpy().mean(axis=1)
    got = by_row("binary_crossentropy")(soft, tf.fill([64, 3], 0.3))
    np.testing.assert_allclose(got, entropy, rtol=1e-5)


def test_shares_are_betas_larger_half() -> None:
    label = tf.zeros([4000, 1], tf.int64)
    _, packed = mixed({}, label, SEED, 0.3, [], packed=True)
    drawn = np.random.default_rng(0).beta(0.3, 0.3, 100_000)
    wanted = np.maximum(drawn, 1 - drawn)
    share = packed.numpy()[:, 2]
    assert np.isfinite(share).all()
    assert share.mean() == pytest.approx(wanted.mean(), abs=0.01)
    assert np.quantile(share, 0.25) == pytest.approx(np.quantile(wanted, 0.25), abs=0.02)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_the_loss_of_a_packed_label_is_that_of_the_soft_one(task: str) -> None:
    import tf_keras

    rng = np.random.default_rng(1)
    share = rng.uniform(0.5, 1, (8, 1)).astype(np.float32)
    if task == "binary":
        one, other = rng.integers(0, 2, (2, 8, 1)).astype(np.float32)
        p = tf.constant(rng.uniform(0.1, 0.9, (8, 1)), tf.float32)
        loss = of_packed("binary_crossentropy")
        wanted = tf_keras.losses.binary_crossentropy(share * one + (1 - share) * other, p)
        hard = tf_keras.losses.binary_crossentropy(one, p)
    else:
        one, other = rng.integers(0, 3, (2, 8, 1)).astype(np.float32)
        p = tf.nn.softmax(tf.constant(rng.normal(size=(8, 3)), tf.float32))
        loss = of_packed("sparse_categorical_crossentropy")
        soft = sum(
            part * np.eye(3)[ids[:, 0].astype(int)]
            for part, ids in ((share, one), (1 - share, other))
        )
        wanted = tf_keras.losses.categorical_crossentropy(soft.astype(np.float32), p)
        hard = tf_keras.losses.sparse_categorical_crossentropy(one, p)
    packed = tf.concat([one, other, share], axis=1)
    np.testing.assert_allclose(loss(packed, p), wanted, rtol=1e-5)
    np.testing.assert_allclose(loss(tf.constant(one), p), hard, rtol=1e-6)  # As in validation.


def test_cutout_blackens_one_square() -> None:
    spec = FeatureSpec("photo_xf", "image", 12 * 12 * 3, (12, 12, 3))
    images = tf.ones([200, 12, 12, 3])
    made = cut_out({"photo_xf": images}, SEED, CutoutConfig(size_px=4, share=0.5), [spec])
    holes = made["photo_xf"].numpy()[..., 0] == 0
    cut = holes.any(axis=(1, 2))
    assert 60 < cut.sum() < 140
    for hole in holes[cut]:
        rows, columns = hole.any(axis=1), hole.any(axis=0)
        np.testing.assert_array_equal(hole, np.outer(rows, columns))  # A rectangle,
        assert 2 <= rows.sum() <= 4  # which the border may cut off.
        assert 2 <= columns.sum() <= 4
    assert len({tuple(hole.ravel()) for hole in holes[cut]}) > 20


@pytest.mark.parametrize("first", [0, 5])
def test_batches_follow_from_seed_and_step_and_validation_stays(first: int) -> None:
    data = split("binary", 64)

    def prepare(features: Any, label: Any, seed: Any) -> Any:
        made, _ = mixed(features, label, seed, 0.3, LAYOUT, packed=True)
        return made, seed

    def sizes(start: int, count: int) -> list[tuple[list[int], np.ndarray]]:
        batches = train_batches(data, 16, 17, start, prepare)
        return [
            (seed.numpy().tolist(), features["size_xf"].numpy())
            for features, seed in islice(batches, count)
        ]

    whole, resumed = sizes(0, 8), sizes(first, 8 - first)
    for (seed, one), (again, other) in zip(whole[first:], resumed, strict=True):
        assert seed == again
        np.testing.assert_array_equal(one, other)
    assert [seed for seed, _ in whole] == [[17, step] for step in range(8)]
    [(features, label)] = list(all_batches(data))
    assert data.held is not None
    np.testing.assert_array_equal(features["size_xf"], data.held.features["size_xf"])
    np.testing.assert_array_equal(label, data.held.label)
