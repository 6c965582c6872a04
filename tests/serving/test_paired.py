"""A SavedModel and the core beside it, served as one model."""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import sys
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel as SavedModelProto

from serving.client import Client
from serving.server import paired, saved_model
from serving.server.loading import Loader
from serving.server.metrics import Metrics
from serving.server.options import ServerOptions, parse_flags
from serving.server.running import start
from serving.server.status import Code, RequestError
from serving.warmup_file import write_warmup

PLAIN, CORE = 2.0, 3.0  # By the weight in an answer one sees which of the two computed it.


def _export(folder: Path) -> None:
    """`serving_default`: y = weight * a + id, and its name; `a` and `id` come from an example."""
    import tensorflow as tf

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = tf.Variable(PLAIN)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def core_inputs(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
            spec = {
                "a": tf.io.FixedLenFeature([1], tf.float32),
                "word": tf.io.FixedLenFeature([1], tf.string),
            }
            parsed = tf.io.parse_example(examples, spec)
            return {"a (m)": parsed["a"], "id": tf.cast(tf.strings.length(parsed["word"]), "int64")}

        @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="predictions")])
        def core_answer(self, predictions: tf.Tensor) -> dict[str, tf.Tensor]:
            high = tf.cast(predictions[:, 0] > 10.0, tf.int64)
            return {"predictions": predictions, "class": tf.gather(["low", "high"], high)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
            inputs = self.core_inputs(examples)
            return self.core_answer(inputs["a (m)"] * self.weight + tf.cast(inputs["id"], "float"))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
        def regress(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"outputs": self.default(inputs)["predictions"]}

    module = Model()
    tf.saved_model.save(
        module,
        str(folder),
        signatures={
            "serving_default": module.default,
            "core_inputs": module.core_inputs,
            "core_answer": module.core_answer,
            "regress": module.regress,
        },
    )
    (folder / "assets.extra").mkdir()
    _put_core(folder, _core())


def _core(id_name: str = "id", id_type: str = "int64", width: int = 1, output: int = 1) -> bytes:
    import tensorflow as tf

    @tf.function(autograph=False)
    def core(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        y = inputs["a__m_"] * CORE + tf.cast(inputs[id_name], "float")
        return {"predictions": tf.tile(y[:, :1], [1, output])}

    specs = {
        "a__m_": tf.TensorSpec([None, width], tf.float32, name="a__m_"),
        id_name: tf.TensorSpec([None, 1], id_type, name=id_name),
    }
    module = tf.Module()
    concrete = core.get_concrete_function(**specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    content: bytes = converter.convert()
    return content


def _put_core(folder: Path, content: bytes) -> None:
    description = {
        "format": 1,
        "sha256": hashlib.sha256(content).hexdigest(),
        "inputs": {"id": "id", "a (m)": "a__m_"},
    }
    (folder / paired.CORE).write_bytes(content)
    (folder / paired.DESCRIPTION).write_text(json.dumps(description))


def example(a: float, word: str = "abc") -> bytes:
    import tensorflow as tf

    made = tf.train.Example()
    made.features.feature["a"].float_list.value.append(a)
    made.features.feature["word"].bytes_list.value.append(word.encode())
    serialized: bytes = made.SerializeToString()
    return serialized


def rows(count: int) -> np.ndarray[Any, Any]:
    return np.array([example(i, "x" * (i % 5)) for i in range(count)], object)


def expected(count: int, weight: float) -> np.ndarray[Any, Any]:
    i = np.arange(count, dtype=np.float32)
    return (weight * i + i % 5)[:, None]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair") / "1"
    _export(folder)
    return folder


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "base" / "1"))


@pytest.fixture
def load_model(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Loads a version folder as the server with these flags does."""
    models = []

    def load(path: Path, **flags: Any) -> Any:
        options = ServerOptions(model_base_path=str(path.parent), **flags)
        model = Loader(options, Metrics())("taxi", path)
        models.append(model)
        return model

    yield load
    for model in models:
        model.close()


def test_the_core_answers_the_default_signature(exported: Path, load_model: Any) -> None:
    model = load_model(exported)
    for count in (1, 7, 2):
        found = model.run("serving_default", {"examples": rows(count)}, ["class", "predictions"])
        assert list(found) == ["class", "predictions"]
        np.testing.assert_array_equal(found["predictions"], expected(count, CORE))
        high = found["predictions"][:, 0] > 10
        assert found["class"].tolist() == np.where(high, b"high", b"low").tolist()
    assert list(model.run("serving_default", {"examples": rows(1)}, ["class"])) == ["class"]


def test_the_flag_leaves_the_core_out(exported: Path, load_model: Any) -> None:
    options, _ = parse_flags([f"--model_base_path={exported.parent}", "--prefer_core=false"])
    assert ServerOptions().prefer_core
    model = load_model(exported, prefer_core=options.prefer_core)
    found = model.run("serving_default", {"examples": rows(9)}, ["predictions"])
    np.testing.assert_array_equal(found["predictions"], expected(9, PLAIN))


def test_other_signatures_and_what_is_stated_are_the_saved_models(
    exported: Path, load_model: Any
) -> None:
    model, plain = load_model(exported), load_model(exported, prefer_core=False)
    assert model.signatures == plain.signatures
    found = model.run("regress", {"inputs": rows(3)}, ["outputs"])
    np.testing.assert_array_equal(found["outputs"], expected(3, PLAIN))


def test_a_request_that_does_not_fit_is_refused_as_the_saved_model_refuses_it(
    exported: Path, load_model: Any
) -> None:
    model, plain = load_model(exported), load_model(exported, prefer_core=False)
    for wrong in (np.zeros(2, np.float32), np.array([b"no example"], object), rows(4)[:, None]):
        refusals = []
        for each in (model, plain):
            with pytest.raises(RequestError) as refused:
                each.run("serving_default", {"examples": wrong}, ["predictions"])
            refusals.append(refused.value)
        assert refusals[0].code == refusals[1].code == Code.INVALID_ARGUMENT
        assert refusals[0].message.split("[[")[0] == refusals[1].message.split("[[")[0]
    again = model.run("serving_default", {"examples": rows(2)}, ["predictions"])
    np.testing.assert_array_equal(again["predictions"], expected(2, CORE))


def test_no_rows(exported: Path, load_model: Any) -> None:
    found = load_model(exported).run("serving_default", {"examples": rows(0)}, ["predictions"])
    assert found["predictions"].shape == (0, 1)


@pytest.mark.parametrize("batching", [False, True])
def test_many_threads_at_once_do_not_mix(exported: Path, load_model: Any, batching: bool) -> None:
    model = load_model(exported, enable_batching=batching)

    def ask(i: int) -> bool:
        batch = rows(40)[i % 30 : i % 30 + 1 + i % 3]
        found = model.run("serving_default", {"examples": batch}, ["predictions"])
        return np.array_equal(found["predictions"], expected(40, CORE)[i % 30 : i % 30 + 1 + i % 3])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))


def _refusal(path: Path, **flags: Any) -> RequestError:
    options = ServerOptions(model_base_path=str(path.parent), **flags)
    with pytest.raises(RequestError) as refused:
        Loader(options, Metrics())("taxi", path)
    return refused.value


def test_a_damaged_core_is_not_served_and_neither_is_the_plain_form(copy: Path) -> None:
    core = copy / paired.CORE
    whole = core.read_bytes()
    core.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused = _refusal(copy)
    assert refused.code == Code.DATA_LOSS
    assert "core.tflite is damaged: its SHA-256 is" in refused.message

    _put_core(copy, b"no model at all")
    assert "core.tflite: " in _refusal(copy).message

    core.unlink()
    refused = _refusal(copy)
    assert refused.code == Code.NOT_FOUND
    assert "core.tflite: No such file" in refused.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "assay_core.json is damaged: JSONDecodeError"),
        ("[]", "assay_core.json is damaged: TypeError"),
        ('{"format": 1}', "assay_core.json is damaged: KeyError: 'sha256'"),
        ('{"format": 1, "sha256": "", "inputs": []}', "is damaged: AttributeError"),
        ('{"format": 2, "sha256": "", "inputs": {}}', "is of format 2, and this server reads 1"),
        (None, "assay_core.json: No such file"),
    ],
)
def test_a_damaged_description(copy: Path, text: str | None, message: str) -> None:
    if text is None:
        (copy / paired.DESCRIPTION).unlink()
    else:
        (copy / paired.DESCRIPTION).write_text(text)
    assert message in _refusal(copy).message


@pytest.mark.parametrize(
    ("core", "message"),
    [
        ({"id_name": "other"}, "core_inputs gives others: id, other"),
        ({"id_type": "int32"}, r"core_inputs gives id as int64 [-1, 1], and int32 [-1, 1] is"),
        ({"width": 2}, r"core_inputs gives a (m) as float [-1, 1], and float [-1, 2] is"),
        ({"output": 2}, r"the core gives predictions as float [-1, 2], and float [-1, 1] is"),
    ],
)
def test_a_core_that_does_not_fit(copy: Path, core: dict[str, Any], message: str) -> None:
    _put_core(copy, _core(**core))
    refused = _refusal(copy)
    assert refused.code == Code.INVALID_ARGUMENT
    assert f"the core does not fit: {message}" in refused.message


def test_a_saved_model_without_the_signatures_for_a_core(copy: Path) -> None:
    file = copy / "saved_model.pb"
    proto = SavedModelProto.FromString(file.read_bytes())
    del proto.meta_graphs[0].signature_def["core_answer"]
    file.write_bytes(proto.SerializeToString())
    assert "has a core, but no signature core_answer" in _refusal(copy).message
    assert "core_answer" not in saved_model.load(copy).signatures


def test_without_litert_it_says_which_flag(
    exported: Path, load_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "serving.server.tflite", raising=False)
    monkeypatch.delattr("serving.server.tflite", raising=False)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    refused = _refusal(exported)
    assert refused.code == Code.FAILED_PRECONDITION
    assert "install ai-edge-litert" in refused.message
    assert "--prefer_core=false" in refused.message
    load_model(exported, prefer_core=False)


def test_nothing_stays_of_a_closed_pair(exported: Path) -> None:
    model = paired.load(exported)
    model.run("serving_default", {"examples": rows(3)}, ["predictions"])
    gone = [weakref.ref(model), weakref.ref(model._core), weakref.ref(model._plain._session)]
    model.close()
    del model
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3


def test_warm_up_requests_are_run_through_the_core(copy: Path, load_model: Any) -> None:
    assert write_warmup(copy, [example(1.0), example(2.0)], batches=(1, 5)) == 2
    load_model(copy)
    # A row that the front cannot parse fails the load, so the requests were indeed run.
    write_warmup(copy, [b"no example"])
    assert "parse" in _refusal(copy).message
    with pytest.raises(ValueError, match="no rows"):
        write_warmup(copy, [])
    with pytest.raises(ValueError, match="1001 warm-up requests"):
        write_warmup(copy, [b""], batches=[1] * 1001)


def test_over_a_socket(copy: Path) -> None:
    write_warmup(copy, [example(1.0)])
    options = ServerOptions(port=0, model_name="taxi", model_base_path=str(copy.parent))
    with start(options) as running, Client(f"127.0.0.1:{running.port}") as client:
        answer = client.predict("taxi", {"examples": rows(12)})
        np.testing.assert_array_equal(answer["predictions"], expected(12, CORE))
