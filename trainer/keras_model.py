"""A trained model from its `keras_model.h5`, also in a process that has not trained it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfx_pipeline.errors import NodeFailed
from transform.user_code import load

if TYPE_CHECKING:
    import tf_keras


def load_keras(path: Path, functions: Sequence[str | None], folder: Path) -> tf_keras.Model:
    """The model, not compiled; its variables are made in the strategy scope of the caller, if any.

    Args:
        path: The `.h5` file: from transformed features to predictions.
        functions: The config's `model.builder` and `train.run_fn`. Their modules are imported
            first, because they register the user's own layers; None: there is no such function.
        folder: Where `file.py:function` starts from.

    Raises:
        ConfigError: A function cannot be imported.
        NodeFailed: The file does not load.
    """
    import tf_keras

    import trainer.models.encoders.pretrained_saved
    import trainer.models.encoders.tokens
    import trainer.models.encoders.transformer_layers  # noqa: F401  # They register their layers.

    for function in functions:
        if function is not None:
            load(function, folder)
    try:
        return tf_keras.models.load_model(str(path), compile=False)
    except Exception as error:
        said = str(error).strip().splitlines() or [""]
        raise NodeFailed(
            f"the trained model does not load: {type(error).__name__}: {said[0][:200]}",
            where=str(path),
            hint="Register your own layers with tf_keras.saving.register_keras_serializable, in "
            "the file of your model.builder or train.run_fn or in one that it imports.",
        ) from error
