"""Keras 3 functional models to tf_keras and back: by an allow-list of layers, then compared.

TF-MOT prunes and quantizes tf_keras only. The usual layers mean the same in both; each is made
again from its config and given the same weights. What is not on the list is refused by name, and
what was converted counts only once its answers on rows are those of its source.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tfx_pipeline.errors import AssayError, ConfigError

if TYPE_CHECKING:
    import keras
    import tf_keras

_NAMES = (
    "Dense Conv1D Conv2D Conv2DTranspose DepthwiseConv2D SeparableConv2D Embedding LSTM GRU "
    "BatchNormalization LayerNormalization Rescaling "
    "Activation ReLU LeakyReLU PReLU ELU Softmax Dropout SpatialDropout2D GaussianNoise "
    "Add Subtract Multiply Average Maximum Minimum Concatenate Dot "
    "Flatten Reshape Permute ZeroPadding2D UpSampling2D "
    "MaxPooling1D MaxPooling2D AveragePooling1D AveragePooling2D GlobalMaxPooling1D "
    "GlobalMaxPooling2D GlobalAveragePooling1D GlobalAveragePooling2D"
)
LAYERS = frozenset(_NAMES.split())
"""Layers that convert, by class name; `InputLayer` besides."""

# Settings that one Keras calls by another name.
_RENAMED = {
    "tf_keras": {"LeakyReLU": {"negative_slope": "alpha"}},
    "keras": {"LeakyReLU": {"alpha": "negative_slope"}},
}
# A setting that the other Keras does not have may be dropped where it has this value, None or
# False: that is what the other one does.
_NEUTRAL = {
    "data_format": "channels_last",
    "groups": 1,
    "renorm_momentum": 0.99,
    "use_cudnn": "auto",
}
# Said elsewhere (dtype, trainable), or of no weight once the weights are copied.
_DROPPED = ("batch_input_shape", "dtype", "implementation", "seed", "trainable")
_COMPARED_ROWS = 256

_Ref = tuple[str, int, int]  # Layer, its call, and which tensor of the call's result.
_Arguments = _Ref | list[_Ref]
_Call = tuple[str, int, _Arguments]  # Layer, which call of it, and on what.


def to_tf_keras(
    model: keras.Model, rows: Mapping[str, np.ndarray], tolerance: float = 1e-5
) -> tf_keras.Model:
    """Converts a Keras 3 model, functional or a built Sequential, with its weights.

    Initializers and seeds are not carried over: the weights are.

    Args:
        model: Of layers in `LAYERS`, called as layers (no arithmetic on tensors, no nesting).
        rows: Real rows, model inputs by name [N, ...], to compare on.
        tolerance: Largest difference of an output, relative to the largest output (at least 1).

    Returns:
        A tf_keras functional model that takes a dict of inputs by name.

    Raises:
        ConfigError: A layer outside the list, or a setting that the other Keras does not have;
            `where` says which of how many layers it is.
        AssayError: The two models answer differently, or with NaN.
    """
    import tf_keras

    return _converted(model, tf_keras, _keras3_calls, rows, tolerance)


def to_keras3(
    model: tf_keras.Model, rows: Mapping[str, np.ndarray], tolerance: float = 1e-5
) -> keras.Model:
    """The way back; arguments and errors as of `to_tf_keras`. Returns a Keras 3 functional model
    that takes a dict of inputs by name."""
    import keras

    return _converted(model, keras, _tf_keras_calls, rows, tolerance)


def is_keras3(model: object) -> bool:
    """Whether it is a model of Keras 3, without importing it."""
    ancestors = [(cls.__module__.split(".")[0], cls.__name__) for cls in type(model).__mro__]
    return ("keras", "Model") in ancestors


def made_up_rows(model: keras.Model, count: int = 32) -> dict[str, np.ndarray]:
    """Rows to compare on where there are no real ones: normal numbers, and id 0."""
    rng = np.random.default_rng(0)
    rows = {}
    for tensor in model.inputs:
        shape = [count, *(size or 2 for size in tensor.shape[1:])]
        floats = np.issubdtype(np.dtype(str(tensor.dtype)), np.floating)
        values = rng.normal(size=shape) if floats else np.zeros(shape)
        rows[tensor.name] = values.astype(str(tensor.dtype))
    return rows


def _converted(
    model: Any,
    to: ModuleType,
    calls_of: Callable[[dict[str, Any], str], list[_Arguments]],
    rows: Mapping[str, np.ndarray],
    tolerance: float,
) -> Any:
    """The model, made again of the layers of the Keras `to`."""
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise ConfigError(
            f"model {model.name!r} is subclassed or unbuilt, and cannot be converted to "
            f"{_title(to)}",
            hint="Build it as a functional model: Model(inputs, outputs).",
        )
    if type(model).__name__ != "Functional":
        # A Sequential's config has no calls; the functional model of the same layers has.
        functional = next(c for c in type(model).__mro__ if c.__name__ == "Model")
        model = functional(model.inputs, model.outputs, name=model.name)
    entries = model.get_config()["layers"]
    inputs: dict[str, Any] = {}
    layers: dict[str, Any] = {}
    calls: list[_Call] = []
    for number, entry in enumerate(entries, 1):
        name = entry["config"]["name"]
        where = f"model {model.name!r}, layer {number} of {len(entries)}: {name!r}"
        if entry["class_name"] == "InputLayer":
            inputs[name] = _input(entry["config"], to, where)
            continue
        layers[name] = _layer(entry, to, where)
        calls += [(name, index, given) for index, given in enumerate(calls_of(entry, where))]
    tensors = _wire(inputs, layers, calls)
    outputs = [tensors[ref] for ref in _refs(model.get_config()["output_layers"])]
    made = to.Model(inputs, outputs if len(outputs) > 1 else outputs[0], name=model.name)
    for name, layer in layers.items():
        source = model.get_layer(name)
        layer.trainable = source.trainable
        if source.weights:
            layer.set_weights(source.get_weights())
    _compare(model, made, rows, tolerance)
    return made


def _wire(
    inputs: Mapping[str, Any], layers: Mapping[str, Any], calls: list[_Call]
) -> dict[_Ref, Any]:
    """Calls the layers, each once all that it is called on is there; the tensors that come out."""
    tensors = {(name, 0, 0): tensor for name, tensor in inputs.items()}
    while calls:
        waiting = []
        for name, index, refs in calls:
            needed = refs if isinstance(refs, list) else [refs]
            if not all(ref in tensors for ref in needed):
                waiting.append((name, index, refs))
                continue
            given = [tensors[ref] for ref in needed]
            result = layers[name](given if isinstance(refs, list) else given[0])
            results = result if isinstance(result, list | tuple) else [result]
            tensors.update({(name, index, i): each for i, each in enumerate(results)})
        assert len(waiting) < len(calls), waiting  # A functional model has no circles.
        calls = waiting
    return tensors


def _input(config: Mapping[str, Any], to: ModuleType, where: str) -> Any:
    if config.get("sparse") or config.get("ragged"):
        raise ConfigError("a sparse or ragged input does not convert", where=where)
    shape = config.get("batch_shape") or config["batch_input_shape"]
    return to.Input(tuple(shape[1:]), dtype=config["dtype"], name=config["name"])


def _layer(entry: Mapping[str, Any], to: ModuleType, where: str) -> Any:
    """The layer of the other Keras that an entry of a functional config describes."""
    kind, config = entry["class_name"], entry["config"]
    if kind not in LAYERS or entry["module"] != "keras.layers":
        what = f"{kind} (as mask_zero=True makes it)" if kind == "NotEqual" else kind
        raise ConfigError(
            f"{what} is not on the list of layers that convert to {_title(to)}",
            where=where,
            hint="Write the model in tf_keras, or of these layers alone (Add in place of `+`, no "
            f"model inside another): {', '.join(sorted(LAYERS))}.",
        )
    target = getattr(to.layers, kind)
    known = _settings(target)
    renamed = _RENAMED[to.__name__].get(kind, {})
    kept: dict[str, Any] = {}
    for given, value in config.items():
        key = renamed.get(given, given)
        if given == "dtype":
            _check_dtype(value, where)
        if given in _DROPPED or given.endswith("_initializer"):
            continue
        if kind == "BatchNormalization" and given == "axis" and isinstance(value, list):
            value = value[0]  # tf_keras keeps a list of one axis.
        if key in known:
            kept[key] = _value(given, value, to, where)
        elif value is not None and value is not False and value != _NEUTRAL.get(given):
            raise ConfigError(
                f"{kind} has {given}={value!r}, which {_title(to)} does not have", where=where
            )
    return target(**kept)


def _settings(layer_class: type) -> set[str]:
    """What a layer can be made with: of its ancestors' settings those that it hands on."""
    known: set[str] = set()
    for cls in layer_class.__mro__:
        parameters = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
        known |= set(parameters)
        if all(each.kind is not each.VAR_KEYWORD for each in parameters.values()):
            break
    return known


