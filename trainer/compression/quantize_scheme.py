"""TF-MOT's 8-bit scheme with what it lacks: kept zeros and clusters, and ranges that fit at once.

TF-MOT 0.8.1 has schemes for collaborative optimization. They are not used, because (all seen)

- they share one weight quantizer among all Dense layers, so that one layer without zeros (a head
  that was not pruned) makes every one lose its zeros;
- they give each channel of a clustered convolution centroids of its own where the channels happen
  to have about as many values: of 4 clusters in 8 channels 31 values were left;
- they are passed over in layers that stand in front of a Concatenate.

Its transforms of a Concatenate are left out: of two to six inputs they put those that come out of
layers in front of those that are the model's (seen: five inputs of a Dense swapped, AUC 0.57).

Its default scheme quantizes no kernel in front of a ReLU that is a layer of its own. And it starts
the range of every activation at -6 to 6, which a moving average with decay 0.999 leaves only after
thousands of steps: `Ranges` can be told to take those of one batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras import quant_ops, quantizers
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_configs,
    default_8bit_quantize_layout_transform,
    default_8bit_quantize_registry,
    default_8bit_quantize_scheme,
    default_8bit_transforms,
)
from tensorflow_model_optimization.python.core.quantization.keras.graph_transformations import (
    model_transformer,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantize_config import (
    QuantizeConfig,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import (
    QuantizeLayer,
)
from tensorflow_model_optimization.quantization.keras import QuantizeWrapperV2, quantize_scope

_DECAY = 0.99
_LARGEST_INT = 127  # Weights are symmetric and narrow: -127 to 127, and 0.0 is 0.


@dataclasses.dataclass(frozen=True)
class Preserve:
    """What of a kernel is kept through training.

    Attributes:
        zeros: Weights that are zero stay zero.
        clusters: A kernel of at most so many values keeps to as many; 0: not looked at.
    """

    zeros: bool = False
    clusters: int = 0

    def clustered(self, kernel: np.ndarray) -> bool:
        """Whether the kernel has few enough values to be kept to them."""
        return bool(self.clusters) and np.unique(kernel).size <= self.clusters < kernel.size

    def concerns(self, kernel: np.ndarray) -> bool:
        """Whether there is anything in the kernel to keep."""
        return (self.zeros and bool((kernel == 0).any())) or self.clustered(kernel)


class RefusedError(Exception):
    """Raised within `quantize_apply` for annotated layers that TF-MOT cannot quantize: `reasons`
    has them by name, as they are called after TF-MOT's transforms of the model."""

    def __init__(self, reasons: dict[str, str]) -> None:
        super().__init__(str(reasons))
        self.reasons = reasons


class Scheme(default_8bit_quantize_scheme.Default8BitQuantizeScheme):  # type: ignore[misc]
    """For `quantize_apply`; raises `RefusedError` out of it.

    Args:
        preserve: What is kept of kernels.
        entries: Names of identity layers that quantize what comes out of a layer left in float.
    """

    def __init__(self, preserve: Preserve, entries: Collection[str]) -> None:
        super().__init__()
        self._preserve = preserve
        self._entries = entries
        self.ranges = Ranges()

    def get_layout_transformer(self) -> _Layout:
        """TF-MOT's transforms (BatchNormalization folded, and so on), then our configs."""
        return _Layout(self._preserve, self._entries, self.ranges)

    def get_quantize_registry(self) -> _Decided:
        """All is decided by the layout's configs."""
        return _Decided()


@dataclasses.dataclass
class Ranges:
    """How fast the ranges of activations follow: at decay 0 they are those of the last batch."""

    decay: float = _DECAY


def supports(layer: tf_keras.layers.Layer) -> bool:
    """Whether TF-MOT's registry has the layer by itself, not as a part of a pattern."""
    return bool(_REGISTRY.supports(layer))


def has_numbers(layer: tf_keras.layers.Layer) -> bool:
    """Whether TF-MOT quantizes anything of the layer, and does not only hand int8 on (Flatten)."""
    if not supports(layer):
        return True  # A part of a pattern.
    config = _REGISTRY.get_quantize_config(layer)
    return bool(
        getattr(config, "weight_attrs", None)
        or getattr(config, "activation_attrs", None)
        or getattr(config, "quantize_output", False)
    )


