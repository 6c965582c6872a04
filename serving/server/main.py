"""The command `assay-model-server`: flags, log, signals.

Nothing heavy is imported before the flags are known to be right and TensorFlow's own logging is
quiet.
"""

from __future__ import annotations

import gc
import importlib.metadata
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from types import FrameType

from serving.server.logs import log_all_as_json, log_error_as_json, log_to_stderr
from serving.server.options import ServerOptions, parse_flags, usage
from tfx_pipeline.errors import AssayError

EXIT_WITH_STDIN = "ASSAY_EXIT_WITH_STDIN"
"""When set in the environment, the server stops once its standard input closes: a parent that
holds the other end can be killed in any way and leaves no server behind."""

_CLOSE_S = 2.0  # for fronts to close, and for unloading; a load that runs is not waited for

_SWITCH_S = 0.0005  # so long an event loop waits for a thread that loads a model; else 5 ms
_SIGNAL_S = 0.25  # between two looks whether there was a signal

logger = logging.getLogger("assay.serving")


def main(argv: list[str] | None = None) -> int:
    """Runs the server until SIGTERM or SIGINT; returns the exit code.

    Args:
        argv: The flags; None takes the process's own.
    """
    argv = sys.argv[1:] if argv is None else argv
    if "--help" in argv:
        print(usage())
        return 0
    if "--version" in argv or "--version=true" in argv:
        print(f"TensorFlow ModelServer: assay {_version('tfx-assay')}")
        print(f"TensorFlow Library: {_version('tensorflow')}")
        return 0
    argv = [word for word in argv if word != "--version=false"]
    try:
        return _serve(*parse_flags(argv))
    except AssayError as error:
        _tell(
            error, as_json="--log_format=json" in argv or ("--log_format", "json") in pairwise(argv)
        )
        return error.exit_code


def _tell(error: AssayError, *, as_json: bool) -> None:
    if as_json:
        fields = {"where": error.where, "hint": error.hint}
        log_error_as_json(error.headline, {name: text for name, text in fields.items() if text})
        return
    print(f"error: {error.headline}", file=sys.stderr)
    if error.where:
        print(f"  at {error.where}", file=sys.stderr)
    if error.hint:
        print(f"  → {error.hint}", file=sys.stderr)


def _serve(options: ServerOptions, warnings: list[str]) -> int:
    if options.log_format == "json":
        log_all_as_json(requests=options.log_requests)
    else:
        log_to_stderr(as_json=False, requests=options.log_requests)
    from serving.server.ports import check_port

    # Before the seconds that TensorFlow's import takes.
    check_port(options.port, options.bind_address)
    if options.rest_api_port > 0:
        check_port(options.rest_api_port, options.bind_address, "rest_api_port")
    for warning in warnings:
        logger.warning("%s", warning)
    if options.is_single_model:
        logger.info("starting for model %s at %s", options.model_name, options.model_base_path)
    else:
        logger.info("starting for the models of %s", options.model_config_file)
    if os.environ.get(EXIT_WITH_STDIN):
        threading.Thread(target=_stop_with_stdin, daemon=True).start()
    # Until there is something to finish, a signal ends the process at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with quiet_tensorflow_import(), without_keras():
        from serving.server.running import start
    # TensorFlow's import leaves 400,000 objects: a full collection would look at them all, and stop
    # every request for 0.2 s.
    gc.collect()
    gc.freeze()
    if options.grpc_front == "h2":
        sys.setswitchinterval(_SWITCH_S)
    stopping = _stop_on_signals()
    running = start(options, ready_timeout_s=None)
    # A signal may reach another thread, which does not wake this one to run the handler.
    while not stopping.wait(_SIGNAL_S):
        pass
    grace_s = options.drain_seconds
    logger.info("stopping: no new requests; running ones have %d s to finish", grace_s)
    closing = threading.Thread(target=running.stop, args=(grace_s,), daemon=True)
    closing.start()
    running.drained.wait(grace_s + _CLOSE_S)
    closing.join(_CLOSE_S)
    if closing.is_alive():
        logger.warning("not waiting for what still runs: the load of a model, or a request")
    logger.info("stopped")
    # Python waits at its end for threads that run, and what TensorFlow runs cannot be interrupted.
    logging.shutdown()
    os._exit(0)


def _stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set; a second one, later, ends the process at once."""
    stopping = threading.Event()
    first_s = 0.0

    def on_signal(number: int, _: FrameType | None) -> None:
        nonlocal first_s
        if not stopping.is_set():
            first_s = time.monotonic()
            stopping.set()
        elif time.monotonic() - first_s > 1.0:  # Some senders signal a process and its group.
            os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    return stopping


@contextmanager
def quiet_tensorflow_import() -> Iterator[None]:
    """Imports TensorFlow inside without its notes about CPUs and GPUs on the terminal.

    Some of them are written by static initializers before any setting is read, so standard error
    is set aside for the time of the import, and shown after all when the import fails.
    """
    # Without a GPU, even "error" has a line to say about it; real errors come as exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as aside:
        terminal = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            aside.seek(0)
            os.write(terminal, aside.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


@contextmanager
def without_keras() -> Iterator[None]:
    """Imports TensorFlow inside without the Keras that it imports at its end, if there is one.

    The server needs neither Keras nor what comes with it (pandas, PIL), a quarter of the time that
    TensorFlow takes to import. TensorFlow gets by where Keras is not installed; `None` in
    `sys.modules` is how Python says so.
    """
    hidden = {"keras", "tf_keras"} - set(sys.modules)
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def _stop_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


if __name__ == "__main__":
    sys.exit(main())