def _value(key: str, value: Any, to: ModuleType, where: str) -> Any:
    """A setting of a layer for the other Keras: plain values, and L1 and L2 penalties."""
    if not isinstance(value, dict):
        return value
    if key.endswith("_regularizer") and value["class_name"] in ("L1", "L2", "L1L2"):
        return getattr(to.regularizers, value["class_name"])(**value["config"])
    raise ConfigError(
        f"{key}={value.get('class_name', 'dict')} does not convert to {_title(to)}", where=where
    )


def _check_dtype(dtype: Any, where: str) -> None:
    """Refuses layers that compute in anything but float32 (Keras 3 writes a policy)."""
    name = dtype["config"]["name"] if isinstance(dtype, dict) else dtype
    if name != "float32":
        raise ConfigError(f"it computes in {name}; only float32 converts", where=where)


def _keras3_calls(entry: Mapping[str, Any], where: str) -> list[_Arguments]:
    """What the layer was called on, call by call."""
    calls: list[_Arguments] = []
    for node in entry["inbound_nodes"]:
        # Keras 3 writes the defaults of `training` and `mask`, and its models overrule the first.
        extra = {k: v for k, v in node["kwargs"].items() if k != "training" and v is not None}
        if extra or len(node["args"]) != 1:
            raise _more_arguments(extra, where)
        argument = node["args"][0]
        if isinstance(argument, list):
            calls.append([_keras3_ref(tensor, where) for tensor in argument])
        else:
            calls.append(_keras3_ref(argument, where))
    return calls


