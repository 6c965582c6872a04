"""Masked-token pretraining: Transform's words and ids, hidden words, resuming, the folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.finetuning import language
from tfx_pipeline.errors import ConfigError, DataError


def test_words_are_split_and_ordered_as_transform_does() -> None:
    from trainer.pretrain import corpus

    split = corpus.split(["The cat, the DOG!", "a cat_2", "the cat"])
    assert split[0] == [b"the", b"cat", b"the", b"dog"]
    # By rows that have it; equals in reverse order of the alphabet, as Transform's vocabulary.
    assert corpus.vocabulary(split, 10, 1) == ["the", "cat", "dog", "cat_2", "a"]
    assert corpus.vocabulary(split, 10, 2) == ["the", "cat"]
    ids = corpus.ids(split, ["the", "cat"], 3)
    assert ids.tolist() == [[2, 3, 2], [1, 1, 0], [2, 3, 0]]
    with pytest.raises(DataError, match="no word stands in 4 of the 3 texts"):
        corpus.vocabulary(split, 10, 4)


def test_a_step_has_its_batch_whoever_asks() -> None:
    from trainer.pretrain import corpus

    rows = np.arange(50)[:, None]
    some = corpus.batches(rows, 8, seed=3, first_step=0)
    first = [next(some) for _ in range(10)]
    late = corpus.batches(rows, 8, seed=3, first_step=7)
    np.testing.assert_array_equal(next(late), first[7])
    assert len(np.unique(np.concatenate(first[:6]))) == 48


def test_fifteen_in_a_hundred_known_words_are_hidden() -> None:
    import tensorflow as tf

    from trainer.pretrain.masked import hide
    from transform.text import FIRST_TOKEN, UNKNOWN

    ids = np.random.default_rng(0).integers(0, 100, (2000, 20))
    seed = tf.constant([1, 2])
    seen, chosen = (tensor.numpy() for tensor in hide(tf.constant(ids), 99, seed))
    assert not chosen[ids < FIRST_TOKEN].any()
    np.testing.assert_array_equal(seen[~chosen], ids[~chosen])
    assert chosen[ids >= FIRST_TOKEN].mean() == pytest.approx(0.15, abs=0.01)
    now, was = seen[chosen], ids[chosen]
    assert (now == UNKNOWN).mean() == pytest.approx(0.8, abs=0.02)
    assert (now == was).mean() == pytest.approx(0.1, abs=0.02)
    assert now.max() == 99
    assert now[now != UNKNOWN].min() == FIRST_TOKEN
    again, _ = hide(tf.constant(ids), 99, seed)
    np.testing.assert_array_equal(again, seen)


@pytest.mark.slow
def test_it_learns_which_words_go_together(pretrained: Any, settings: Any) -> None:
    """Who knows the topic loses log(topics) nats less on a word of the topic."""
    possible = language.SHARE * np.log(language.TOPICS)
    assert pretrained.baseline - pretrained.loss > 0.5 * possible
    assert sorted(path.name for path in pretrained.folder.iterdir()) == [
        "config.json",
        "encoder.h5",
        "vocabulary.txt",
    ]
    written = json.loads((pretrained.folder / "config.json").read_text())
    assert written["sizes"]["ids"] == pretrained.words + 2
    assert written["held_out"]["loss"] == pretrained.loss


@pytest.mark.slow
def test_its_ids_are_those_of_the_transform_graph(labelled: Any, pretrained: Any) -> None:
    import tensorflow as tf
    import tensorflow_transform as tft

    from trainer.pretrain import corpus
    from transform.vocabulary_file import read_words

    graph = tft.TFTransformOutput(labelled.graph)
    words = read_words(pretrained.folder / "vocabulary.txt")
    assert [word.decode() for word in graph.vocabulary_by_name("review_vocabulary")] == words
    texts = list(labelled.raw["eval"]["review"])
    expected = corpus.ids(corpus.split(texts), words, language.LENGTH)
    layer = graph.transform_features_layer()
    made = layer({"review": tf.constant(texts)[:, tf.newaxis]})["review_sequence_xf"]
    np.testing.assert_array_equal(made, expected)


class _Killed(Exception):
    pass


@pytest.mark.slow
def test_a_killed_one_goes_on_and_ends_the_same(tmp_path: Path, settings: Any) -> None:
    from trainer.models.encoders.transformer_config import TransformerConfig
    from trainer.pretrain.pretrain import pretrain

    shape = TransformerConfig(blocks=1, heads=2, feedforward=1, dropout=0.3)
    small = dataclasses.replace(
        settings, shape=shape, width=8, batch_size=32, steps=8, report_steps=4
    )
    texts, _ = language.texts(300, seed=5)
    whole = pretrain(texts, small, tmp_path / "whole")

    def kill(progress: Any) -> None:
        raise _Killed

    output = tmp_path / "killed"
    output.mkdir()
    (output / "encoder.h5").write_bytes(b"an older one")
    steps: list[int] = []
    with pytest.raises(_Killed):
        pretrain(texts, small, output, kill)
    assert (output / "encoder.h5").read_bytes() == b"an older one"
    again = pretrain(texts, small, output, lambda now: steps.append(now.step))
    assert steps == [8]
    assert (again.loss, again.baseline) == (whole.loss, whole.baseline)
    ours, theirs = (_weights(tmp_path / name / "encoder.h5") for name in ("killed", "whole"))
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(our, their)
    assert len(list(output.iterdir())) == 3
    assert not list(tmp_path.glob(".*"))


def test_what_is_no_encoder_is_not_replaced(tmp_path: Path, settings: Any) -> None:
    from trainer.pretrain.pretrain import pretrain

    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="is there already, and no encoder"):
        pretrain(["a b"], settings, tmp_path)


def test_too_few_texts(tmp_path: Path, settings: Any) -> None:
    from trainer.pretrain.pretrain import pretrain

    with pytest.raises(DataError, match=r"19 texts with known .* fewer than one batch of 128"):
        pretrain(["red green blue"] * 20, settings, tmp_path / "encoder")


def _weights(path: Path) -> list[np.ndarray]:
    import tf_keras

    import trainer.models.encoders.transformer_layers  # noqa: F401  # It registers its layers.

    return tf_keras.models.load_model(path, compile=False).get_weights()
