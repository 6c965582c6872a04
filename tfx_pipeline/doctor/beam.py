"""What Beam on Flink or Spark needs beyond Java: `assay doctor --beam flink`."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

from tfx_pipeline.config.beam import BeamConfig
from tfx_pipeline.doctor.finding import Finding
from tfx_pipeline.doctor.machine import version_pair
from tfx_pipeline.runners.beam import hosts, jars, matrix
from tfx_pipeline.runners.beam.choice import local_memory

_TIMEOUT_S = 10
_PROBE_TIMEOUT_S = 240
_GB = 1e9


_OPEN_PORTS = Finding(
    "ports",
    "warn",
    "while a run lasts, the job server's ports for jobs and files listen on every interface, "
    "without a password",
    "Close them to other machines with a firewall (BeamRunner.md, Security).",
)


def beam_findings(beam: BeamConfig, root: str = "", probe: bool = False) -> list[Finding]:
    """Everything about `run.beam` that can be seen from this machine.

    Args:
        beam: The section; its engine is flink or spark.
        root: `run.root`, which the workers write to.
        probe: Also run a job of one row.
    """
    findings = [job_server(beam), cluster(beam), *staging(beam, root)]
    if not beam.job_server.endpoint:
        findings.append(_OPEN_PORTS)
    if probe and all(finding.status != "fail" for finding in findings):
        findings.append(one_row(beam))
    return findings


def job_server(beam: BeamConfig) -> Finding:
    """The job server: one that runs, or a jar that is whole."""
    name, server = "job server", beam.job_server
    if server.endpoint:
        error = _unreachable(server.endpoint)
        if error:
            return Finding(
                name, "fail", f"{server.endpoint}: {error}", "Start it, or mend the way to it."
            )
        return Finding(name, "ok", f"{server.endpoint} answers")
    engine = beam.runner
    version = beam.flink_version if engine == "flink" else matrix.spark_versions()[-1]
    if server.jar:
        there = "://" in server.jar or Path(server.jar).expanduser().is_file()
        detail = server.jar if there else f"no file {server.jar}"
        return Finding(name, "ok" if there else "fail", detail, "" if there else "Mend the path.")
    if matrix.job_server(engine, version) is None:
        known = ", ".join(matrix.flink_versions())
        detail = f"the installed Beam has none for Flink {version}"
        return Finding(name, "fail", detail, f"Set run.beam.version to one of {known}.")
    jar = jars.find(engine, version)
    command = jars.fetch_command(engine, version)
    if jar is None:
        detail = f"no jar for {engine} {version} in {jars.folder()}"
        return Finding(name, "fail", detail, f"Run `{command}`.")
    if damage := jars.damage(jar):
        return Finding(name, "fail", f"{jar}: {damage}", f"Run `{command}`, which replaces it.")
    return Finding(name, "ok", f"{jar.name}, sha256 {jars.sha256(jar)[:12]}… as fetched")


def cluster(beam: BeamConfig) -> Finding:
    """The cluster answers, is of the version that the job server is for, and has workers."""
    if beam.embedded:
        return Finding("cluster", "ok", "inside the job server; no cluster is needed")
    return _flink(beam) if beam.runner == "flink" else _spark(beam)


def _flink(beam: BeamConfig) -> Finding:
    url = beam.master if "://" in beam.master else f"http://{beam.master}"
    try:
        overview = json.loads(_get(f"{url}/overview"))
        version = str(overview["flink-version"])
        slots, workers = int(overview["slots-total"]), int(overview["taskmanagers"])
    except (OSError, ValueError, KeyError) as error:
        return Finding(
            "cluster",
            "fail",
            f"{url} does not answer as a Flink job manager: {error}",
            "Start the cluster, or mend run.beam.master: the REST address, usually port 8081.",
        )
    if version_pair(version) != version_pair(beam.flink_version):
        return Finding(
            "cluster",
            "fail",
            f"Flink {version}, and the job server is for {beam.flink_version}",
            f"Set run.beam.version to {'.'.join(map(str, version_pair(version)))}; Beam has job "
            f"servers for {', '.join(matrix.flink_versions())}.",
        )
    seen = f"Flink {version}, {workers} task managers, {slots} slots"
    if slots < (beam.parallelism or 1):
        return Finding(
            "cluster",
            "fail",
            f"{seen}, and parallelism is {beam.parallelism or 1}",
            "Start task managers, or lower run.beam.parallelism.",
        )
    return Finding("cluster", "ok", seen)


def _spark(beam: BeamConfig, ui_port: int = 8080) -> Finding:
    host, port = hosts.address(beam.master)
    error = _unreachable(f"{host}:{port}")
    if error:
        return Finding(
            "cluster",
            "fail",
            f"{beam.master}: {error}",
            "Start the cluster, or mend run.beam.master.",
        )
    # The port for jobs does not tell its version; the master's page does.
    ui_port = int(os.environ.get("ASSAY_SPARK_UI_PORT", ui_port))
    try:
        page = _get(f"http://{host}:{ui_port}/")
    except OSError:
        return Finding(
            "cluster",
            "warn",
            f"{beam.master} takes connections; its version cannot be read, as its page on port "
            f"{ui_port} does not answer",
            "See that it is Spark 3, built for Scala 2.12; ASSAY_SPARK_UI_PORT names another port.",
        )
    found = re.search(r'class="version"[^>]*>\s*([\d.]+)', page)
    version = found[1] if found else ""
    if version_pair(version)[0] != 3:
        return Finding(
            "cluster",
            "fail",
            f"Spark {version or 'of an unknown version'}; Beam's job server is for Spark 3",
            "Use a cluster of Spark 3.",
        )
    return Finding("cluster", "ok", f"Spark {version} at {beam.master}")


def staging(beam: BeamConfig, root: str) -> Iterator[Finding]:
    """The files of a job: written by the job server, read by the workers; and the results."""
    folder, away = beam.job_server.artifacts_dir, hosts.is_elsewhere(beam)
    name = "staging"
    if beam.job_server.artifact_endpoint:
        error = _unreachable(beam.job_server.artifact_endpoint)
        detail = f"{beam.job_server.artifact_endpoint}: {error or 'answers'}"
        yield Finding(
            name, "fail" if error else "ok", detail, "Mend the way to it." if error else ""
        )
    elif beam.job_server.endpoint:
        yield Finding(name, "ok", "where the job server says; that machine's folder")
    elif not folder and away:
        yield Finding(
            name,
            "fail",
            "a temporary folder of this machine, which the cluster's workers cannot read",
            "Set run.beam.job_server.artifacts_dir to a folder that both can read.",
        )
    elif "://" in folder:
        yield Finding(name, "ok", f"{folder}; run with --probe to see that workers can read it")
    elif folder and (error := _cannot_write(Path(folder))):
        yield Finding(name, "fail", f"{folder}: {error}", "Make it, or choose another folder.")
    elif away:
        yield Finding(
            name,
            "warn",
            f"{folder} can be written here; whether workers see the same folder is theirs to show",
            "Run with --probe: it sends a job through.",
        )
    else:
        yield Finding(name, "ok", folder or "a temporary folder; the workers are on this machine")
    if away:
        yield Finding(
            "run.root",
            "warn",
            f"workers of {beam.master} write results to {root or 'run.root'}",
            "It must be the same folder for them: on a shared file system, at the same path.",
        )


def one_row(beam: BeamConfig) -> Finding:
    """A job of one row, through the config's job server, cluster, environment and staging."""
    code = (
        "import json, sys, time\n"
        "from tfx_pipeline.config.beam import BeamConfig\n"
        "from tfx_pipeline.runners.beam.options import engine_args\n"
        "import apache_beam as beam\n"
        "from apache_beam.options.pipeline_options import PipelineOptions\n"
        "args = engine_args(BeamConfig.model_validate_json(sys.argv[1]))\n"
        "start = time.monotonic()\n"
        "with beam.Pipeline(options=PipelineOptions(args)) as p:\n"
        "    p | beam.Create([1]) | beam.Reshuffle() | beam.Map(lambda x: x)\n"
        "print(time.monotonic() - start)\n"
    )
    try:
        run = subprocess.run(
            [sys.executable, "-c", code, beam.model_dump_json()],
            capture_output=True,
            text=True,
            check=False,
            timeout=_PROBE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return Finding(
            "job of one row",
            "fail",
            f"not done after {_PROBE_TIMEOUT_S} s",
            "Look at the cluster's page: a job that waits for slots or for workers stands there.",
        )
    if run.returncode:
        said = [line for line in run.stderr.splitlines() if "Error" in line or "FAILED" in line]
        detail = (said or run.stderr.strip().splitlines() or ["no message"])[-1][:300]
        return Finding(
            "job of one row", "fail", detail, "BeamRunner.md lists errors and their causes."
        )
    seconds = float(run.stdout.split()[-1])
    return Finding("job of one row", "ok", f"{seconds:.0f} s from start to end")


def suggestion(data_bytes: int, memory_free: int) -> Finding:
    """The runner for data of a size on a machine with this much memory.

    Args:
        data_bytes: Size of the raw files, in bytes.
        memory_free: Free memory, in bytes.
    """
    needed = local_memory(data_bytes)
    seen = f"{data_bytes / _GB:.2g} GB of data, {memory_free / _GB:.1f} GB of memory free"
    asks = f"local would take about {needed / _GB:.2g} GB"
    if needed < 0.7 * memory_free:
        return Finding("runner", "ok", f"{seen}: local is enough and fastest; {asks}")
    if needed < 10 * memory_free:
        return Finding(
            "runner",
            "warn",
            f"{seen}; {asks}",
            "Use runner: flink with master `[local]`, which spills to disk, or a cluster.",
        )
    return Finding("runner", "warn", f"{seen}; {asks}", "Use a cluster: flink, spark, or dataflow.")


def _unreachable(endpoint: str) -> str:
    try:
        socket.create_connection(hosts.address(endpoint), timeout=_TIMEOUT_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _cannot_write(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mark = folder / f".assay-{uuid.uuid4().hex}"
        mark.write_text("x")
        mark.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
        return str(answer.read(1 << 20).decode(errors="replace"))
