"""Loading and calling the functions that a user names in the config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.transform.table import CONFIG
from tfx_pipeline.errors import ConfigError, DataError, NodeFailed
from transform import user_code
from transform.preprocessing import preprocessing_fn

SOURCE = """
import tensorflow as tf
from neighbour import TWO

def double(x):
    return TWO * x

def preprocessing_fn(inputs, custom_config):
    return {"label_xf": inputs["y"], "extra": tf.constant(custom_config["extra"])}

def raises(inputs):
    rate = 1
    return rate / 0

def refuses(inputs):
    from tfx_pipeline.errors import DataError
    raise DataError("column 'y' is all zeros")

def returns_nothing(inputs):
    pass

CONSTANT = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(SOURCE)
    (tmp_path / "neighbour.py").write_text("TWO = 2\n")
    return tmp_path


def config(path: str, folder: Path) -> dict[str, Any]:
    dump = CONFIG.model_dump(mode="json")
    dump["features"]["preprocessing_fn"] = path
    return {"transform": dump, "folder": str(folder), "extra": 5.0}


def test_a_function_in_a_file_is_called_with_inputs_and_config(folder: Path) -> None:
    assert user_code.load("mine.py:double", folder)(4) == 8
    given = config("mine.py:preprocessing_fn", folder)
    outputs = preprocessing_fn({"y": tf.constant([[1.0], [-999.0]])}, given)
    assert outputs["extra"].numpy() == 5.0
    # What means missing does so to the user's function too: the config has the mark -999.
    np.testing.assert_array_equal(outputs["label_xf"], [[1.0], [np.nan]])


def test_an_edited_file_is_read_again_and_has_another_fingerprint(folder: Path) -> None:
    before = user_code.fingerprint("mine.py:double", folder)
    (folder / "mine.py").write_text("def double(x):\n    return 3 * x\n")
    assert user_code.load("mine.py:double", folder)(4) == 12
    assert user_code.fingerprint("mine.py:double", folder) != before


def test_an_import_path_is_imported(folder: Path) -> None:
    import json

    assert user_code.load("json.dumps", folder) is json.dumps


@pytest.mark.parametrize(
    ("path", "says", "hint"),
    [
        ("mine.py:doubel", "no function 'doubel'", "Did you mean 'double'?"),
        ("mine.py:CONSTANT", "is a int", "It has:"),
        ("mien.py:double", "there is no file", "Did you mean 'mine.py'?"),
        ("json.dunps", "no function 'dunps'", "Did you mean 'dumps'?"),
        ("no_such_package.module.f", "no module 'no_such_package'", "Install it"),
        ("double", "names no function", "file.py:function"),
        ("mine.py:", "names no function", "file.py:function"),
    ],
)
def test_a_name_that_leads_nowhere(folder: Path, path: str, says: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        user_code.check_importable(path, folder)
    assert path in caught.value.headline
    assert says in caught.value.headline
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("source", "says", "line"),
    [
        ("def f(:\n  pass\n", "SyntaxError", 1),
        ("\nimport not_installed_at_all\n", "ModuleNotFoundError", 2),
        ("x = 1\n\ny = x / 0\n", "ZeroDivisionError", 3),
    ],
)
def test_a_file_that_fails_at_import(tmp_path: Path, source: str, says: str, line: int) -> None:
    (tmp_path / "broken.py").write_text(source)
    with pytest.raises(ConfigError, match=says) as caught:
        user_code.load("broken.py:f", tmp_path)
    assert caught.value.where == f"{tmp_path / 'broken.py'}:{line}"


def test_a_function_that_raises_fails_the_node_with_its_line(folder: Path) -> None:
    with pytest.raises(NodeFailed) as caught:
        preprocessing_fn({}, config("mine.py:raises", folder))
    assert caught.value.headline == "mine.py:raises raised ZeroDivisionError: division by zero"
    assert caught.value.where == f"{folder / 'mine.py'}:13"


def test_a_function_may_refuse_in_our_own_words(folder: Path) -> None:
    with pytest.raises(DataError, match="all zeros"):
        preprocessing_fn({}, config("mine.py:refuses", folder))


def test_a_function_that_returns_no_dict(folder: Path) -> None:
    with pytest.raises(ConfigError, match="returned a NoneType"):
        preprocessing_fn({}, config("mine.py:returns_nothing", folder))


