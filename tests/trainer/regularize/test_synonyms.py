"""Synonyms are looked up in the vocabulary that Transform made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tfx_pipeline.errors import ConfigError
from trainer.config import TrainConfig
from transform.layout import layout

pytestmark = pytest.mark.slow  # Data through TFT: seconds.


def prepare(binary: Any, folder: Path) -> Any:
    import tensorflow_transform as tft

    from trainer.regularize.batches import preparation

    train = TrainConfig.model_validate(
        {"augment": {"text": {"synonyms": "words.txt", "synonym_share": 1.0}}}
    )
    output = tft.TFTransformOutput(binary.graph)
    return preparation(train, binary.config, layout(binary.config, output), output, folder), output


def test_words_become_their_synonyms(binary: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    (tmp_path / "words.txt").write_text("good, fine, bad\n")  # As if: the answer is to be seen.
    function, output = prepare(binary, tmp_path)
    words = [word.decode() for word in output.vocabulary_by_name("review_vocabulary")]
    ids = tf.constant([[words.index("very"), words.index("good"), words.index("indeed")]])
    batch = {
        "size_xf": tf.zeros([1, 1]),
        "speed (km/h)_xf": tf.zeros([1, 4]),
        "my shop_xf": tf.zeros([1, 1], tf.int64),
        "review_ids_xf": tf.cast(ids, tf.int64),
        "review_weights_xf": tf.ones([1, 3]),
    }
    made, _ = function(batch, tf.ones([1, 1]), tf.constant([1, 2], tf.int64))
    assert [words[i] for i in made["review_ids_xf"][0]] == ["very", "bad", "indeed"]


def test_a_file_that_is_not_there_is_named(binary: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read.*words\.txt"):
        prepare(binary, tmp_path)
