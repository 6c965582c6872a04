"""Two towers: a user's features and an item each become a vector, and their product is the score.

In training the items of a batch are one another's negatives (`trainer.recommend.catalog`). What is
exported scores the whole catalog: the items' vectors are the kernel of a Dense head, so that gates,
calibration, TF-MOT and TFLite see a classifier like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_pipeline.errors import ConfigError
from trainer.models.features import encoded
from trainer.models.layers import HEAD, dense, dense_stack, joined, l2
from trainer.recommend.config import TwoTowerConfig
from trainer.recommend.items import read_items, without_features
from transform.layout import FeatureSpec

if TYPE_CHECKING:
    import tf_keras

    from trainer.config import TrainConfig
    from trainer.models.registry import BuildConfig

CATALOG = "items"
USER = "user"


def build_model(features: Sequence[FeatureSpec], config: BuildConfig) -> tf_keras.Model:
    """Builds the network in the form it is trained in; arguments and result as in `dnn`.

    Raises:
        ConfigError: The label is not multiclass, or the items' file cannot be read.
        DataError: An item has no row in it, or two.
    """
    import tf_keras

    from trainer.recommend.catalog import Catalog

    sizes = config.model.two_tower or TwoTowerConfig()
    if config.task != "multiclass":
        raise ConfigError(
            f"model.family: two_tower learns which item is chosen, and the label is {config.task}",
            where="model.family",
            hint="Make the item's id the label (data.label.task: multiclass, classes: the ids), or "
            "rank items by `family: ranking` or dcn.",
        )
    items = without_features(config.outputs)
    if sizes.items is not None and config.label is not None:
        path = config.folder / Path(sizes.items).expanduser()
        items = read_items(path, config.label.classes, config.label.column)
    made = encoded(features, config)
    user = dense(dense_stack(joined(made.vectors.values()), config), sizes.dim, config, USER)
    if sizes.normalize:
        user = tf_keras.layers.UnitNormalization(dtype="float32", name=f"{USER}_length_1")(user)
    catalog = Catalog(
        items,
        sizes,
        config.model.activation,
        config.model.embedding_max_dim,
        l2(config),
        name=CATALOG,
    )
    return tf_keras.Model(made.inputs, catalog(user), name="two_tower")


def check(train: TrainConfig) -> None:
    """Checks that nothing in the `train` section changes a loss that this family does not have.

    Raises:
        ConfigError: Something does.
    """
    given = {
        "loss": train.loss != "auto",
        "class_weights": train.class_weights is not None,
        "label_smoothing": train.label_smoothing > 0,
        "mixup": train.mixup is not None,
    }
    for name in (name for name, is_given in given.items() if is_given):
        raise ConfigError(
            f"train.{name} does not go with model.family: two_tower, whose loss is the softmax "
            "over the items of the batch",
            where=f"train.{name}",
            hint="Drop it.",
        )


def make_loss(model: tf_keras.Model, counts: Sequence[int]) -> Callable[..., Any]:
    """What training minimizes, for `Model.compile`.

    Args:
        model: From `build_model`.
        counts: Training rows of each item [C].
    """
    from trainer.recommend.catalog import in_batch_softmax

    return in_batch_softmax(model.get_layer(CATALOG), counts)


def served(model: tf_keras.Model) -> tf_keras.Model:
    """The trained model in the form it is exported in, with the same answers.

    Its last layer is a Dense one: the items' vectors over the temperature, and a bias of zeros.
    """
    import tensorflow as tf
    import tf_keras

    catalog = model.get_layer(CATALOG)
    count = catalog.items.count
    vectors = catalog.vectors(tf.range(count, dtype=tf.int64)) / catalog.sizes.temperature
    head = tf_keras.layers.Dense(count, "softmax", dtype="float32", name=HEAD)
    result = tf_keras.Model(model.input, head(catalog.input), name=model.name)
    head.set_weights([tf.transpose(vectors).numpy(), tf.zeros([count]).numpy()])
    return result
