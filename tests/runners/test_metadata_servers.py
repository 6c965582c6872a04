"""Lineage on a metadata server: real PostgreSQL and MySQL (MariaDB) where they are installed."""

from __future__ import annotations

import getpass
import glob
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.runners import doubles
from tests.runners.remembering import Remembering
from tfx_pipeline.config import PipelineConfig, load_config
from tfx_pipeline.errors import AssayError, EnvironmentMismatch
from tfx_pipeline.runners.local import RunOptions, run_pipeline

pytestmark = pytest.mark.slow

PASSWORD = "a quiet 'pass' word"
SQL_PASSWORD = PASSWORD.replace("'", "''")
YAML = """
  metadata:
    backend: {backend}
    host: 127.0.0.1
    port: {port}
    database: mlmd
    user: assay
"""


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def binary(name: str) -> str:
    places = [*os.environ["PATH"].split(os.pathsep), "/usr/sbin"]
    places += sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, as sockets' paths must be, and not below pytest's folders, which are private."""
    with tempfile.TemporaryDirectory(prefix="assay-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def postgresql(folder: Path) -> Iterator[int]:
    initdb, server, createdb = binary("initdb"), binary("postgres"), binary("createdb")
    # PostgreSQL does not run as root.
    user: str | None = None
    if getpass.getuser() == "root":
        user = "postgres"
        shutil.chown(folder, user)
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    data = folder / "data"
    subprocess.run(
        [initdb, "-D", data, "-U", "assay", "-A", "scram-sha-256", f"--pwfile={secret}"],
        check=True, capture_output=True, user=user,
    )  # fmt: skip
    port = free_port()
    process = subprocess.Popen(
        [server, "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user,
    )  # fmt: skip
    environment = {**os.environ, "PGPASSWORD": PASSWORD}
    create = [createdb, "-h", "127.0.0.1", "-p", str(port), "-U", "assay", "mlmd"]
    try:
        until_it_works(create, environment, process)
        yield port
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def mysql(folder: Path) -> Iterator[int]:
    install, server, client = binary("mariadb-install-db"), binary("mariadbd"), binary("mariadb")
    user = getpass.getuser()
    data, socket_file, port = folder / "data", folder / "socket", free_port()
    subprocess.run(
        [install, "--no-defaults", f"--datadir={data}", f"--user={user}", "--skip-test-db"],
        check=True, capture_output=True,
    )  # fmt: skip
    process = subprocess.Popen(
        [server, "--no-defaults", f"--datadir={data}", f"--user={user}", f"--port={port}",
         "--bind-address=127.0.0.1", f"--socket={socket_file}", f"--pid-file={folder / 'pid'}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    statements = (
        "CREATE DATABASE mlmd;"
        f"CREATE USER assay@'127.0.0.1' IDENTIFIED BY '{SQL_PASSWORD}';"
        f"CREATE USER assay@localhost IDENTIFIED BY '{SQL_PASSWORD}';"
        "GRANT ALL ON mlmd.* TO assay@'127.0.0.1'; GRANT ALL ON mlmd.* TO assay@localhost;"
    )
    try:
        create = [client, "--no-defaults", f"--socket={socket_file}", "-u", user, "-e", statements]
        until_it_works(create, dict(os.environ), process)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def until_it_works(
    command: list[str], environment: dict[str, str], server: subprocess.Popen[bytes]
) -> None:
    deadline = time.monotonic() + 60
    while True:
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        if done.returncode == 0:
            return
        assert server.poll() is None, "the database server has ended"
        assert time.monotonic() < deadline, done.stderr.decode()
        time.sleep(0.2)


def with_backend(config: PipelineConfig, backend: str, port: int) -> PipelineConfig:
    path = config.folder / "pipeline.yaml"
    path.write_text(path.read_text() + YAML.format(backend=backend, port=port))
    return load_config(path)


def check(config: PipelineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSAY_METADATA_PASSWORD", raising=False)
    with pytest.raises(EnvironmentMismatch, match="no password"):
        run_pipeline(config, RunOptions(), Remembering(), doubles.create)
    monkeypatch.setenv("ASSAY_METADATA_PASSWORD", "wrong")
    with pytest.raises(AssayError) as refused:
        run_pipeline(config, RunOptions(), Remembering(), doubles.create)
    assert refused.value.exit_code == EnvironmentMismatch.exit_code
    monkeypatch.setenv("ASSAY_METADATA_PASSWORD", PASSWORD)
    first = run_pipeline(config, RunOptions(), Remembering(), doubles.create)
    again = run_pipeline(config, RunOptions(), Remembering(), doubles.create)
    assert {node.state for node in first.nodes.values()} == {"complete"}
    assert {node.state for node in again.nodes.values()} == {"cached"}
    assert not (config.root / "metadata.db").exists()
    for file in config.root.rglob("*"):
        if file.is_file() and file.suffix in (".json", ".yaml", ".log"):
            assert PASSWORD not in file.read_text(), file


def test_postgresql(
    config: PipelineConfig, postgresql: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(with_backend(config, "postgresql", postgresql), monkeypatch)


def test_mysql(config: PipelineConfig, mysql: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check(with_backend(config, "mysql", mysql), monkeypatch)
