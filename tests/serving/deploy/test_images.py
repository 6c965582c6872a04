"""The images: what their scripts do, what their Dockerfiles say, and the lock's part in them."""

from __future__ import annotations

import ast
import http.server
import importlib.metadata
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

IMAGES = ["assay", "tensorflow-serving"]


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """The instructions and their arguments, continuation lines joined."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line]


def environment(dockerfile: Path) -> dict[str, str]:
    pairs = [
        word for name, rest in instructions(dockerfile) if name == "ENV" for word in rest.split()
    ]
    return dict(pair.split("=", 1) for pair in pairs)


# --- the entry point


@pytest.fixture
def fake_server(tmp_path: Path) -> Path:
    """Stands for a server's binary: tells its process id and arguments, and ends on SIGTERM."""
    server = tmp_path / "server"
    server.write_text(
        f"#!{sys.executable}\n"
        "import os, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(7))\n"
        "print(os.getpid(), *sys.argv[1:], sep='\\n', end='\\n\\n', flush=True)\n"
        "signal.pause()\n"
    )
    server.chmod(0o755)
    return server


def start_entrypoint(deploy: Path, server: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(deploy / "docker" / "entrypoint.sh"), *arguments],
        env={
            "PATH": f"{server.parent}:{os.environ['PATH']}",
            "MODEL_SERVER": server.name,
            "MODEL_BASE_PATH": "/models",
            "MODEL_NAME": "a model",
        },
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return [line.rstrip("\n") for line in iter(process.stdout.readline, "\n")]


def test_the_entry_point_passes_what_tensorflow_servings_does(
    deploy: Path, fake_server: Path
) -> None:
    process = start_entrypoint(deploy, fake_server, "--enable_batching", "--model_name=b c")
    try:
        assert said(process)[1:] == [
            "--port=8500",
            "--rest_api_port=8501",
            "--model_name=a model",
            "--model_base_path=/models/a model",
            "--enable_batching",
            "--model_name=b c",  # the last one counts, in both servers
        ]
    finally:
        process.kill()
        process.wait()


def test_the_server_is_the_process_that_gets_sigterm(deploy: Path, fake_server: Path) -> None:
    process = start_entrypoint(deploy, fake_server)
    assert int(said(process)[0]) == process.pid
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 7


# --- the health check


@contextmanager
def rest_server(answers: dict[str, int]) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answers.get(self.path, 404))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def health(deploy: Path, port: int, **variables: str) -> int:
    return subprocess.run(
        [str(deploy / "docker" / "healthcheck.sh")],
        env={"PATH": os.environ["PATH"], "HEALTHCHECK_PORT": str(port), **variables},
        capture_output=True,
        timeout=20,
        check=False,
    ).returncode


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (404, False)])
@pytest.mark.parametrize(
    ("path", "variables"),
    [
        ("/readyz", {"HEALTHCHECK_PATH": "/readyz", "MODEL_NAME": "taxi"}),
        ("/v1/models/taxi", {"MODEL_NAME": "taxi"}),
    ],
)
def test_healthy_is_200(
    deploy: Path, path: str, variables: dict[str, str], status: int, healthy: bool
) -> None:
    with rest_server({path: status}) as port:
        assert (health(deploy, port, **variables) == 0) is healthy


def test_a_port_that_nobody_opened_is_not_healthy(deploy: Path) -> None:
    with rest_server({}) as port:
        pass
    assert health(deploy, port, HEALTHCHECK_PATH="/readyz") != 0


# --- the Dockerfiles


@pytest.mark.parametrize("image", IMAGES)
def test_dockerfile(deploy: Path, image: str) -> None:
    dockerfile = deploy / "docker" / f"{image}.Dockerfile"
    said = dict(instructions(dockerfile))
    assert said["EXPOSE"] == "8500 8501"
    assert said["STOPSIGNAL"] == "SIGTERM"
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", said["USER"])  # runAsNonRoot wants a number
    assert said["ENTRYPOINT"] == '["/usr/local/bin/entrypoint.sh"]'
    assert said["HEALTHCHECK"].endswith('CMD ["/usr/local/bin/healthcheck.sh"]')
    assert environment(dockerfile)["MODEL_BASE_PATH"] == "/models"
    assert environment(dockerfile)["MODEL_NAME"] == "model"