def _keras3_ref(tensor: Any, where: str) -> _Ref:
    if not isinstance(tensor, dict) or tensor.get("class_name") != "__keras_tensor__":
        raise _more_arguments({"a constant": tensor}, where)
    layer, call, index = tensor["config"]["keras_history"]
    return layer, call, index


def _tf_keras_calls(entry: Mapping[str, Any], where: str) -> list[_Arguments]:
    """What the layer was called on, call by call."""
    calls: list[_Arguments] = []
    for node in entry["inbound_nodes"]:
        for *_, keywords in node:
            extra = {key: value for key, value in keywords.items() if value is not None}
            if extra:
                raise _more_arguments(extra, where)
        refs = [(layer, call, index) for layer, call, index, _ in node]
        calls.append(refs if len(refs) > 1 else refs[0])
    return calls


def _more_arguments(extra: Mapping[str, Any], where: str) -> ConfigError:
    more = ", ".join(extra) or "several arguments"
    return ConfigError(f"it is called with {more}, which does not convert", where=where)


def _refs(given: Any) -> Iterator[_Ref]:
    """The tensors in `output_layers`: one, or a list or dict of them."""
    if isinstance(given, Mapping):
        given = list(given.values())
    if isinstance(given[0], str):
        yield given[0], given[1], given[2]
        return
    for each in given:
        yield from _refs(each)


def _compare(source: Any, made: Any, rows: Mapping[str, np.ndarray], tolerance: float) -> None:
    """Raises unless both models answer alike on the first rows."""
    missing = [tensor.name for tensor in source.inputs if tensor.name not in rows]
    if missing:
        raise ConfigError(
            f"the model has an input {missing[0]!r}, which is not a transformed feature",
            hint=f"Name each input after a feature: {', '.join(sorted(rows))}.",
        )
    before, after = _answers(source, rows), _answers(made, rows)
    for one, other in zip(before, after, strict=True):
        difference = float(np.max(np.abs(one - other), initial=0.0))
        limit = tolerance * max(1.0, float(np.max(np.abs(one), initial=0.0)))
        if not difference <= limit:  # Also where it is NaN.
            raise AssayError(
                f"the converted model {made.name!r} answers differently from its source: by "
                f"{difference:.3g} where {limit:.3g} is allowed",
                hint="Write the model in tf_keras. If every layer in it is a usual one, this is a "
                "defect of the converter: please report it.",
            )


def _answers(model: Any, rows: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    import tensorflow as tf

    inputs = tf.nest.map_structure(lambda tensor: rows[tensor.name][:_COMPARED_ROWS], model.input)
    return [np.asarray(output) for output in tf.nest.flatten(model(inputs, training=False))]


def _title(library: ModuleType) -> str:
    return "Keras 3" if library.__name__ == "keras" else "tf_keras"
