"""Beam's own Flink and Spark runners, with one job server for all nodes of a process.

Beam's would start a JVM for each node, may fetch its jar from the network in the middle of a run,
and sets a signal handler, which only the main thread may; nodes run in threads. A job is named this
runner by its import path (`--runner=tfx_pipeline.runners.beam.runner.FlinkRunner`), so that a
machine that only runs nodes starts the job server itself, and only when a node needs it: a cached
one does not.
"""

from __future__ import annotations

import atexit
import functools
import logging
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from apache_beam.options import pipeline_options
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2_grpc, beam_job_api_pb2_grpc
from apache_beam.runners.portability import flink_runner, job_server, spark_runner
from apache_beam.runners.worker import sdk_worker_main, worker_pool_main
from apache_beam.transforms import environments
from apache_beam.utils import thread_pool_executor

from tfx_pipeline.errors import EnvironmentMismatch, Transient
from tfx_pipeline.runners.beam import jars

log = logging.getLogger(__name__)

START_TIMEOUT_S = 120.0
_PORTS_TRIED = 3
# Ends the server when our end of the pipe closes, however this process ends (kill -9 as well), and
# removes the temporary folder, whose name is $0.
_ENDS_WITH_US = """
exec 3<&0
"$@" </dev/null 3<&- & server=$!
{ cat >/dev/null; kill $server 2>/dev/null; sleep 10; kill -9 $server 2>/dev/null; } <&3 &
watcher=$!
wait $server; status=$?
kill $watcher
if [ -n "$0" ]; then rm -rf "$0"; fi
exit $status
"""
# The engine and the protocols have no bound on a message; gRPC would set one of 4 MB.
_CHANNEL = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class SharedJobServer(job_server.JobServer):  # type: ignore[misc]
    """A job server that starts once, whichever threads ask for it, and ends with this process.

    Args:
        command: Starts it; `{job_port}` and `{artifacts_dir}` are filled in.
        port: Its port for jobs; 0: a free one.
        artifacts_dir: Folder for staged files; "": a temporary one.
    """

    def __init__(self, command: Sequence[str], port: int, artifacts_dir: str) -> None:
        self._command = list(command)
        self._port = port
        self._artifacts_dir = artifacts_dir
        self._temporary = ""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Any = None
        self._last_lines: list[str] = []

    def start(self) -> Any:
        """The stub of its job service.

        Raises:
            EnvironmentMismatch: It does not start.
        """
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                log.warning("the job server ended with %s; starting another", self._process.poll())
                self._stop()
            if self._process is None:
                self._start_on_a_port()
            return beam_job_api_pb2_grpc.JobServiceStub(self._channel)

    def stop(self) -> None:
        """Ends it."""
        with self._lock:
            self._stop()

    def _start_on_a_port(self) -> None:
        """A free port can be another's by the time that the server binds it: nodes of one run
        start together."""
        for _ in range(_PORTS_TRIED - 1):
            try:
                self._start(self._port or _free_port())
                return
            except EnvironmentMismatch as error:
                if self._port or "in use" not in error.headline:
                    raise
                log.warning("%s; trying another port", error.headline)
        self._start(self._port or _free_port())

    def _start(self, port: int) -> None:
        if not self._artifacts_dir:
            self._temporary = tempfile.mkdtemp(prefix="assay-beam-artifacts-")
        filled = {"job_port": port, "artifacts_dir": self._artifacts_dir or self._temporary}
        command = [
            word.format(**filled) if word in ("{job_port}", "{artifacts_dir}") else word
            for word in self._command
        ]
        log.info("starting %s", " ".join(command))
        try:
            self._process = subprocess.Popen(
                ["sh", "-c", _ENDS_WITH_US, self._temporary, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # A Ctrl+C on the terminal is for us; we then end it.
                start_new_session=True,
            )
        except OSError as error:
            raise EnvironmentMismatch(
                f"Beam's job server cannot be started: {error.strerror}",
                hint="It is started by a POSIX shell; `assay doctor --beam flink` checks Java.",
            ) from error
        atexit.register(self.stop)
        self._last_lines = []
        threading.Thread(target=self._copy_log, args=(self._process,), daemon=True).start()
        self._channel = grpc.insecure_channel(f"localhost:{port}", options=_CHANNEL)
        self._wait(self._process)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        ready = grpc.channel_ready_future(self._channel)
        end = time.monotonic() + START_TIMEOUT_S
        while True:
            if process.poll() is not None:
                time.sleep(0.2)  # Its last lines are on their way.
                said = _cause(self._last_lines)
                self._stop()
                raise EnvironmentMismatch(
                    f"Beam's job server ended with {process.poll()} at its start: {said}"[:600],
                    where="run.beam",
                    hint="`assay doctor --beam flink` (or spark) checks Java, jar and ports.",
                )
            try:
                ready.result(timeout=0.2)
                return
            except grpc.FutureTimeoutError:
                if time.monotonic() > end:
                    self._stop()
                    raise Transient(
                        f"Beam's job server did not answer within {START_TIMEOUT_S:.0f} s",
                        where="run.beam.job_server",
                        hint="The run's log has what it printed.",
                    ) from None

    def _copy_log(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            text = line.decode(errors="replace").rstrip()
            self._last_lines = [*self._last_lines[-20:], text]
            log.info("%s", text)

    def _stop(self) -> None:
        process, self._process = self._process, None
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
        self._temporary = ""
        atexit.unregister(self.stop)


def _cause(lines: Sequence[str]) -> str:
    """What of a server's last words says most: Java's is a stack with the reason in the middle."""
    taken = [line.strip() for line in lines if "in use" in line]
    return "; ".join(taken[-1:] or lines[-3:])


_SERVERS: dict[tuple[str, ...], SharedJobServer] = {}
_SERVERS_LOCK = threading.Lock()


def shared(command: Sequence[str], port: int, artifacts_dir: str) -> SharedJobServer:
    """The job server that this process has for a command; it starts when it is first used."""
    key = (*command, str(port), artifacts_dir)
    with _SERVERS_LOCK:
        if key not in _SERVERS:
            _SERVERS[key] = SharedJobServer(command, port, artifacts_dir)
        return _SERVERS[key]


def stop_all() -> None:
    """Ends every job server of this process."""
    with _SERVERS_LOCK:
        servers = list(_SERVERS.values())
        _SERVERS.clear()
    for server in servers:
        server.stop()


class _Private:
    """Loopback workers that only this machine can reach; Beam's listen on every interface, and
    whoever reaches one can have it run code."""

    @staticmethod
    def start_and_replace_loopback_environments(pipeline: Any, options: Any) -> list[Any]:
        """As Beam's: a pool of worker threads for the job; what ends it."""
        stops = []
        for environment in pipeline.components.environments.values():
            if environment.urn != python_urns.EMBEDDED_PYTHON_LOOPBACK:
                continue
            address, server = _loopback_pool(options)
            external = environments.ExternalEnvironment(address).to_runner_api(None)
            environment.urn, environment.payload = external.urn, external.payload
            stops.append(functools.partial(server.stop, 1))
        return stops


def _loopback_pool(options: Any) -> tuple[str, grpc.Server]:
    experiments = options.view_as(pipeline_options.DebugOptions).experiments or []
    pool = worker_pool_main.BeamFnExternalWorkerPoolServicer(
        state_cache_size=sdk_worker_main._get_state_cache_size_bytes(options=options),
        data_buffer_time_limit_ms=sdk_worker_main._get_data_buffer_time_limit_ms(experiments),
    )
    server = grpc.server(thread_pool_executor.shared_unbounded_instance())
    port = server.add_insecure_port("127.0.0.1:0")
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    server.start()
    return f"127.0.0.1:{port}", server


class FlinkRunner(_Private, flink_runner.FlinkRunner):  # type: ignore[misc]
    """Beam's FlinkRunner with a shared job server."""

    def default_job_server(self, options: Any) -> job_server.JobServer:
        """The job server; Beam asks for it when no `job_endpoint` is given."""
        flink = options.view_as(pipeline_options.FlinkRunnerOptions)
        if flink.flink_submit_uber_jar:
            return super().default_job_server(options)
        jar = flink.flink_job_server_jar or jars.require("flink", flink.flink_version)
        master = self.add_http_scheme(flink.flink_master)
        return _server(options, jar, ["--flink-master", master], [])


class SparkRunner(_Private, spark_runner.SparkRunner):  # type: ignore[misc]
    """Beam's SparkRunner with a shared job server."""

    def default_job_server(self, options: Any) -> job_server.JobServer:
        """The job server; Beam asks for it when no `job_endpoint` is given."""
        spark = options.view_as(pipeline_options.SparkRunnerOptions)
        if spark.spark_submit_uber_jar:
            return super().default_job_server(options)
        jar = spark.spark_job_server_jar or jars.require("spark", spark.spark_version)
        opens = spark_runner.SPARK_JAR_JOB_SERVER_JVM_ARGS
        return _server(options, jar, ["--spark-master-url", spark.spark_master_url], opens)


def _server(
    options: Any, jar: str | Path, engine: Sequence[str], jvm: Sequence[str]
) -> SharedJobServer:
    wanted = options.view_as(pipeline_options.JobServerOptions)
    command = [
        wanted.job_server_java_launcher,
        *jvm,
        *wanted.job_server_jvm_properties,
        "-jar",
        str(jar),
        *engine,
        *("--job-host", "localhost"),
        *("--artifacts-dir", "{artifacts_dir}"),
        *("--job-port", "{job_port}"),
        *("--artifact-port", str(wanted.artifact_port)),
        # For transforms of other languages, of which TFX has none; it takes a port all the same.
        *("--expansion-port", str(wanted.expansion_port)),
    ]
    return shared(command, wanted.job_port, wanted.artifacts_dir or "")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])
