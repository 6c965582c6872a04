"""Real metadata servers for tests: PostgreSQL and MySQL (MariaDB) where they are installed."""

from __future__ import annotations

import getpass
import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

PASSWORD = "a quiet 'pass' word"
SQL_PASSWORD = PASSWORD.replace("'", "''")
# Below `run` in a pipeline.yaml.
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


@contextmanager
def short_folder() -> Iterator[Path]:
    """Short, as sockets' paths must be, and not below pytest's folders, which are private."""
    with tempfile.TemporaryDirectory(prefix="assay-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def postgresql_server(folder: Path) -> Iterator[int]:
    """PostgreSQL with the database `mlmd`, user `assay` and PASSWORD; yields its port."""
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
        process.send_signal(signal.SIGINT)  # SIGTERM would wait for whoever is still connected.
        process.wait(30)


@contextmanager
def mysql_server(folder: Path) -> Iterator[int]:
    """MariaDB with the same; yields its port."""
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
