"""The manifest's arguments and the ConfigMaps' files, through the entry point, start our server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from serving.client import Client

pytestmark = pytest.mark.slow
_RUNNING = re.compile(r"Running gRPC ModelServer at \S*:(\d+)")
ROW = {"fare": 2.0, "miles": 1.0, "hour": 3, "company": "a"}


def test_the_manifests_server_answers_and_drains(
    deploy: Path, push: Callable[..., Path], tmp_path: Path
) -> None:
    push(tmp_path / "models" / "taxi", 1)
    push(tmp_path / "models" / "taxi", 2, scale=3)
    text = (deploy / "kubernetes" / "base" / "deployment.yaml").read_text()
    arguments = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"][0]["args"]
    for mounted, folder in (("models", "kubernetes/components/canary"), ("settings", "config")):
        (tmp_path / mounted).mkdir(exist_ok=True)
        for file in (deploy / folder).glob("*.config"):
            moved = file.read_text().replace('"/models/', f'"{tmp_path}/models/')
            (tmp_path / mounted / file.name).write_text(moved)
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                str(deploy / "docker" / "entrypoint.sh"),
                *(argument.replace("/config/", f"{tmp_path}/") for argument in arguments),
                *("--port=0", "--rest_api_port=0", "--bind_address=127.0.0.1"),
            ],
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "MODEL_SERVER": "assay-model-server",
                "MODEL_BASE_PATH": "/not-used",
                "MODEL_NAME": "not_used",
                "ASSAY_EXIT_WITH_STDIN": "1",
            },
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdout=output,
            text=True,
        )
    assert process.stdin is not None
    assert process.stderr is not None
    with process, process.stdin:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := _RUNNING.search(line):
                break
        else:
            raise AssertionError("".join(lines))
        with Client(f"127.0.0.1:{found[1]}") as client:
            client.wait_ready("taxi", 60)
            assert client.predict("taxi", [ROW])["score"].tolist() == [[7.0]]  # the newest
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(30) == 0, rest
    assert "stopped" in rest
