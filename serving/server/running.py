"""Starts a server from its options, and stops it again."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.server import config_files
from serving.server.classify import classify_handlers
from serving.server.core import ServerCore, single_model
from serving.server.handlers import build_handlers
from serving.server.listening import listen
from serving.server.loaded import State
from serving.server.loading import Loader
from serving.server.metrics import Metrics
from serving.server.observe import observed, recorder
from serving.server.options import ServerOptions
from serving.server.ports import host_port
from serving.server.profiler import profiler_handlers
from serving.server.request_log import RequestLogger
from serving.server.request_logs import RequestLoggers, logged
from serving.server.status import RequestError
from serving.server.versions import Retries, failure_text
from tfx_pipeline.errors import ConfigError, ServingError

logger = logging.getLogger("assay.serving")


@dataclass
class RunningServer:
    """A server that listens. A context manager: leaving it stops the server.

    Attributes:
        port: The TCP port for gRPC.
        core: The models.
        closes: What is left to do when nothing runs any more, in order.
        rest_port: The TCP port for REST; 0: there is none.
        stopping: Is set when it begins to stop.
        drained: Is set when no request runs any more, or the time for them is over.
    """

    port: int
    core: ServerCore
    closes: list[Callable[[], object]] = field(default_factory=list)
    rest_port: int = 0
    stop_listening: list[Callable[[float], object]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    drained: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def stop(self, grace_s: float = 10.0) -> None:
        """Takes no new request, lets the running ones finish for at most `grace_s`, unloads."""
        self.core.drain()
        self.stopping.set()
        # All ports at once: else one would go on taking requests while another drains.
        stops = [threading.Thread(target=stop, args=(grace_s,)) for stop in self.stop_listening]
        for thread in stops:
            thread.start()
        for thread in stops:
            thread.join()
        self.drained.set()
        for thread in self.threads:
            thread.join()
        for close in self.closes:
            close()

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
        ready_timeout_s: How long to wait for each model to become available; None does not wait,
            and keeps looking for versions for as long as the server runs.

    Raises:
        ConfigError: A config file is wrong.
        ServingError: The port is taken, or (when waiting) a model could not be loaded in time.
    """
    config = _model_config(options)
    metrics = Metrics()
    loader = Loader(options, metrics)
    tags = options.saved_model_tags.split(",")
    loggers = RequestLoggers(
        lambda name, logging_config: RequestLogger(
            logging_config,
            name,
            saved_model_tags=tags,
            on_drop=lambda count: metrics.log_dropped(name, count),
        )
    )
    core = ServerCore(
        loader,
        retries=Retries(options.max_num_load_retries, options.load_retry_interval_micros / 1e6),
        load_threads=options.num_load_threads,
        unload_threads=options.num_unload_threads,
        allow_labels_for_unavailable=options.allow_version_labels_for_unavailable_models,
        log_requests=loggers.update,
    )
    try:
        core.configure(config, wait=False)
    except RequestError as error:
        raise ConfigError(
            error.message, where=options.model_config_file, hint="Mend the list of models."
        ) from error
    handlers = {
        **build_handlers(
            core,
            health=options.enable_grpc_healthcheck_service,
            as_tensor_content=options.enable_serialization_as_tensor_content,
            check_method_name=options.enable_signature_method_name_check,
        ),
        **classify_handlers(core, check_method_name=options.enable_signature_method_name_check),
        **(profiler_handlers() if options.enable_profiler else {}),
    }
    record = recorder(metrics)
    handlers = logged(observed(handlers, record), loggers.find)
    # The ports first: one that is taken should be told before a model has been loaded for nothing.
    listening = listen(options, core, handlers, metrics, record)
    running = RunningServer(
        listening.port,
        core,
        [*listening.closes, core.close, loader.close, loggers.close],
        listening.rest_port,
        listening.stops,
    )
    polling = threading.Thread(
        target=_poll, args=(core, options, running.stopping), name="version-polling", daemon=True
    )
    running.threads.append(polling)
    polling.start()
    address = options.bind_address
    logger.info("Running gRPC ModelServer at %s ...", host_port(address, listening.port))
    if listening.rest_port:
        logger.info("Exporting HTTP/REST API at:%s ...", host_port(address, listening.rest_port))
    if ready_timeout_s is not None:
        try:
            _wait_until_available(core, ready_timeout_s)
        except BaseException:
            running.stop(grace_s=0)
            raise
    return running


def _model_config(options: ServerOptions) -> ModelServerConfig:
    if options.is_single_model:
        return single_model(options.model_name, os.path.abspath(options.model_base_path))
    return config_files.model_server_config(options.model_config_file)


def _poll(core: ServerCore, options: ServerOptions, stopping: threading.Event) -> None:
    """Looks for versions, and for changes of the list of models, until the server stops."""
    look_s, config_s = (
        options.file_system_poll_wait_seconds,
        options.model_config_file_poll_wait_seconds,
    )
    read_at, config_at = time.monotonic(), _written(options.model_config_file)
    looked = False
    while not stopping.is_set():
        core.poll(look=not looked or look_s > 0)
        looked = True
        waits = [float(look_s or 3600)]
        retry_s = core.next_retry_s()
        if retry_s is not None:
            waits.append(max(0.01, retry_s - time.monotonic()))
        if config_s and options.model_config_file:
            if time.monotonic() - read_at >= config_s:
                read_at = time.monotonic()
                written = _written(options.model_config_file)
                if written != config_at:
                    config_at = written
                    _reconfigure(core, options.model_config_file)
            waits.append(float(config_s))
        stopping.wait(min(waits))


def _written(file: str) -> object:
    try:
        stat = os.stat(file)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _reconfigure(core: ServerCore, file: str) -> None:
    try:
        core.configure(config_files.model_server_config(file))
    except (ConfigError, RequestError) as error:
        logger.error("%s is not taken, what is served goes on: %s", file, error)


def _wait_until_available(core: ServerCore, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    for name in core.names():
        model = core.model(name)
        assert model is not None
        status = model.wait(end - time.monotonic())
        if status is None:
            raise ServingError(
                f"no version of model {name} became available in {timeout_s:g} s",
                where=str(model.base_path),
                hint="It must hold a folder named by a number, with saved_model.pb inside.",
            )
        if status.state is not State.AVAILABLE:
            raise ServingError(
                f"model {name} cannot be loaded: {failure_text(status)}",
                where=str(model.base_path),
                hint="Export the model again, or remove the damaged version.",
            )
