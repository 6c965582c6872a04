"""A candidate as what a server loads: a SavedModel and, beside it, the core that LiteRT runs.

The pair in one folder:

- `serving_default` of the SavedModel answers by its own graph, the plain form, which every
  TensorFlow Serving runs. It holds the compressed weights: those of a core with int8 or float16
  weights as the core stores them, those of a model quantized in training with its fake-quant nodes.
- `assets.extra/core.tflite` is the dense core, from the model's inputs (transformed features) to
  its predictions; `assets.extra/assay_core.json` says so. `serving.server.paired` answers
  `serving_default` by the signature `core_inputs`, the core, and `core_answer`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from tensorflow.core.function.polymorphism.function_type import sanitize_arg_name

from tfx_pipeline.errors import NodeFailed
from trainer.compression import dequantize
from trainer.compression.candidate import CORE_FILE, Compressed
from trainer.compression.context import Context
from trainer.compression.kernels import leaves
from trainer.export import export

if TYPE_CHECKING:
    import tf_keras

DESCRIPTION_FILE = "assets.extra/assay_core.json"
FORMAT = 1
"""Of `DESCRIPTION_FILE`: what `serving.server.paired` reads."""


def export_candidate(
    compressed: Compressed, core: bytes | None, context: Context, folder: Path
) -> tuple[str, ...]:
    """Writes a candidate's folder, whole or not at all.

    Args:
        compressed: The candidate. Its model is as before when this returns.
        core: Its TFLite core, inputs named after the model's; None: there is none.
        context: The transform graph (required here), features and label.
        folder: The candidate's folder; one that exists is replaced.

    Returns:
        What a reader of the ladder must know: kernels that the plain form holds in float because
        the core has no weights that are theirs.

    Raises:
        StorageError: The folder cannot be written.
    """
    if context.tft_output is None:
        raise ValueError("a SavedModel needs the transform graph")
    model = compressed.model
    notes: tuple[str, ...] = ()
    weights: AbstractContextManager[None] = nullcontext()
    extra: dict[str, bytes] = {}
    if core is not None:
        if compressed.numbers != "float32" and not trained_quantized(model):
            values, missing = dequantize.stored(model, core)
            weights = dequantize.holding(model, values)
            notes = tuple(f"{name} is float in the plain form" for name in missing)
        extra = {
            Path(CORE_FILE).name: core,
            Path(DESCRIPTION_FILE).name: describe(core, compressed),
        }
    with weights:
        export(
            model,
            context.tft_output,
            context.layout,
            context.transform,
            str(folder),
            core_signatures=core is not None,
            extra=extra,
        )
    return notes


def describe(core: bytes, compressed: Compressed) -> bytes:
    """The content of `assay_core.json`.

    Raises:
        NodeFailed: The core's inputs or output are not the model's.
    """
    description = {
        "format": FORMAT,
        "sha256": hashlib.sha256(core).hexdigest(),
        "numbers": compressed.numbers,
        "inputs": _input_names(core, compressed.model.input_names),
    }
    return json.dumps(description, indent=2).encode()


def _input_names(core: bytes, model_inputs: Sequence[str]) -> dict[str, str]:
    """What the core calls each input of the model: the same, or what TensorFlow makes of a name
    that is no identifier."""
    from ai_edge_litert.interpreter import Interpreter

    (signature,) = Interpreter(model_content=core).get_signature_list().values()
    names = {
        name: name if name in signature["inputs"] else sanitize_arg_name(name)
        for name in model_inputs
    }
    if sorted(names.values()) != sorted(signature["inputs"]):
        raise NodeFailed(
            f"the core has the inputs {', '.join(sorted(signature['inputs']))}, and the model "
            f"{', '.join(sorted(names))}",
            hint="Name the columns with letters, digits and underscores.",
        )
    if signature["outputs"] != ["predictions"]:
        raise NodeFailed(f"the core gives {signature['outputs']}, and not `predictions`")
    return names


def trained_quantized(model: tf_keras.Model) -> bool:
    """Whether a model has the layers of quantization-aware training, which round its weights."""
    return any(type(layer).__name__.startswith("QuantizeWrapper") for layer in leaves(model))
