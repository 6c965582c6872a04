"""Starts one Beam worker and gives it the code of the job: Beam's `boot`, in Python.

Beam's own is a Go program in its Docker images. This one makes the environment types PROCESS and
EXTERNAL work with a `--setup_file` where there is no such image. It needs Python, pip, Beam and
whatever the code imports on the worker's machine, and nothing else of Assay: copy the file there.

    run.beam.environment: {type: process, command: /opt/assay/beam-boot}   # a script that runs it
    python -m apache_beam.runners.worker.worker_pool_main --container_executable=...  (EXTERNAL)

It follows https://s.apache.org/beam-fn-api-container-contract.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import grpc
from apache_beam.portability.api import (
    beam_artifact_api_pb2,
    beam_artifact_api_pb2_grpc,
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    beam_runner_api_pb2,
    endpoints_pb2,
)
from google.protobuf import json_format, text_format

_SETUP_PACKAGE = "workflow.tar.gz"  # What Beam calls the package of `--setup_file`.


def main(arguments: list[str] | None = None) -> None:
    """Fetches the job's files, installs them, and runs Beam's worker."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    for name in ("id", "provision_endpoint", "control_endpoint", "logging_endpoint"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--artifact_endpoint", default="")
    given, _ = parser.parse_known_args(arguments)
    # Services tell workers apart by this header.
    header = [("worker_id", given.id)]
    with grpc.insecure_channel(given.provision_endpoint) as channel:
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        request = beam_provision_api_pb2.GetProvisionInfoRequest()
        info = service.GetProvisionInfo(request, metadata=header, timeout=60).info
    with tempfile.TemporaryDirectory(prefix="beam-worker-", ignore_cleanup_errors=True) as folder:
        sys.exit(_work(given, info, header, Path(folder)))


def _work(given: argparse.Namespace, info: Any, header: Any, folder: Path) -> int:
    """Runs the worker to its end; its exit code."""
    staged, installed = folder / "staged", folder / "installed"
    for path in (staged, installed):
        path.mkdir(parents=True, exist_ok=True)
    fetch(given.artifact_endpoint or info.artifact_endpoint.url, info.dependencies, header, staged)
    install(staged, installed)
    control = given.control_endpoint or info.control_endpoint.url
    logging = given.logging_endpoint or info.logging_endpoint.url
    search = [str(installed)]
    if before := os.environ.get("PYTHONPATH"):
        search.append(before)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(search),
        "WORKER_ID": given.id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "SEMI_PERSISTENT_DIRECTORY": str(folder),
        "CONTROL_API_SERVICE_DESCRIPTOR": _descriptor(control),
        "LOGGING_API_SERVICE_DESCRIPTOR": _descriptor(logging),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    }
    # -P: not from the folder that it happens to be started in, before what was installed.
    command = [sys.executable, "-P", "-m", "apache_beam.runners.worker.sdk_worker_main"]
    worker = subprocess.Popen(command, env=environment)
    signal.signal(signal.SIGTERM, lambda *_: worker.terminate())
    return worker.wait()


def fetch(endpoint: str, dependencies: Any, header: Any, folder: Path) -> None:
    """Brings the files that the job was submitted with.

    Args:
        endpoint: host:port of the artifact service.
        dependencies: `ArtifactInformation` of each file.
        header: gRPC metadata that names this worker.
        folder: Where they go, under the names they were staged by.
    """
    if not dependencies:
        return
    with grpc.insecure_channel(endpoint) as channel:
        service = beam_artifact_api_pb2_grpc.ArtifactRetrievalServiceStub(channel)
        request = beam_artifact_api_pb2.ResolveArtifactsRequest(artifacts=dependencies)
        resolved = service.ResolveArtifacts(request, metadata=header, timeout=60).replacements
        for artifact in resolved:
            role = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(
                artifact.role_payload
            )
            # A name, not a path: what the job says must not leave the folder.
            name = Path(role.staged_name).name
            wanted = beam_artifact_api_pb2.GetArtifactRequest(artifact=artifact)
            with (folder / name).open("wb") as file:
                for chunk in service.GetArtifact(wanted, metadata=header):
                    file.write(chunk.data)


def install(staged: Path, target: Path) -> None:
    """Installs the package of `--setup_file` and those of `--extra_package`, without what they
    depend on: that is the worker machine's, or its image's."""
    listed = staged / "extra_packages.txt"
    extra = listed.read_text().split() if listed.exists() else []
    packages = [staged / name for name in (*extra, _SETUP_PACKAGE) if (staged / name).exists()]
    if packages:
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
             "--no-deps", "--no-build-isolation", "--target", str(target), *map(str, packages)],
            check=True,
            stdout=sys.stderr,
        )  # fmt: skip


def _descriptor(url: str) -> str:
    return str(text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=url)))


if __name__ == "__main__":
    main()
