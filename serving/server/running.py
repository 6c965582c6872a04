"""Starts a server from its options, and stops it again."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import TracebackType

import grpc

from serving.server.core import ServerCore
from serving.server.grpc_front import host_port, start_grpc
from serving.server.handlers import build_handlers
from serving.server.options import ServerOptions
from serving.server.saved_model import load
from serving.server.versions import ServedModel, State, failure_text
from tfx_pipeline.errors import ServingError

logger = logging.getLogger("assay.serving")


class RunningServer:
    """A server that listens. A context manager: leaving it stops the server.

    Attributes:
        port: The TCP port it listens on.
    """

    def __init__(
        self,
        port: int,
        server: grpc.Server,
        model: ServedModel,
        polling: threading.Thread,
        stopping: threading.Event,
    ) -> None:
        self.port = port
        self._server = server
        self._model = model
        self._polling = polling
        self._stopping = stopping

    def stop(self, grace_s: float = 10.0) -> None:
        """Takes no new request, lets the running ones finish for at most `grace_s`, unloads."""
        self._stopping.set()
        self._server.stop(grace_s).wait()
        self._polling.join()
        self._model.close()

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def start(options: ServerOptions, *, ready_timeout_s: float | None = 60.0) -> RunningServer:
    """Starts a server in this process.

    Args:
        options: What to serve and where.
        ready_timeout_s: How long to wait for the first version to become available; None does
            not wait, and keeps looking for a version for as long as the server runs.

    Raises:
        ServingError: The port is taken, or (when waiting) the model could not be loaded in time.
    """
    model = ServedModel(options.model_name, Path(options.model_base_path), load)
    handlers = build_handlers(
        ServerCore({options.model_name: model}), health=options.enable_grpc_healthcheck_service
    )
    # The port first: one that is taken should be told before a model has been loaded for nothing.
    server, port = start_grpc(
        handlers, options.port, options.grpc_max_threads, options.bind_address
    )
    stopping = threading.Event()
    polling = threading.Thread(
        target=_poll,
        args=(model, options.file_system_poll_wait_seconds, stopping),
        name="version-polling",
        daemon=True,
    )
    polling.start()
    logger.info("Running gRPC ModelServer at %s ...", host_port(options.bind_address, port))
    running = RunningServer(port, server, model, polling, stopping)
    if ready_timeout_s is not None:
        try:
            _wait_until_available(model, ready_timeout_s)
        except BaseException:
            running.stop(grace_s=0)
            raise
    return running


def _poll(model: ServedModel, wait_s: int, stopping: threading.Event) -> None:
    while not stopping.is_set():
        try:
            model.poll()
        except Exception:  # the thread must outlive whatever one look stumbles over
            logger.exception("looking for versions of model %s failed", model.name)
        if wait_s == 0:
            return
        stopping.wait(wait_s)


def _wait_until_available(model: ServedModel, timeout_s: float) -> None:
    status = model.wait(timeout_s)
    if status is None:
        raise ServingError(
            f"no version of model {model.name} became available in {timeout_s:g} s",
            where=str(model.base_path),
            hint="It must hold a folder named by a number, with saved_model.pb inside.",
        )
    if status.state is not State.AVAILABLE:
        raise ServingError(
            f"model {model.name} cannot be loaded: {failure_text(status)}",
            where=str(model.base_path),
            hint="Export the model again, or remove the damaged version.",
        )
