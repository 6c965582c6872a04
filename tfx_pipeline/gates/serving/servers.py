"""The model server that the gate asks: a process that is told which models to serve."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc

from serving.client import Client, RequestFailed
from serving.process import ServerProcess, server_process
from tfx_pipeline.errors import ServingError
from tfx_pipeline.gates.serving.settings import Settings

REAL_BINARY = "tensorflow_model_server"

_RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
_COMMON_FLAGS = ("--max_num_load_retries=0",)
# The real server looks at what it was told to load only when it looks at the file system.
_OUR_FLAGS = ("--file_system_poll_wait_seconds=0", "--grpc_front=h2", "--drain_seconds=1")
_STOP_S = 3.0
# glibc's heap for each thread keeps what a load has freed, and the next load may be in another
# thread: identical models would differ in memory by 60 %. Latency and rate are the same (seen).
_ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}
_LONGEST_REASON = 300


class ModelServer:
    """A running server. Its models are the links in `folder`, one version each.

    Attributes:
        address: Where it answers gRPC.
        is_ours: Whether it is Assay's own server.
        models: The names of those it serves.
    """

    def __init__(
        self, server: ServerProcess, folder: Path, settings: Settings, *, is_ours: bool
    ) -> None:
        self.address = server.address
        self.is_ours = is_ours
        self.models: tuple[str, ...] = ()
        self._server = server
        self._folder = folder
        self._settings = settings

    @property
    def pid(self) -> int:
        """Its process."""
        return self._server.process.pid

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client with the gate's time limit."""
        with Client(self.address, self._settings.request_timeout_s) as client:
            yield client

    def why_ended(self) -> str:
        """How the process ended, as a clause; empty while it runs."""
        code = self._server.process.poll()
        if code is None:
            return ""
        if code < 0:
            return f"the model server was ended by {signal.Signals(-code).name}"
        return f"the model server ended with code {code}"

    def load(self, name: str, path: Path) -> float:
        """Serves one more model, beside those that it serves.

        Nothing is ever unloaded: TensorFlow (with oneDNN) keeps the memory of an unloaded model
        for the next one, whose own could then not be measured.

        Args:
            name: The name that requests use.
            path: The SavedModel's folder.

        Returns:
            Seconds from the request until it was available.

        Raises:
            ServingError: It did not load, or not in time, or the server ended. What the server
                does then is not known.
        """
        link = self._folder / name / "1"
        link.parent.mkdir()
        link.symlink_to(path.absolute(), target_is_directory=True)
        self.models = (*self.models, name)
        started = time.monotonic()
        self._reload()
        with self.client() as client:
            self._check_available(client, name)
        return time.monotonic() - started

    def _reload(self) -> None:
        from tensorflow_serving.apis.model_management_pb2 import (
            ReloadConfigRequest,
            ReloadConfigResponse,
        )

        request = ReloadConfigRequest()
        for name in self.models:
            request.config.model_config_list.config.add(
                name=name, base_path=str(self._folder / name), model_platform="tensorflow"
            )
        limit = self._settings.load_timeout_s
        with grpc.insecure_channel(self.address) as channel:
            call = channel.unary_unary(
                _RELOAD,
                request_serializer=ReloadConfigRequest.SerializeToString,
                response_deserializer=ReloadConfigResponse.FromString,
            )
            try:
                status = call(request, timeout=limit).status
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise ServingError(f"it was not loaded within {limit:g} s") from error
                raise ServingError(f"it does not load: {_one_line(error.details())}") from error
        if status.error_code:
            raise ServingError(f"it does not load: {_one_line(status.error_message)}")

    def _check_available(self, client: Client, name: str) -> None:
        try:
            statuses = client.status(name)
        except RequestFailed as error:
            raise ServingError(f"it does not load: {error.headline}") from error
        if not any(status.state == "AVAILABLE" for status in statuses):
            said = [status.message or status.state for status in statuses]
            raise ServingError(f"it does not load: {'; '.join(said)}")


@contextmanager
def model_server(settings: Settings, log_file: Path | None = None) -> Iterator[ModelServer]:
    """Starts a server without models on a free port, and leaves no process behind.

    Args:
        settings: Which server, and its time limits.
        log_file: Where its log goes; None: nowhere.

    Raises:
        ServingError: It does not start; carries the end of its log.
    """
    binary = _binary(settings)
    with tempfile.TemporaryDirectory(prefix="assay-gate-") as name:
        folder = Path(name)
        config = folder / "models.config"
        config.write_text("model_config_list {}\n", encoding="utf-8")
        flags = [f"--model_config_file={config}", *_COMMON_FLAGS, *(() if binary else _OUR_FLAGS)]
        with server_process(
            flags,
            binary=binary or None,
            log_file=log_file,
            ready_timeout_s=settings.start_timeout_s,
            stop_timeout_s=_STOP_S,
            environment=_ONE_HEAP,
        ) as server:
            yield ModelServer(server, folder, settings, is_ours=not binary)


def server_name(settings: Settings) -> str:
    """What will serve, for people."""
    return _binary(settings) or "Assay's model server"


def _binary(settings: Settings) -> str:
    """The server to run; empty: our own."""
    if settings.binary is None:
        return shutil.which(REAL_BINARY) or ""
    return settings.binary


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:_LONGEST_REASON]


class Servers:
    """A model server that is there when it is asked for: started at first, and after `drop`.

    A context manager; nothing runs after it.
    """

    def __init__(self, settings: Settings, log_file: Path | None = None) -> None:
        self._settings = settings
        self._log_file = log_file
        self._stack = ExitStack()
        self._server: ModelServer | None = None

    def get(self) -> ModelServer:
        """The server that runs, or a new one.

        Raises:
            ServingError: It does not start.
        """
        if self._server is None or self._server.why_ended():
            self.drop()
            self._server = self._stack.enter_context(model_server(self._settings, self._log_file))
        return self._server

    def drop(self) -> None:
        """Stops the server, whatever it does."""
        self._server = None
        self._stack.close()

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()