def test_tft_lets_the_error_through(folder: Path) -> None:
    import functools

    import tensorflow as tf
    import tensorflow_transform as tft

    traced = functools.partial(preprocessing_fn, custom_config=config("mine.py:raises", folder))
    with pytest.raises(NodeFailed, match="division by zero"):
        tft.get_analyze_input_columns(traced, {"x": tf.TensorSpec([None, 1], tf.float32)})


@pytest.mark.parametrize(
    ("statement", "neighbour"),
    [
        ("import near", "near.py"),
        ("from near import helper", "near.py"),
        ("from parts import near", "parts/near.py"),
        ("import parts.near", "parts/near.py"),
        ("import parts.near", "parts/__init__.py"),
    ],
)
def test_a_neighbour_that_is_imported_counts(
    tmp_path: Path, statement: str, neighbour: str
) -> None:
    (tmp_path / "parts").mkdir()
    for name in ("parts/__init__.py", "parts/near.py", "near.py", "far.py"):
        (tmp_path / name).write_text("def helper(x):\n    return x\n")
    (tmp_path / "own.py").write_text(f"def f(x):\n    {statement}\n    return x\n")
    before = user_code.fingerprint("own.py:f", tmp_path)
    (tmp_path / "far.py").write_text("def helper(x):\n    return -x\n")
    assert user_code.fingerprint("own.py:f", tmp_path) == before
    (tmp_path / neighbour).write_text("def helper(x):\n    return -x\n")
    assert user_code.fingerprint("own.py:f", tmp_path) != before


def test_a_relative_import_in_a_package_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "fingerprinted"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__.py", "inner/__init__.py", "base.py"):
        (package / name).write_text("")
    (package / "inner" / "own.py").write_text("from ..base import *\n\ndef f(x):\n    return x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = user_code.fingerprint("fingerprinted.inner.own.f", tmp_path)
    (package / "base.py").write_text("SCALE = 2\n")
    assert user_code.fingerprint("fingerprinted.inner.own.f", tmp_path) != before


OUTPUTS = {
    "fine": ("{'a': x, 'b': vocabulary(s, num_oov_buckets=1), 'label_xf': x}", ""),
    "a bag": (
        "{'t_ids_xf': vocabulary(bag(s), num_oov_buckets=1), 't_weights_xf': weights(s),"
        " 'label_xf': x}",
        "",
    ),
    "buckets": ("{'b': tft.bucketize(x, 3), 'label_xf': x}", ""),
    "no label": ("{'a': x}", "returns no 'label_xf'"),
    "-1 for unknown": ("{'b': vocabulary(s), 'label_xf': x}", "returns 'b' with ids below 0"),
    "no range": ("{'b': tf.cast(x, tf.int64), 'label_xf': x}", "returns 'b' as integers of no kn"),
    "text": ("{'b': s, 'label_xf': x}", "returns 'b' as string"),
    "sparse": ("{'b': weights(s), 'label_xf': x}", "returns 'b' as sparse float32"),
    "no tensor": ("{'b': 3, 'label_xf': x}", "returns 'b' as int"),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_what_it_returns_is_checked_as_soon_as_it_is_traced(tmp_path: Path, case: str) -> None:
    """Not only when Transform has run to its end and the trainer reads the layout."""
    import functools

    import tensorflow_transform as tft

    returned, says = OUTPUTS[case]
    (tmp_path / "mine.py").write_text(
        "import tensorflow as tf\nimport tensorflow_transform as tft\n"
        "vocabulary = tft.compute_and_apply_vocabulary\n"
        "def bag(s):\n    return tf.strings.split(s[:, 0]).to_sparse()\n"
        "def weights(s):\n"
        "    b = bag(s)\n"
        "    return tf.SparseTensor(b.indices, tf.ones_like(b.indices[:, 0], tf.float32),"
        " b.dense_shape)\n"
        f"def f(inputs):\n    x, s = inputs['x'], inputs['s']\n    return {returned}\n"
    )
    traced = functools.partial(preprocessing_fn, custom_config=config("mine.py:f", tmp_path))
    inputs = {
        "x": tf.TensorSpec([None, 1], tf.float32),
        "s": tf.TensorSpec([None, 1], tf.string),
    }
    if not says:
        tft.get_analyze_input_columns(traced, inputs)
        return
    with pytest.raises(ConfigError, match=says) as caught:
        tft.get_analyze_input_columns(traced, inputs)
    assert "num_oov_buckets=1" in caught.value.hint or case == "no label"
