"""Several models, version policies, labels and new lists of models."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.server import saved_model
from serving.server.core import ServerCore
from serving.server.loaded import State
from serving.server.status import Code, RequestError
from serving.server.versions import Retries, ServedModel

X = {"x": np.ones((1, 3), np.float32)}
Push = Callable[..., Path]


def load(name: str, path: Path) -> saved_model.SavedModel:
    return saved_model.load(path)


def config(*models: str) -> ModelServerConfig:
    listed = "".join(f"config {{ {model} }}" for model in models)
    return text_format.Parse(f"model_config_list {{ {listed} }}", ModelServerConfig())


def model(name: str, base_path: Path, more: str = "") -> str:
    return f"name: '{name}' base_path: '{base_path}' model_platform: 'tensorflow' {more}"


def answer(core: ServerCore, name: str, version: int | None = None, label: str = "") -> float:
    with core.lease(name, version, label) as (_, loaded):
        return float(loaded.run("dense", X, ["y"])["y"].item())


def states(core: ServerCore, name: str) -> dict[int, State]:
    return {version: status.state for version, status in core.statuses(name).items()}


def refused(core: ServerCore, *models: str) -> RequestError:
    with pytest.raises(RequestError) as caught:
        core.configure(config(*models))
    return caught.value


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", {3}),
        ("model_version_policy { latest { num_versions: 2 } }", {2, 3}),
        ("model_version_policy { all {} }", {1, 2, 3}),
        ("model_version_policy { specific { versions: 1 versions: 3 versions: 9 } }", {1, 3}),
        ("model_version_policy { specific { versions: 9 } }", set()),
    ],
)
def test_version_policies(tmp_path: Path, push: Push, policy: str, served: set[int]) -> None:
    for version in (1, 2, 3):
        push(tmp_path, version)
    core = ServerCore(load)
    core.configure(config(model("m", tmp_path, policy)), wait=False)
    core.poll()
    for version in (1, 2, 3):
        if version in served:
            assert answer(core, "m", version) == 6.0
        else:
            with pytest.raises(RequestError, match=rf"Specific\(m, {version}\)"):
                answer(core, "m", version)
    if served:
        with core.lease("m") as (version, _):
            assert version == max(served)
    core.close()


def test_labels_name_versions_and_move(tmp_path: Path, push: Push) -> None:
    push(tmp_path, 1, scale=2)
    push(tmp_path, 2, scale=3)
    both = "model_version_policy { all {} }"
    core = ServerCore(load)
    error = refused(core, model("m", tmp_path, f"{both} version_labels {{ key: 'a' value: 1 }}"))
    assert error.code is Code.FAILED_PRECONDITION
    assert error.message == (
        "Request to assign label to version 1 of model m, which is not currently available for "
        "inference"
    )
    core.configure(config(model("m", tmp_path, both)))
    labels = "version_labels { key: 'stable' value: 1 } version_labels { key: 'canary' value: 2 }"
    core.configure(config(model("m", tmp_path, f"{both} {labels}")))
    assert (answer(core, "m", label="stable"), answer(core, "m", label="canary")) == (6.0, 9.0)
    assert list(core.statuses("m", label="stable")) == [1]
    labels = labels.replace("value: 1", "value: 2")
    core.configure(config(model("m", tmp_path, f"{both} {labels}")))
    assert answer(core, "m", label="stable") == 9.0
    with pytest.raises(RequestError, match="Unrecognized servable version label: blue"):
        answer(core, "m", label="blue")
    core.close()


def test_new_labels_may_name_what_is_not_loaded_where_that_is_allowed(
    tmp_path: Path, push: Push
) -> None:
    push(tmp_path, 1, scale=2)
    core = ServerCore(load, allow_labels_for_unavailable=True)
    core.configure(config(model("m", tmp_path, "version_labels { key: 'stable' value: 1 }")))
    assert answer(core, "m", label="stable") == 6.0
    # A label that is in use may not be moved to a version that does not answer.
    error = refused(core, model("m", tmp_path, "version_labels { key: 'stable' value: 2 }"))
    assert error.code is Code.FAILED_PRECONDITION
    assert answer(core, "m", label="stable") == 6.0
    core.close()


def test_models_come_and_go(tmp_path: Path, push: Push) -> None:
    push(tmp_path / "a", 1, scale=2)
    push(tmp_path / "b", 1, scale=3)
    core = ServerCore(load, load_threads=2)
    core.configure(config(model("a", tmp_path / "a"), model("b", tmp_path / "b")))
    assert (answer(core, "a"), answer(core, "b")) == (6.0, 9.0)
    core.configure(config(model("b", tmp_path / "b")))
    assert core.names() == ["b"]
    assert answer(core, "b") == 9.0
    with pytest.raises(RequestError, match=r"Servable not found for request: Latest\(a\)"):
        answer(core, "a")
    core.close()


def test_a_new_model_that_does_not_load_is_told(tmp_path: Path, push: Push) -> None:
    push(tmp_path / "a", 1)
    (push(tmp_path / "b", 7) / "saved_model.pb").write_bytes(b"damaged")
    core = ServerCore(load)
    error = refused(core, model("a", tmp_path / "a"), model("b", tmp_path / "b"))
    assert error.code is Code.UNKNOWN
    assert error.message.startswith(
        "1 model(s) did not become available: {{{name: b version: 7} due to error: "
    )
    assert answer(core, "a") == 6.0
    core.close()


@pytest.mark.parametrize(
    ("models", "code", "message"),
    [
        (["{a}", "{a}"], Code.INVALID_ARGUMENT, "Illegal to list model a multiple times in config"),
        (
            ["name: 'a' base_path: 'models/a' model_platform: 'tensorflow'"],
            Code.INVALID_ARGUMENT,
            "Expected model a to have an absolute path or URI; got base_path()=models/a",
        ),
        (
            ["name: 'a' base_path: '/a'"],
            Code.INVALID_ARGUMENT,
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform.",
        ),
        (
            ["name: 'a' base_path: '/a' model_platform: 'x' model_type: TENSORFLOW"],
            Code.INVALID_ARGUMENT,
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            "ModelServerConfig::model_platform.",
        ),
        (
            ["name: 'a' base_path: '/a' model_platform: 'pytorch'"],
            Code.INVALID_ARGUMENT,
            "Model a requests unsupported platform pytorch",
        ),
    ],
)
def test_lists_that_are_not_taken_change_nothing(
    tmp_path: Path, push: Push, models: list[str], code: Code, message: str
) -> None:
    push(tmp_path, 1)
    core = ServerCore(load)
    core.configure(config(model("m", tmp_path)))
    error = refused(core, *(text.replace("{a}", model("a", tmp_path)) for text in models))
    assert error.code is code
    assert error.message.startswith(message)
    assert core.names() == ["m"]
    assert answer(core, "m") == 6.0
    core.close()


def test_a_load_that_failed_is_tried_again_so_often_and_no_more(tmp_path: Path, push: Push) -> None:
    push(tmp_path, 1)
    tries = 0

    def fails(path: Path) -> object:
        nonlocal tries
        tries += 1
        raise RequestError(Code.UNAVAILABLE, "the disk is away")

    served = ServedModel("m", tmp_path, fails, retries=Retries(count=2, interval_s=0.0))
    for _ in range(5):
        served.poll()
    assert tries == 3
    assert served.next_retry_s() is None
    later = ServedModel("m", tmp_path, fails, retries=Retries(count=2, interval_s=60.0))
    later.poll()
    later.poll()
    assert tries == 4  # its time has not come
    assert later.next_retry_s() is not None


class SlowToClose:
    """A model whose end waits for the test."""

    def __init__(self, name: str, closing: threading.Semaphore, gate: threading.Event) -> None:
        self.signatures: dict[str, object] = {}
        self._closing, self._gate = closing, gate

    def close(self) -> None:
        self._closing.release()
        assert self._gate.wait(20)


def test_models_are_unloaded_at_the_same_time_where_asked(tmp_path: Path, push: Push) -> None:
    for name in ("a", "b", "c"):
        push(tmp_path / name, 1)
    closing, gate = threading.Semaphore(0), threading.Event()
    core = ServerCore(lambda name, _: SlowToClose(name, closing, gate), unload_threads=2)
    core.configure(config(*(model(name, tmp_path / name) for name in ("a", "b", "c"))))
    core.configure(config(model("c", tmp_path / "c")))  # does not wait for them
    for _ in range(2):
        assert closing.acquire(timeout=20)
    gate.set()
    core.close()
    assert closing.acquire(timeout=20)
