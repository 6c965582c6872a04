"""Training on several machines: the chief runs the node, the others only its executor.

Every replica starts the same `assay run-node` with the cluster in TF_CONFIG, as Vertex sets it. One
of them alone may drive ML Metadata: the chief (worker 0 where there is no chief). Before it runs
the executor it leaves the invocation (inputs, outputs, properties) in a file in the run's folder,
and the others wait for that file, run the same executor on it, and publish nothing.

TensorFlow and TFX are imported only where a node is executed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tfx_pipeline.errors import EnvironmentMismatch, NodeFailed, storage_errors
from tfx_pipeline.files import write_text
from trainer.cluster import WorkerLost

if TYPE_CHECKING:
    from tfx_pipeline.runners.compiled import Compiled

log = logging.getLogger(__name__)

_POLL_S = 0.5
_GRACE_S = 10.0
_STALE_S = 60.0  # How much later than the others a chief starts that is started with them.
# Model files are the chief's to write; checkpoints are every replica's, beside the chief's.
_SHARED_OUTPUT = "model_run"


@dataclass(frozen=True)
class Cluster:
    """TF_CONFIG: who trains together, and which of them this process is."""

    tasks: dict[str, list[str]]
    kind: str
    index: int

    @property
    def replicas(self) -> int:
        """Processes that train: chief and workers."""
        return sum(len(self.tasks.get(kind, [])) for kind in ("chief", "worker"))

    @property
    def is_chief(self) -> bool:
        """Whether this process runs the node: `trainer.strategy.is_chief`, before TensorFlow."""
        if "chief" in self.tasks:
            return self.kind == "chief"
        return self.kind == "worker" and self.index == 0

    @property
    def name(self) -> str:
        """Names the cluster: a job that is started again has other machines."""
        return hashlib.sha256(json.dumps(self.tasks, sort_keys=True).encode()).hexdigest()[:16]


def cluster() -> Cluster | None:
    """The cluster in TF_CONFIG; None where this process trains alone.

    Raises:
        EnvironmentMismatch: TF_CONFIG is not what TensorFlow expects.
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        config = json.loads(text)
        tasks = {kind: list(hosts) for kind, hosts in config.get("cluster", {}).items()}
        if not tasks:
            return None
        found = Cluster(tasks, config["task"]["type"], int(config["task"]["index"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EnvironmentMismatch(
            f"TF_CONFIG is not what TensorFlow expects ({type(error).__name__}: {error})",
            where="TF_CONFIG",
        ) from error
    return found if found.replicas > 1 else None


def is_follower() -> bool:
    """Whether another replica runs the node, and this one only helps to train."""
    found = cluster()
    return found is not None and not found.is_chief


def own_name() -> str:
    """This replica's name in its cluster: `worker-1`."""
    found = cluster()
    return f"{found.kind}-{found.index}" if found else ""


@contextmanager
def leading(ir_file: Path, node_id: str, run_id: str) -> Iterator[None]:
    """Around a node that the chief runs: tells the others when it has ended, however it did.

    Args:
        ir_file: The compiled pipeline, which is not parsed here: that would import TFX.
        node_id: The node.
        run_id: The run.
    """
    found = cluster()
    if found is None:
        yield
        return
    try:
        content = json.loads(ir_file.read_text(encoding="utf-8"))
        root = Path(content["folder"]) / content["config"]["run"]["root"]
    except (OSError, ValueError, KeyError, TypeError):
        yield  # Reading it as a whole says what is wrong.
        return
    files = _files(root, node_id, run_id, found)
    with storage_errors(str(files.folder)):
        for file in (files.ended, files.invocation):  # Of a start before this one.
            file.unlink(missing_ok=True)
    try:
        yield
    except typer.Exit:
        _end(files, "")  # The node was skipped: there was nothing to train.
        raise
    except BaseException as error:
        _end(files, type(error).__name__)
        raise
    _end(files, "")


def _end(files: _Files, error: str) -> None:
    files.invocation.unlink(missing_ok=True)  # Nobody who comes later is to run it.
    write_text(files.ended, json.dumps({"error": error}))


def operators(compiled: Compiled, node_id: str, run_id: str) -> dict[Any, Any] | None:
    """What the chief's launcher runs executors with; None where it trains alone."""
    found = cluster()
    if found is None:
        return None
    from tfx.orchestration.portable.python_executor_operator import PythonExecutorOperator
    from tfx.proto.orchestration import executable_spec_pb2

    files = _files(compiled.config.root, node_id, run_id, found)
    others = found.replicas - 1

    class Leading(PythonExecutorOperator):  # type: ignore[misc]
        """Leaves the invocation to the others, then runs the executor like any other."""

        def run_executor(self, execution_info: Any) -> Any:
            text = execution_info.to_proto().SerializeToString().hex()
            write_text(files.invocation, text)
            log.info("left the invocation to %d more replicas", others)
            try:
                result = super().run_executor(execution_info)
            except WorkerLost as error:
                # TFX would remove the outputs of an executor that raised, checkpoints and all.
                log.exception("this process ends, and leaves its checkpoints to the next start")
                _end(files, type(error).__name__)
                os._exit(error.exit_code)
            _remove_checkpoints_of_others(execution_info)
            return result

    return {executable_spec_pb2.PythonClassExecutableSpec: Leading}


def follow(compiled: Compiled, node_id: str, run_id: str) -> None:
    """What the other replicas do: wait for the chief's invocation, and run the executor on it.

    Raises:
        NodeFailed: The chief failed, or did not come as far in time.
        AssayError: As the executor raised it.
    """
    found = cluster()
    assert found is not None
    files = _files(compiled.config.root, node_id, run_id, found)
    invocation = _await(files, compiled.config.run.vertex.worker_wait_seconds)
    if invocation is None:
        return
    from tfx.orchestration.local import runner_utils
    from tfx.orchestration.portable import data_types
    from tfx.orchestration.portable.python_executor_operator import PythonExecutorOperator
    from tfx.proto.orchestration import execution_invocation_pb2

    from tfx_pipeline.runners import ir as ir_lib
    from tfx_pipeline.runners.explain import explain

    info = data_types.ExecutionInfo.from_proto(
        execution_invocation_pb2.ExecutionInvocation.FromString(bytes.fromhex(invocation))
    )
    private = files.folder / own_name()
    threading.Thread(target=_leave_with_chief, args=(files,), daemon=True).start()
    try:
        _make_private(info, private)
        spec = runner_utils.extract_executor_spec(ir_lib.deployment(compiled.ir), node_id)
        PythonExecutorOperator(spec).run_executor(info)
    except Exception as error:
        raise explain(error, node_id, str(compiled.config.root)) from error
    finally:
        shutil.rmtree(private, ignore_errors=True)


@dataclass(frozen=True)
class _Files:
    folder: Path
    invocation: Path
    ended: Path


def _files(root: Path, node_id: str, run_id: str, found: Cluster) -> _Files:
    folder = root / run_id / "workers" / node_id / found.name
    return _Files(folder, folder / "invocation", folder / "ended")


def _await(files: _Files, bound_s: float) -> str | None:
    """The chief's invocation, or None where it ended without running the executor."""
    started = time.monotonic()
    before = _error(files)
    while True:
        waited = time.monotonic() - started
        error = _error(files)
        # A failure that was here before us may be of an earlier start: a chief removes it.
        if not error or error != before or waited > min(bound_s, _STALE_S):
            if error:
                raise NodeFailed(f"the chief failed: {error}", hint="Its own log has the reason.")
            if files.invocation.exists():
                return files.invocation.read_text(encoding="utf-8")
            if error is not None:
                return None
        if waited > bound_s:
            raise NodeFailed(
                f"the chief did not start to train within {bound_s:g} s",
                where=str(files.invocation),
                hint="Its log says why; run.vertex.worker_wait_seconds is the bound.",
            )
        time.sleep(_POLL_S)


def _error(files: _Files) -> str | None:
    """What the chief failed by; "" where it ended well, None where it has not ended."""
    try:
        return str(json.loads(files.ended.read_text(encoding="utf-8"))["error"])
    except FileNotFoundError:
        return None


def _leave_with_chief(files: _Files) -> None:
    """Ends this process once the chief has failed: TensorFlow would wait for it to come back."""
    while (error := _error(files)) is None:
        time.sleep(_POLL_S)
    if error:
        log.error("the chief failed: %s", error)
        time.sleep(_GRACE_S)  # Its own error, where TensorFlow tells it here, says more.
        os._exit(NodeFailed.exit_code)


def _make_private(info: Any, folder: Path) -> None:
    """Sends all but the checkpoints to a folder of this replica, which is removed afterwards.

    `run_fn` of a worker exports nothing, and TFX's executor asks whether it did.
    """
    from tfx.utils import path_utils

    info.execution_output_uri = str(folder / "executor_output")
    info.tmp_dir = str(folder / "tmp")
    for key, artifacts in info.output_dict.items():
        for index, artifact in enumerate(artifacts):
            if key != _SHARED_OUTPUT:
                artifact.uri = str(folder / key / str(index))
                os.makedirs(path_utils.serving_model_dir(artifact.uri), exist_ok=True)


def _remove_checkpoints_of_others(info: Any) -> None:
    for artifact in info.output_dict.get(_SHARED_OUTPUT, []):
        for folder in Path(artifact.uri).glob("worker-*"):
            shutil.rmtree(folder, ignore_errors=True)
