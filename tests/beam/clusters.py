"""Real Flink and Spark clusters on loopback: Java processes that a test starts and always ends."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

REPO = Path(__file__).parents[2]
FETCHED = REPO / ".tools" / "beam"
FLINK = FETCHED / "flink-1.20.5"
SPARK = FETCHED / "spark-3.5.7"
JARS = FETCHED / "jars"

# For every JVM of the tests: none lives long enough for its second compiler to pay.
SHORT_LIVED = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
# Spark's worker starts executors from SPARK_HOME; everything stays on loopback.
ENVIRONMENT = {
    "SPARK_HOME": str(SPARK),
    "SPARK_SCALA_VERSION": "2.12",
    "SPARK_LOCAL_IP": "127.0.0.1",
    "JAVA_TOOL_OPTIONS": SHORT_LIVED,
}
# What Flink's and Spark's own start scripts open to themselves on Java 17.
_OPENS = [
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in (
        "java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio",
        "java.text", "java.time", "java.util", "java.util.concurrent",
        "java.util.concurrent.atomic", "java.util.concurrent.locks", "sun.nio.ch", "sun.nio.cs",
        "sun.security.action", "sun.util.calendar",
    )
]  # fmt: skip
_LOG4J = """
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss} %-5p %c{1} %m%n
"""


def why_not(engine: str) -> str:
    """Why the tests of an engine cannot run here, or ""."""
    if shutil.which("java") is None:
        return "there is no Java on the PATH"
    folder = FLINK if engine == "flink" else SPARK
    if not (folder / "complete").exists():
        return f"{folder.relative_to(REPO)} is not there: run `make beam-jars`"
    if not list(JARS.glob(f"assay-{engine}-*.jar.sha256")):
        return f"no {engine} job server in {JARS.relative_to(REPO)}: run `make beam-jars`"
    return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Cluster:
    """Processes of a cluster; their output is in `folder`.

    Attributes:
        folder: Logs, configuration and scratch of the cluster.
        master: What `run.beam.master` is.
        workers: The task managers or Spark workers, in the order they were started.
    """

    folder: Path
    master: str = ""
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **ENVIRONMENT},
            )
        self.processes.append(process)
        return process

    def kill_worker(self) -> None:
        """`kill -9` to the oldest worker that is alive, with all that it started."""
        worker = next(w for w in self.workers if w.poll() is None)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

    def end(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()

    def logs(self) -> str:
        """The last lines of every log."""
        parts = []
        for path in sorted(self.folder.glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-15:]
            parts.append("\n".join([f"== {path.name}", *lines]))
        return "\n".join(parts)


@dataclass
class FlinkCluster(Cluster):
    """A Flink session cluster: a job manager, and task managers with two slots each.

    Attributes:
        restarts: How often parts of a job may start again. Each task on a lost worker counts.
    """

    restarts: int = 1

    @property
    def rest(self) -> str:
        return f"http://{self.master}"

    def start_job_manager(self) -> None:
        rest, rpc = free_port(), free_port()
        self.master = f"127.0.0.1:{rest}"
        lines = {
            "jobmanager.rpc.address": "127.0.0.1",
            "jobmanager.rpc.port": rpc,
            "jobmanager.bind-host": "127.0.0.1",
            "rest.address": "127.0.0.1",
            "rest.bind-address": "127.0.0.1",
            "rest.port": rest,
            "blob.server.port": 0,
            "taskmanager.host": "127.0.0.1",
            "taskmanager.bind-host": "127.0.0.1",
            "taskmanager.numberOfTaskSlots": 2,
            "parallelism.default": 2,
            # A start script would work these out of taskmanager.memory.process.size.
            "taskmanager.cpu.cores": 2.0,
            "taskmanager.memory.framework.heap.size": "128m",
            "taskmanager.memory.framework.off-heap.size": "128m",
            "taskmanager.memory.task.heap.size": "384m",
            "taskmanager.memory.task.off-heap.size": "64m",
            "taskmanager.memory.managed.size": "256m",
            "taskmanager.memory.network.min": "128m",
            "taskmanager.memory.network.max": "128m",
            # StatisticsGen shuffles some thirty times at once; each shuffle takes 512 by default.
            "taskmanager.network.sort-shuffle.min-buffers": 16,
            "taskmanager.memory.jvm-metaspace.size": "256m",
            "taskmanager.memory.jvm-overhead.min": "192m",
            "taskmanager.memory.jvm-overhead.max": "192m",
            # Quick enough for a test: a lost worker is noticed in seconds, and the job tried again.
            "heartbeat.interval": "500 ms",
            "heartbeat.timeout": "5 s",
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": self.restarts,
            "restart-strategy.fixed-delay.delay": "1 s",
            "slot.request.timeout": "20 s",
            "io.tmp.dirs": str(self.folder / "tmp"),
        }
        conf = self.folder / "conf"
        conf.mkdir()
        (self.folder / "tmp").mkdir()
        (conf / "config.yaml").write_text("".join(f"{k}: {v}\n" for k, v in lines.items()))
        (conf / "log4j.properties").write_text(_LOG4J)
        main = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        self.start("jobmanager", self._java("512m", main, "--executionMode", "cluster"))

    def start_task_manager(self) -> None:
        main = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
        number = len(self.workers)
        self.workers.append(self.start(f"taskmanager-{number}", self._java("512m", main)))

    def _java(self, heap: str, main: str, *words: str) -> list[str]:
        conf = self.folder / "conf"
        return [
            "java", f"-Xmx{heap}", *_OPENS,
            f"-Dlog4j.configurationFile=file:{conf}/log4j.properties",
            "-cp", f"{FLINK}/lib/*", main, "--configDir", str(conf), *words,
        ]  # fmt: skip

    def get(self, path: str) -> dict[str, object]:
        with urllib.request.urlopen(self.rest + path, timeout=10) as answer:
            found: dict[str, object] = json.load(answer)
        return found

    def wait(self, task_managers: int, seconds: float = 90) -> None:
        wait_for(lambda: self.get("/overview")["taskmanagers"] == task_managers, seconds, self)

    def running_job(self) -> str:
        """Id of a job that has a running task now; "" if there is none."""
        jobs = self.get("/jobs")["jobs"]
        assert isinstance(jobs, list)
        return next((str(j["id"]) for j in jobs if j["status"] == "RUNNING"), "")


def wait_for(reached: object, seconds: float, cluster: Cluster) -> None:
    """Waits until a function says yes; what it raises while a server starts counts as no."""
    assert callable(reached)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, KeyError, ValueError):
            if reached():
                return
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s\n{cluster.logs()}")


def wait_for_true(reached: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


@contextlib.contextmanager
def flink_cluster(
    folder: Path, task_managers: int = 1, restarts: int = 1
) -> Iterator[FlinkCluster]:
    cluster = FlinkCluster(folder, restarts=restarts)
    try:
        cluster.start_job_manager()
        for _ in range(task_managers):
            cluster.start_task_manager()
        cluster.wait(task_managers)
        yield cluster
    finally:
        cluster.end()


@contextlib.contextmanager
def spark_cluster(folder: Path) -> Iterator[Cluster]:
    """A Spark standalone cluster: a master and one worker with two cores."""
    cluster = Cluster(folder)
    port, ui = free_port(), free_port()
    cluster.master = f"spark://127.0.0.1:{port}"
    (folder / "log4j2.properties").write_text(_LOG4J)
    java = [
        "java", "-Xmx512m", *_OPENS,
        f"-Dlog4j2.configurationFile=file:{folder}/log4j2.properties", "-cp", f"{SPARK}/jars/*",
    ]  # fmt: skip
    try:
        main = "org.apache.spark.deploy.master.Master"
        words = ["--host", "127.0.0.1", "--port", str(port), "--webui-port", str(ui)]
        cluster.start("master", [*java, main, *words])
        main = "org.apache.spark.deploy.worker.Worker"
        words = ["--host", "127.0.0.1", "--cores", "2", "--memory", "1500m"]
        scratch = ["--work-dir", str(folder / "work"), "--webui-port", "0", cluster.master]
        cluster.workers.append(cluster.start("worker", [*java, main, *words, *scratch]))

        def registered() -> bool:
            with urllib.request.urlopen(f"http://127.0.0.1:{ui}/json/", timeout=10) as answer:
                return bool(json.load(answer)["aliveworkers"] == 1)

        wait_for(registered, 90, cluster)
        yield cluster
    finally:
        cluster.end()
