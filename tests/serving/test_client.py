"""What the client does before a request leaves: examples, kinds, descriptors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from serving.client import encode_examples, load_kinds, load_model_info
from serving.client.generate_descriptors import main as generate_descriptors
from tfx_pipeline.errors import DataError


def _features(row: dict, kinds: dict | None = None) -> dict[str, tuple[str, list]]:
    """The row encoded by us and read by TensorFlow: name to (list's field, values)."""
    example = tf.train.Example.FromString(encode_examples([row], kinds)[0])
    return {
        name: (feature.WhichOneof("kind"), list(getattr(feature, feature.WhichOneof("kind")).value))
        for name, feature in example.features.feature.items()
    }


def test_python_types_choose_the_list() -> None:
    row = {"i": 3, "f": 1.5, "s": "é", "b": b"\0", "t": True, "n": np.int32(4), "l": [1.0, 2]}
    assert _features(row) == {
        "i": ("int64_list", [3]),
        "f": ("float_list", [1.5]),
        "s": ("bytes_list", ["é".encode()]),
        "b": ("bytes_list", [b"\0"]),
        "t": ("int64_list", [1]),
        "n": ("int64_list", [4]),
        "l": ("float_list", [1.0, 2.0]),
    }


def test_missing_values_are_left_out() -> None:
    row = {"a": None, "b": float("nan"), "c": "", "d": [], "e": np.float32("nan"), "f": "NaN"}
    assert _features(row, {"f": "float"}) == {}


def test_a_mark_for_missing_is_no_number_and_left_out() -> None:
    row = {"a": "?", "b": " ? ", "c": "?", "d": ["?", "1.5"], "e": b"?"}
    kinds = {"a": "float", "b": "int", "c": "bytes", "d": "float", "e": "int"}
    example = tf.train.Example.FromString(encode_examples([row], kinds, ["?"])[0])
    # Texts travel as they are: the model knows the marks.
    assert set(example.features.feature) == {"c", "d"}
    assert example.features.feature["d"].float_list.value == [1.5]
    with pytest.raises(DataError, match="'\\?' cannot be sent"):
        encode_examples([row], kinds)


def test_a_number_with_underscores_is_none() -> None:
    with pytest.raises(DataError):
        encode_examples([{"a": "1_000"}], {"a": "float"})
    with pytest.raises(DataError):
        encode_examples([{"a": "1_000"}], {"a": "int"})


def test_kinds_cast() -> None:
    row = {"a": "3.0", "b": "2.5", "c": 7, "d": True, "e": 2.0}
    kinds = {"a": "int", "b": "float", "c": "bytes", "d": "float", "e": "int"}
    assert _features(row, kinds) == {
        "a": ("int64_list", [3]),
        "b": ("float_list", [2.5]),
        "c": ("bytes_list", [b"7"]),
        "d": ("float_list", [1.0]),
        "e": ("int64_list", [2]),
    }


@pytest.mark.parametrize(
    ("value", "kind"), [("x", "float"), (2.5, "int"), ("2.5", "int"), (2**63, "int"), ({}, "bytes")]
)
def test_values_that_are_not_of_their_kind(value: object, kind: str) -> None:
    with pytest.raises(DataError) as caught:
        encode_examples([{"a": 1}, {"a": value}], {"a": kind})
    assert caught.value.where == "row 2, column a"
    assert caught.value.exit_code == 4


def test_unknown_kind() -> None:
    with pytest.raises(DataError, match="column a: 'string' is no kind"):
        encode_examples([{"a": 1}], {"a": "string"})


def test_kinds_come_from_the_newest_version(tmp_path: Path) -> None:
    for version, kind in (("9", "int"), ("10", "float")):
        folder = tmp_path / version / "assets.extra"
        folder.mkdir(parents=True)
        content = {"columns": {"fare": kind}, "label": "tips", "missing_values": ["?"]}
        (folder / "assay_signature.json").write_text(json.dumps(content))
    assert load_kinds(tmp_path) == {"fare": "float"}
    assert load_kinds(tmp_path / "9") == {"fare": "int"}
    assert load_model_info(tmp_path).label == "tips"
    assert load_model_info(tmp_path).missing_values == ("?",)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"columns": []}', '{"columns": {"a": "string"}}', "{}"]
)
def test_damaged_model_info(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "1" / "assets.extra"
    folder.mkdir(parents=True)
    (folder / "assay_signature.json").write_text(content)
    with pytest.raises(DataError, match="cannot read the columns of the model"):
        load_kinds(tmp_path)


def test_no_model_info(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the model folder"):
        load_kinds(tmp_path / "absent")
    with pytest.raises(DataError, match="no version of a model"):
        load_kinds(tmp_path)


def test_descriptors_are_fresh() -> None:
    assert generate_descriptors(["--check"]) == 0
