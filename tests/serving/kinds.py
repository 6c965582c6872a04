"""`kinds`: a model with a signature for every kind of value that a request can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DTYPES = ["float", "double", "half", "bfloat16", "int32", "uint8", "int8", "int16", "int64"]
DTYPES += ["uint32", "uint64", "uint16", "bool", "string", "complex64"]
_NAMES = {"float": "float32", "double": "float64", "half": "float16"}


def export_kinds(path: Path) -> None:
    """One graph; a signature `<dtype>` for each dtype that returns its input `x` as `y`.

    Also `two` of two inputs, `scalar`, `uneven` and `constant` whose outputs have no row a row,
    `refusing`, which fails at values below 0, `classify` and `regress`.
    """
    import tensorflow as tf

    tf1 = tf.compat.v1
    info, signature = tf1.saved_model.build_tensor_info, tf1.saved_model.build_signature_def

    def build(inputs: dict[str, Any], outputs: dict[str, Any], method: str = "predict") -> Any:
        return signature(
            {name: info(tensor) for name, tensor in inputs.items()},
            {name: info(tensor) for name, tensor in outputs.items()},
            f"tensorflow/serving/{method}",
        )

    with tf.Graph().as_default(), tf1.Session() as session:
        signatures = {}
        for name in DTYPES:
            x = tf1.placeholder(_NAMES.get(name, name), tf.TensorShape(None), name=name)
            signatures[name] = build({"x": x}, {"y": tf.identity(x)})
        x = tf1.placeholder(tf.float32, [None, 2], name="pairs")
        word = tf1.placeholder(tf.string, [None], name="word")
        signatures["serving_default"] = build({"x": x}, {"y": tf.reduce_sum(x, 1)})
        signatures["two"] = build(
            {"x": x, "word": word}, {"doubled": 2 * x, "word_bytes": tf.identity(word)}
        )
        signatures["scalar"] = build({"x": x}, {"total": tf.reduce_sum(x)})
        signatures["uneven"] = build({"x": x}, {"a": 2 * x, "b": x[:1]})
        signatures["constant"] = build({}, {"y": tf.constant([1.0])})
        with tf.control_dependencies([tf.debugging.assert_positive(x, "not positive")]):
            signatures["refusing"] = build({"x": x}, {"y": tf.identity(x)})

        serialized = tf1.placeholder(tf.string, [None], name="examples")
        parsed = tf.io.parse_example(serialized, {"x": tf.io.FixedLenFeature([], tf.float32, 0.5)})
        high = parsed["x"]
        labels = tf.tile(tf.constant([[b"low", b"high"]]), [tf.size(high), 1])
        signatures["classify"] = build(
            {"inputs": serialized},
            {"classes": labels, "scores": tf.stack([1 - high, high], 1)},
            "classify",
        )
        signatures["regress"] = build({"inputs": serialized}, {"outputs": high / 2}, "regress")
        builder = tf1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()
