"""Augmentation: seeded, within its bounds, and of the features that it is meant for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfx_pipeline.errors import ConfigError
from transform.augment import image, synonyms, tabular, text
from transform.augment.batch import augmenter
from transform.augment.config import AugmentConfig, ImageAugmentConfig, TextAugmentConfig
from transform.layout import FeatureSpec

SEED = tf.constant([17, 3], tf.int64)
OTHER = tf.constant([17, 4], tf.int64)


@pytest.fixture(scope="module")
def images() -> Any:
    return tf.constant(np.random.default_rng(1).random((40, 8, 10, 3)), tf.float32)


def changed(images: Any, seed: Any = SEED, **config: Any) -> np.ndarray:
    return image.changed(images, seed, ImageAugmentConfig(**config)).numpy()


@pytest.mark.parametrize(("flip", "axis"), [("horizontal", 2), ("vertical", 1)])
def test_a_flipped_image_is_the_mirrored_one(images: Any, flip: str, axis: int) -> None:
    made, plain = changed(images, flip=flip), images.numpy()
    mirrored = np.flip(plain, axis)
    flipped = np.array([np.allclose(a, b, atol=1e-5) for a, b in zip(made, mirrored, strict=True)])
    kept = np.array([np.allclose(a, b, atol=1e-5) for a, b in zip(made, plain, strict=True)])
    assert (flipped ^ kept).all()
    assert 8 < flipped.sum() < 32


def test_a_crop_is_a_window_and_a_turn_keeps_the_middle() -> None:
    ramp = np.tile(np.linspace(0, 1, 21, dtype=np.float32)[None, :, None], (30, 21, 1, 1))
    made = changed(tf.constant(ramp), crop=0.5)
    widths = made[:, 10, -1, 0] - made[:, 10, 0, 0]
    assert ((widths > 0.5 * 0.9) & (widths <= 1.0)).all()
    assert widths.std() > 0.05
    assert made[:, 10, 10, 0].std() > 0.02  # The window's middle moves.
    turned = changed(tf.constant(ramp), rotate=90.0)
    np.testing.assert_allclose(turned[:, 10, 10, 0], 0.5, atol=1e-4)
    slopes = turned[:, 10, 12, 0] - turned[:, 10, 8, 0]  # cos(angle) of the ramp's.
    assert slopes.max() > 0.15
    assert slopes.min() < 0.1


def test_colours_stay_colours(images: Any) -> None:
    made = changed(images, colour=0.4)
    assert made.min() >= 0
    assert made.max() <= 1
    assert np.abs(made - images.numpy()).mean() > 0.02
    grey = tf.ones([5, 4, 4, 1]) * 0.5
    assert changed(grey, colour=0.4).shape == (5, 4, 4, 1)


def test_erasing_fills_one_rectangle_of_some_images() -> None:
    black = tf.zeros([300, 20, 20, 1])
    holes = changed(black, erase=0.5)[..., 0] > 0
    erased = holes.any(axis=(1, 2))
    assert 100 < erased.sum() < 200
    areas = holes[erased].mean(axis=(1, 2))
    assert areas.max() < 0.3
    for hole in holes[erased]:
        np.testing.assert_array_equal(hole, np.outer(hole.any(axis=1), hole.any(axis=0)))


def test_the_seed_alone_decides(images: Any) -> None:
    everything = {"flip": "both", "crop": 0.2, "rotate": 20.0, "colour": 0.2, "erase": 0.5}
    one = changed(images, **everything)
    np.testing.assert_array_equal(one, changed(images, **everything))
    assert (one != changed(images, OTHER, **everything)).any()


def tokens() -> Any:
    rng = np.random.default_rng(2)
    ids = rng.integers(2, 50, (60, 12))
    ids[:, 9:] = 0
    return tf.constant(ids, tf.int64)


def test_tokens_are_lost_and_padding_is_not() -> None:
    ids = tokens()
    made = text.sequence(ids, SEED, TextAugmentConfig(dropout=0.3)).numpy()
    lost = made == 1
    assert not lost[:, 9:].any()
    assert lost[:, :9].mean() == pytest.approx(0.3, abs=0.07)
    np.testing.assert_array_equal(made[~lost], ids.numpy()[~lost])
    weights = tf.ones([60, 12])
    same, lighter = text.bag(ids, weights, SEED, TextAugmentConfig(dropout=0.3))
    np.testing.assert_array_equal(same, ids)
    assert (lighter.numpy() == 0).mean() == pytest.approx(0.3, abs=0.07)


def test_neighbours_change_places_and_none_is_lost() -> None:
    ids = tokens()
    made = text.sequence(ids, SEED, TextAugmentConfig(swap=0.5)).numpy()
    np.testing.assert_array_equal(np.sort(made, axis=1), np.sort(ids.numpy(), axis=1))
    assert (made[:, 9:] == 0).all()
    moved = made != ids.numpy()
    assert 0.2 < moved[:, :9].mean() < 0.6
    for row, was in zip(made, ids.numpy(), strict=True):
        for place in np.flatnonzero(row != was):
            assert row[place] in was[max(0, place - 1) : place + 2]


def test_synonyms_come_from_the_file_by_the_vocabulary(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("Film, movie , picture # of the cinema\n\nbad, awful, unheard\n")
    groups = synonyms.read_synonyms(file)
    assert groups == [["film", "movie", "picture"], ["bad", "awful", "unheard"]]
    words = [b"the", b"movie", b"film", b"bad", b"awful"]
    table = synonyms.table_of(groups, synonyms.vocabulary_ids(words, 2), 7)
    assert table is not None
    assert table[:, 0].tolist() == [-1, -1, -1, 4, 3, 6, 5]
    ids = tf.constant([[2, 3, 4, 5, 6, 1, 0]] * 50, tf.int64)
    made = text.sequence(ids, SEED, TextAugmentConfig(synonym_share=1.0), table).numpy()
    np.testing.assert_array_equal(made, [[2, 4, 3, 6, 5, 1, 0]] * 50)
    some = text.sequence(ids, SEED, TextAugmentConfig(synonym_share=0.2), table).numpy()
    assert (some[:, 1:5] != ids.numpy()[:, 1:5]).mean() == pytest.approx(0.2, abs=0.08)
    assert synonyms.table_of(groups, {"the": 0}, 3) is None


def test_synonyms_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        synonyms.read_synonyms(tmp_path / "none.txt")
    file = tmp_path / "words.txt"
    file.write_text("film, movie\nalone\n")
    with pytest.raises(ConfigError, match="'alone' has no synonym") as caught:
        synonyms.read_synonyms(file)
    assert caught.value.where.endswith("words.txt:2")


def test_noise_and_swaps_have_their_size() -> None:
    values = tf.constant(np.arange(2000.0)[:, None], tf.float32)
    noise = tabular.noisy(values, SEED, 0.5).numpy() - values.numpy()
    assert noise.std() == pytest.approx(0.5, abs=0.03)
    made = tabular.swapped(values, SEED, 0.25).numpy()
    assert (made != values.numpy()).mean() == pytest.approx(0.25, abs=0.04)
    assert set(made.ravel()) <= set(values.numpy().ravel())


def test_every_feature_is_changed_as_its_kind() -> None:
    layout = [
        FeatureSpec("size_xf", "dense", 1, (1,)),
        FeatureSpec("speed_xf", "dense", 4, (4,)),  # One-hot.
        FeatureSpec("size_missing_xf", "dense", 1, (1,)),
        FeatureSpec("shop_xf", "ids", 9, (1,)),
        FeatureSpec("signal_series_xf", "series", 6, (6, 1)),
        FeatureSpec("review_sequence_xf", "sequence", 50, (12,)),
        FeatureSpec("words_ids_xf", "bag", 50, (None,), "words_weights_xf"),
        FeatureSpec("photo_xf", "image", 64, (8, 8, 1)),
    ]
    rng = np.random.default_rng(4)
    batch = {
        "size_xf": tf.constant(rng.normal(size=(60, 1)), tf.float32),
        "speed_xf": tf.one_hot(rng.integers(0, 4, 60), 4),
        "size_missing_xf": tf.zeros([60, 1]),
        "shop_xf": tf.constant(rng.integers(0, 9, (60, 1))),
        "signal_series_xf": tf.constant(rng.normal(size=(60, 6, 1)), tf.float32),
        "review_sequence_xf": tokens(),
        "words_ids_xf": tokens(),
        "words_weights_xf": tf.ones([60, 12]),
        "photo_xf": tf.constant(rng.random((60, 8, 8, 1)), tf.float32),
    }

    def differing(**config: Any) -> set[str]:
        augment = tf.function(augmenter(AugmentConfig.model_validate(config), layout))
        made = augment(batch, SEED)
        assert made.keys() == batch.keys()
        return {name for name in batch if (made[name].numpy() != batch[name].numpy()).any()}

    assert differing(image={"flip": "both"}) == {"photo_xf"}
    assert differing(text={"dropout": 0.2}) == {"review_sequence_xf", "words_weights_xf"}
    assert differing(text={"swap": 0.5}) == {"review_sequence_xf"}
    assert differing(tabular={"noise": 0.1}) == {"size_xf", "signal_series_xf"}
    assert differing(tabular={"swap": 0.3}) == {"size_xf", "speed_xf", "shop_xf"}


def test_a_part_that_changes_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing of `image` is changed"):
        AugmentConfig.model_validate({"image": {}})
