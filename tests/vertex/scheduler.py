"""Carries out a PipelineJob as Vertex does: its containers' commands, as processes of this machine.

What Vertex is documented to do, and nothing of what our own compiler means to say: it reads the
JSON alone. Custom jobs of Google's launcher become one process a replica, with TF_CONFIG.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SUCCEEDED, FAILED, NOT_TRIGGERED, NOT_STARTED = (
    "SUCCEEDED",
    "FAILED",
    "NOT_TRIGGERED",
    "NOT_STARTED",
)
LAUNCHER = "google_cloud_pipeline_components.container.v1.custom_job.launcher"

Json = dict[str, Any]


@dataclass
class Task:
    """A task that runs. The first process is the one whose exit code counts."""

    processes: list[subprocess.Popen[bytes]]
    outputs: dict[str, Path]
    tries: int


@dataclass
class JobRun:
    """A job and what came of it: state and output parameters of each task."""

    job: Json
    job_id: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        return FAILED not in self.states.values()

    def run(self) -> JobRun:
        """Runs every task that comes to run; those that do not depend on each other at once."""
        tasks = self.job["pipelineSpec"]["root"]["dag"]["tasks"]
        running: dict[str, Task] = {}
        while len(self.states) < len(tasks):
            for name in sorted(tasks.keys() - self.states.keys() - running.keys()):
                state = self._ready(tasks[name])
                if state == "start":
                    running[name] = self._start(name, tasks[name], 1)
                elif state:
                    self.states[name] = state
            for name, task in list(running.items()):
                try:
                    code = task.processes[0].wait(0.05)
                except subprocess.TimeoutExpired:
                    continue
                self._stop(task)
                if code and task.tries <= tasks[name].get("retryPolicy", {}).get(
                    "maxRetryCount", 0
                ):
                    running[name] = self._start(name, tasks[name], task.tries + 1)
                    continue
                del running[name]
                self._end(name, task, code)
        return self

    def _ready(self, task: Json) -> str:
        before = [self.states.get(name) for name in task.get("dependentTasks", [])]
        if FAILED in before or NOT_STARTED in before:
            return NOT_STARTED
        # ALL_UPSTREAM_TASKS_SUCCEEDED, the default of TriggerPolicy.
        if NOT_TRIGGERED in before:
            return NOT_TRIGGERED
        if None in before:
            return ""
        condition = task.get("triggerPolicy", {}).get("condition", "")
        return "start" if holds(condition, self._inputs(task)) else NOT_TRIGGERED

    def _inputs(self, task: Json) -> dict[str, str]:
        found = {}
        for name, given in task["inputs"]["parameters"].items():
            if "runtimeValue" in given:
                text = given["runtimeValue"]["constant"]
                found[name] = text.replace("{{$.pipeline_job_name}}", self.job_id)
            else:
                source = given["taskOutputParameter"]
                found[name] = self.parameters[source["producerTask"]][source["outputParameterKey"]]
        return found

    def _start(self, name: str, task: Json, tries: int) -> Task:
        spec = self.job["pipelineSpec"]
        component = spec["components"][task["componentRef"]["name"]]
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        folder = self.folder / f"{name}-{tries}"
        outputs = {key: folder / key for key in component["outputDefinitions"]["parameters"]}
        values = {f"inputs.parameters['{k}']": v for k, v in self._inputs(task).items()}
        for key, file in outputs.items():
            values[f"outputs.parameters['{key}'].output_file"] = str(file)
        replicas = replicas_of(container, values)
        folder.mkdir(parents=True)
        processes = []
        for index, (command, more) in enumerate(replicas):
            environment = {**os.environ, **self.environment, **more}
            environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
            with (folder / f"log-{index}").open("wb") as log:
                processes.append(
                    subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
                )
        return Task(processes, outputs, tries)

    def _stop(self, task: Task) -> None:
        """The job ends with its first replica."""
        for process in task.processes[1:]:
            if process.poll() is None:
                process.terminate()
            process.wait()

    def _end(self, name: str, task: Task, code: int) -> None:
        self.states[name] = FAILED if code else SUCCEEDED
        self.parameters[name] = {
            key: file.read_text() for key, file in task.outputs.items() if file.exists()
        }

    def logs(self) -> str:
        """What the containers printed, for a test that fails."""
        files = sorted(self.folder.glob("*/log-*"))
        return "\n".join(f"== {file.parent.name}\n{file.read_text()}" for file in files)


def replicas_of(container: Json, values: dict[str, str]) -> list[tuple[list[str], dict[str, str]]]:
    """Command and environment of each process that a container spec comes to."""
    command = [substituted(part, values) for part in container["command"]]
    args = [substituted(part, values) for part in container.get("args", [])]
    if LAUNCHER not in command:
        env = {each["name"]: each["value"] for each in container.get("env", [])}
        return [([*command, *args], env)]
    payload = json.loads(args[args.index("--payload") + 1])
    pools = payload["job_spec"]["worker_pool_specs"]
    hosts = [[f"localhost:{free_port()}" for _ in range(p["replica_count"])] for p in pools]
    cluster = dict(zip(("chief", "worker"), hosts, strict=False))
    found = []
    for kind, pool in zip(cluster, pools, strict=True):
        spec = pool["container_spec"]
        env = {each["name"]: each["value"] for each in spec["env"]}
        for index in range(pool["replica_count"]):
            task = {"type": kind, "index": index}
            config = {"cluster": cluster, "environment": "cloud", "task": task}
            more = {**env, "TF_CONFIG": json.dumps(config)}
            found.append(([*spec["command"], *spec["args"]], more))
    return found


def substituted(text: str, values: dict[str, str]) -> str:
    """A text with its placeholders filled in; an unknown one is an error, as on Vertex."""
    return re.sub(r"\{\{\$\.(.+?)\}\}", lambda found: values[found.group(1)], text)


def holds(condition: str, inputs: dict[str, str]) -> bool:
    """The part of CEL that the compiler writes; anything else is an error."""
    for part in filter(None, condition.split(" && ")):
        found = re.fullmatch(r"inputs\.parameter_values\['(\w+)'\] != '(\w+)'", part)
        assert found is not None, condition
        if inputs[found.group(1)] == found.group(2):
            return False
    return True


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])
