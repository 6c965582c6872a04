"""A SavedModel as a layer: what has no Keras file, or comes from TF-Hub."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

from tfx_pipeline.errors import ConfigError

_SIGNATURE = "serving_default"


@tf_keras.saving.register_keras_serializable("assay")
class SavedEncoder(tf_keras.layers.Layer):
    """Calls a SavedModel on ids `[N, L]`; gives floats `[N, L, d]` or `[N, d]`.

    Its code stays in its folder: whoever loads a Keras file with this layer needs the folder too.
    What is exported for serving does not.

    Args:
        path: The folder. It is called itself, or by its signature `serving_default`, which then
            has one input and one output.

    Raises:
        ConfigError: The folder holds no SavedModel, or one that is not called so.
    """

    def __init__(self, path: str, **given: Any) -> None:
        super().__init__(**given)
        self.path = path
        try:
            self._loaded = tf.saved_model.load(path)
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise _refused(path, f"it does not load: {str(error).splitlines()[0][:200]}") from error
        self._dtype_of_ids = tf.int64
        self._output = ""
        if not callable(self._loaded):
            self._dtype_of_ids, self._output = _of_signature(self._loaded, path)
        elif found := _dtype_of_ids(self._loaded):
            self._dtype_of_ids = found
        for index, variable in enumerate(_variables(self._loaded)):
            # HDF5 keeps weights by name, and a tf.Module's may all be called `Variable`.
            variable._handle_name = f"{index}/{variable.name}"
            self.add_weight(
                name=variable.name.split(":")[0],
                shape=variable.shape,
                dtype=variable.dtype,
                trainable=variable.trainable,
                getter=lambda *_, variable=variable, **__: variable,
            )

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        ids = tf.cast(ids, self._dtype_of_ids)
        if not self._output:
            return self._loaded(ids)
        signature = self._loaded.signatures[_SIGNATURE]
        [name] = signature.structured_input_signature[1]
        return signature(**{name: ids})[self._output]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "path": self.path}


def _of_signature(loaded: Any, path: str) -> tuple[tf.DType, str]:
    """The dtype of a signature's one input, and the name of its one output."""
    signature = getattr(loaded, "signatures", {}).get(_SIGNATURE)
    if signature is None:
        raise _refused(path, f"it is not callable and has no signature {_SIGNATURE}")
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise _refused(
            path,
            f"{_SIGNATURE} maps {', '.join(sorted(inputs))} to {', '.join(sorted(outputs))}, not "
            "one tensor of ids to one",
        )
    return next(iter(inputs.values())).dtype, next(iter(outputs))


def _dtype_of_ids(loaded: Any) -> tf.DType | None:
    """What a callable SavedModel takes, if it tells."""
    for function in _functions(loaded):
        for spec in tf.nest.flatten(function.structured_input_signature[0]):
            if isinstance(spec, tf.TensorSpec):
                return spec.dtype
    return None


def _variables(loaded: Any) -> list[tf.Variable]:
    """The variables of what is called, each once."""
    found = {id(v): v for function in _functions(loaded) for v in function.variables}
    return list(found.values())


def _functions(loaded: Any) -> list[Any]:
    """The traced functions of what is called."""
    if not callable(loaded):
        return [loaded.signatures[_SIGNATURE]]
    call = loaded.__call__
    return list(getattr(call, "concrete_functions", []))


def _refused(path: str, what: str) -> ConfigError:
    return ConfigError(
        f"{path} is no encoder: {what}",
        where="model.text.pretrained.path",
        hint="Save a function of ids [N, L], int32 or int64, that gives [N, L, d] or [N, d].",
    )