@pytest.mark.parametrize("image", IMAGES)
def test_the_build_context_has_what_is_copied(repository: Path, deploy: Path, image: str) -> None:
    dockerfile = deploy / "docker" / f"{image}.Dockerfile"
    lines = (deploy / "docker" / f"{image}.Dockerfile.dockerignore").read_text().splitlines()
    kept = [line.removeprefix("!") for line in lines if line.startswith("!")]
    for name, rest in instructions(dockerfile):
        if name != "COPY" or "--from=" in rest:
            continue
        for source in rest.split()[:-1]:
            assert (repository / source).exists()
            assert any(source == keep or source.startswith(f"{keep}/") for keep in kept), source
    assert all((repository / keep).exists() for keep in kept)


def test_both_servers_binaries(deploy: Path) -> None:
    servers = [
        environment(deploy / "docker" / f"{image}.Dockerfile")["MODEL_SERVER"] for image in IMAGES
    ]
    scripts = importlib.metadata.entry_points(group="console_scripts")
    assert servers == ["assay-model-server", "tensorflow_model_server"]
    assert servers[0] in {script.name for script in scripts}


def test_the_entry_points_flags_exist(deploy: Path, server_flags: frozenset[str]) -> None:
    used = re.findall(r"--(\w+)=", (deploy / "docker" / "entrypoint.sh").read_text())
    assert used
    assert set(used) <= server_flags


# --- the lock


def lock_subset(repository: Path, *arguments: str) -> str:
    command = [sys.executable, "tools/lock_subset.py", *arguments]
    return subprocess.run(
        command, cwd=repository, capture_output=True, text=True, check=True
    ).stdout


def names(lock: str) -> set[str]:
    return {line.split("==")[0] for line in lock.splitlines() if "==" in line}


@pytest.mark.parametrize("extra", ["client", "serving"])
def test_the_extras_part_of_the_lock_is_complete(repository: Path, extra: str) -> None:
    """Complete by what the installed packages say of themselves."""
    part = names(lock_subset(repository, extra))
    for package in part:
        for text in importlib.metadata.requires(package) or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert canonicalize_name(requirement.name) in part, f"{package} needs {text}"


def test_the_servers_part_has_tensorflow_and_no_tfx(repository: Path) -> None:
    part = names(lock_subset(repository, "serving"))
    assert {"tensorflow", "grpcio", "protobuf", "numpy"} <= part
    assert not {"tfx", "tensorflow-transform", "apache-beam", "pytest"} & part
    assert "tensorflow" not in names(lock_subset(repository, "client"))


def imported(file: Path) -> set[str]:
    """The packages that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name.split(".")[0] for name in found}


def test_the_servers_part_has_all_that_the_server_imports(repository: Path) -> None:
    part = names(lock_subset(repository, "serving"))
    ours = {"serving", "transform", "trainer", "tfx_pipeline"}
    shared = {"google"}  # a namespace of many distributions; of protobuf, here
    distributions = importlib.metadata.packages_distributions()
    for file in [*(repository / "serving").rglob("*.py"), repository / "tfx_pipeline/errors.py"]:
        for package in imported(file) - set(sys.stdlib_module_names) - ours - shared:
            providers = {canonicalize_name(name) for name in distributions[package]}
            assert providers & part, f"{file} imports {package}: add {providers} to setup.py"


def test_the_part_keeps_versions_and_hashes(repository: Path) -> None:
    lock = (repository / "requirements" / "lock.txt").read_text()
    pins = [f"{pin}\n" for pin in re.split(r"\n(?=\S)", lock_subset(repository, "client").rstrip())]
    assert len(pins) > 3
    for pin in pins:
        assert "--hash=sha256:" in pin
        assert f"\n{pin}" in lock


def test_an_extra_that_is_not_there_is_named(repository: Path) -> None:
    command = [sys.executable, "tools/lock_subset.py", "no-such"]
    run = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "setup.py has no extra 'no-such'" in run.stderr


def test_what_the_lock_lacks_is_named(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "lock.txt").write_text("numpy==2.4.6 \\\n    --hash=sha256:00\n    # via -r x\n")
    command = [sys.executable, "tools/lock_subset.py", "client", f"--lock={tmp_path / 'lock.txt'}"]
    run = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "the lock has no grpcio" in run.stderr


def test_the_dockerfile_installs_what_is_locked(deploy: Path) -> None:
    runs = [
        rest for name, rest in instructions(deploy / "docker" / "assay.Dockerfile") if name == "RUN"
    ]
    words = shlex.split(" ".join(runs))
    assert words[words.index("lock_subset.py") + 1] == "serving"
    assert words.count("--require-hashes") == 2
    assert words.count("--no-deps") == 2