def stored_int8(variable: tf.Variable, quantizer: Any, ranges: Mapping[str, Any]) -> np.ndarray:
    """The int8 values of a kernel in quantization-aware training, in the kernel's shape."""
    scale = np.asarray(ranges["max_var"]) / _LARGEST_INT
    values = np.asarray(quantizer(variable, False, weights=ranges))
    return np.rint(values / np.where(scale == 0, 1, scale)).astype(np.int8)


class Weights(quantizers.Quantizer):  # type: ignore[misc]
    """Quantizes a kernel as TF-MOT does, and in training keeps what it has of zeros and clusters.

    The weights of one cluster are set to their mean, so they get one gradient and move together;
    which weight is in which cluster stays. All channels of a clustered convolution have one range:
    with ranges of their own they would have as many int8 values for each centroid as channels.
    """

    def __init__(self, inner: Any, kernel: np.ndarray, preserve: Preserve) -> None:
        self._inner = inner
        values, places = np.unique(kernel, return_inverse=True)
        self.values = values.size if preserve.clustered(kernel) else 0
        self._places = places.reshape(-1).astype(np.int32) if self.values else None
        self.zeros = kernel == 0 if preserve.concerns(kernel) else np.zeros(kernel.shape, bool)
        self._kept = (~self.zeros).astype(np.float32) if self.zeros.any() else None

    def build(self, tensor_shape: Any, name: str, layer: Any) -> Any:
        return self._inner.build(tensor_shape, name, layer)

    def project(self, kernel: tf.Tensor) -> tf.Tensor:
        """The kernel with its zeros and clusters, which the last step may have moved."""
        kernel = tf.convert_to_tensor(kernel)
        if self._places is not None:
            flat = tf.reshape(kernel, [-1])
            means = tf.math.unsorted_segment_mean(flat, self._places, self.values)
            kernel = tf.reshape(tf.gather(means, self._places), kernel.shape)
        return kernel if self._kept is None else kernel * self._kept

    def __call__(self, inputs: Any, training: bool, weights: Any, **kwargs: Any) -> tf.Tensor:
        if not training:
            return self._inner(inputs, False, weights, **kwargs)
        kernel = self.project(inputs)
        if self._places is None:
            return self._inner(kernel, True, weights, **kwargs)
        limit = tf.reduce_max(tf.abs(kernel))
        for name, value in (("min_var", -limit), ("max_var", limit)):
            weights[name].assign(tf.fill(weights[name].shape, value))
        return self._inner(kernel, False, weights, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return dict(self._inner.get_config())


class _Activations(quantizers.MovingAverageQuantizer):  # type: ignore[misc]
    """TF-MOT's, with a decay that can be told."""

    def __init__(self, ranges: Ranges) -> None:
        super().__init__(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
        self._ranges = ranges

    def __call__(self, inputs: Any, training: bool, weights: Any, **kwargs: Any) -> tf.Tensor:
        return quant_ops.MovingAvgQuantize(
            inputs,
            weights["min_var"],
            weights["max_var"],
            ema_decay=self._ranges.decay,
            is_training=training,
        )


class _Config(QuantizeConfig):  # type: ignore[misc]
    """A config of TF-MOT with our quantizers in the place of its own."""

    def __init__(self, inner: Any, preserve: Preserve, ranges: Ranges) -> None:
        self._inner = inner
        self._preserve = preserve
        self._ranges = ranges
        self.quantize_output = True

    def get_weights_and_quantizers(self, layer: Any) -> list[Any]:
        return [
            (weight, Weights(quantizer, weight.numpy(), self._preserve))
            for weight, quantizer in self._inner.get_weights_and_quantizers(layer)
        ]

    def get_activations_and_quantizers(self, layer: Any) -> list[Any]:
        activations = self._inner.get_activations_and_quantizers(layer)
        return [(activation, _Activations(self._ranges)) for activation, _ in activations]

    def get_output_quantizers(self, layer: Any) -> list[Any]:
        outputs = self._inner.get_output_quantizers(layer) if self.quantize_output else []
        return [_Activations(self._ranges) for _ in outputs]

    def set_quantize_weights(self, layer: Any, quantize_weights: Any) -> None:
        self._inner.set_quantize_weights(layer, quantize_weights)

    def set_quantize_activations(self, layer: Any, quantize_activations: Any) -> None:
        self._inner.set_quantize_activations(layer, quantize_activations)

    def get_config(self) -> dict[str, Any]:
        return dict(self._inner.get_config())


_REGISTRY = default_8bit_quantize_registry.Default8BitQuantizeRegistry()


# TF-MOT's own, in its order, but for those of a Concatenate.
_TRANSFORMS = (
    default_8bit_transforms.InputLayerQuantize,
    default_8bit_transforms.SeparableConv1DQuantize,
    default_8bit_transforms.SeparableConvQuantize,
    default_8bit_transforms.Conv2DReshapeBatchNormReLUQuantize,
    default_8bit_transforms.Conv2DReshapeBatchNormActivationQuantize,
    default_8bit_transforms.Conv2DBatchNormReLUQuantize,
    default_8bit_transforms.Conv2DBatchNormActivationQuantize,
    default_8bit_transforms.Conv2DReshapeBatchNormQuantize,
    default_8bit_transforms.Conv2DBatchNormQuantize,
    default_8bit_transforms.DenseBatchNormQuantize,
    default_8bit_transforms.DenseBatchNormReLUQuantize,
    default_8bit_transforms.DenseBatchNormActivationQuantize,
    default_8bit_transforms.LayerReLUQuantize,
    default_8bit_transforms.LayerReluActivationQuantize,
)


class _Decided:
    def supports(self, layer: Any) -> bool:
        return False


class _Layout(default_8bit_quantize_layout_transform.Default8BitQuantizeLayoutTransform):  # type: ignore[misc]
    def __init__(self, preserve: Preserve, entries: Collection[str], ranges: Ranges) -> None:
        self._preserve = preserve
        self._entries = entries
        self._ranges = ranges

    def apply(self, model: Any, layer_quantize_map: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        transformer = model_transformer.ModelTransformer(
            model, [make() for make in _TRANSFORMS], set(layer_quantize_map), layer_quantize_map
        )
        model, decided = transformer.transform()
        refused = {}
        for layer in model.layers:
            if isinstance(layer, QuantizeLayer | tf_keras.layers.InputLayer):
                continue
            if layer.name not in decided:
                continue
            config = self._config(layer, decided[layer.name].get("quantize_config"))
            why = _trial(layer, config)
            if why:
                refused[layer.name] = why
            decided[layer.name] = {"quantize_config": _Config(config, self._preserve, self._ranges)}
        if refused:
            raise RefusedError(refused)
        for layer in model.layers:
            if layer.name in decided and isinstance(layer, tf_keras.layers.Concatenate):
                _quantize_once(layer, decided)
        return model, decided

    def _config(self, layer: Any, config: Any) -> Any:
        """TF-MOT's config of a layer; None where it has none."""
        if layer.name in self._entries:
            return default_8bit_quantize_configs.Default8BitOutputQuantizeConfig()
        if not _REGISTRY.supports(layer):
            return config
        usual = _REGISTRY.get_quantize_config(layer)
        no_op = isinstance(config, default_8bit_quantize_configs.NoOpQuantizeConfig)
        if no_op and getattr(usual, "weight_attrs", None):
            # In front of a ReLU: its output alone is left to that.
            return type(usual)(usual.weight_attrs, [], False)
        return config or usual


def _quantize_once(concatenate: Any, decided: dict[str, Any]) -> None:
    """Leaves quantizing to a Concatenate, for layers in front of it that feed nothing else."""
    for producer in tf.nest.flatten(concatenate.inbound_nodes[0].inbound_layers):
        if len(producer.outbound_nodes) > 1:
            continue
        if isinstance(producer, QuantizeLayer):
            decided[producer.name] = {"quantizer": None}
        elif producer.name in decided:
            decided[producer.name]["quantize_config"].quantize_output = False


def _trial(layer: Any, config: Any) -> str:
    """Why TF-MOT cannot quantize a copy of the layer by itself; "" where it can."""
    if config is None:
        return f"TF-MOT cannot quantize a {type(layer).__name__} here"
    try:
        with quantize_scope():
            copy = type(layer).from_config(layer.get_config())
            QuantizeWrapperV2(copy, config)(
                tf.nest.map_structure(
                    lambda tensor: tf_keras.Input(tensor.shape[1:], dtype=tensor.dtype),
                    layer.inbound_nodes[0].input_tensors,
                )
            )
    except Exception as error:  # noqa: BLE001  # TF-MOT has no errors of its own.
        return f"TF-MOT says: {error}"
    return ""
