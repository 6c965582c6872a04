"""What stands around `assay run-node` in a container: state, signals, the password."""

from __future__ import annotations

import base64
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.vertex import fake_vertex
from tfx_pipeline.errors import EnvironmentMismatch
from tfx_pipeline.runners.vertex import task
from tfx_pipeline.runners.vertex.secret import ENDPOINT_ENV, read_secret

SECRET = "projects/my-project/secrets/mlmd/versions/latest"


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """In the place of `assay run-node IR ...`: does nothing, well."""
    ir = {"folder": str(tmp_path), "config": {"run": {"root": str(tmp_path / "runs")}}}
    (tmp_path / "x.ir.json").write_text(json.dumps(ir))
    options = ["--node", "N", "--run-id", "r", "--runner", "kubeflow", "--skip-exit-code", "0"]
    return ["true", "run-node", str(tmp_path / "x.ir.json"), *options]


def node(folder: Path, **fields: object) -> None:
    record = folder / "runs" / "r" / "run.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({"nodes": {"N": {"artifacts": {}, **fields}}}))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"state": "complete"}, "complete"),
        ({"state": "cached"}, "cached"),
        ({"state": "skipped"}, "skipped"),
        ({"state": "complete", "outcome": "refused"}, "refused"),
        ({"state": "cached", "artifacts": {"b": [{"properties": {"blessed": 0}}]}}, "refused"),
        ({"state": "complete", "artifacts": {"b": [{"properties": {"blessed": 1}}]}}, "complete"),
    ],
)
def test_says_how_the_node_went(
    tmp_path: Path, command: list[str], fields: dict[str, object], said: str
) -> None:
    node(tmp_path, **fields)
    state = tmp_path / "out" / "state"
    assert task.main(["--state", str(state), "--", *command]) == 0
    assert state.read_text() == said


def test_a_failure_keeps_its_exit_code_and_says_nothing(tmp_path: Path, command: list[str]) -> None:
    state = tmp_path / "state"
    assert task.main(["--state", str(state), "--", "sh", "-c", "exit 8"]) == 8
    assert not state.exists()


def test_only_the_chief_says_it(
    tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    node(tmp_path, state="complete")
    cluster = {"chief": ["a:1"], "worker": ["b:1"]}
    worker = {"cluster": cluster, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(worker))
    state = tmp_path / "state"
    assert task.main(["--state", str(state), "--", *command]) == 0
    assert not state.exists()


def test_a_cancelled_task_ends_its_node(tmp_path: Path) -> None:
    started = tmp_path / "started"
    script = f"trap 'exit 143' TERM; touch {started}; sleep 60 & wait"
    process = subprocess.Popen(
        [sys.executable, "-m", "tfx_pipeline.runners.vertex.task", "--state",
         str(tmp_path / "state"), "--", "sh", "-c", script]
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not started.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143


@dataclass
class FakeSecrets:
    """Secret Manager's REST interface, and where Google's tokens come from."""

    url: str = ""
    code: int = 200
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSecrets]:
    fake = FakeSecrets()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._answer(200, {"access_token": "a-token", "expires_in": 3600})

        def do_GET(self) -> None:
            assert self.headers["Authorization"] == "Bearer a-token"
            fake.asked.append(self.path)
            data = base64.b64encode(b"a quiet word").decode()
            self._answer(fake.code, {"payload": {"data": data}})

        def _answer(self, code: int, content: object) -> None:
            text = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
    fake.url = f"http://localhost:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    key = fake_vertex.service_account_key(tmp_path)
    key.write_text(key.read_text().replace("http://localhost:1/token", f"{fake.url}/token"))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    monkeypatch.setenv(ENDPOINT_ENV, fake.url)
    yield fake
    server.shutdown()
    server.server_close()


def test_the_node_gets_the_password_from_secret_manager(
    tmp_path: Path, secrets: FakeSecrets
) -> None:
    told = tmp_path / "told"
    script = ["sh", "-c", f'printf "%s" "$MLMD" > {told}; exit 3']
    state = str(tmp_path / "state")
    assert task.main(["--state", state, "--secret", f"MLMD={SECRET}", "--", *script]) == 3
    assert told.read_text() == "a quiet word"
    assert secrets.asked == [f"/v1/{SECRET}:access"]
    assert "MLMD" not in os.environ


def test_a_password_that_is_set_is_left_alone(
    tmp_path: Path, secrets: FakeSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLMD", "mine")
    state = str(tmp_path / "state")
    script = ["sh", "-c", 'test "$MLMD" = mine && exit 4']
    assert task.main(["--state", state, "--secret", f"MLMD={SECRET}", "--", *script]) == 4
    assert not secrets.asked


def test_a_secret_that_may_not_be_read_is_explained(secrets: FakeSecrets) -> None:
    secrets.code = 403
    with pytest.raises(EnvironmentMismatch, match="403") as refused:
        read_secret(SECRET)
    assert refused.value.where == SECRET
    assert "roles/secretmanager.secretAccessor" in refused.value.hint
