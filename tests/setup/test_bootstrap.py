from __future__ import annotations

import hashlib
import http.server
import io
import os
import platform
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
sys.path.insert(0, str(REPO / "tools"))  # The scripts of make are no package.
import bootstrap_uv  # noqa: E402
import setup_env  # noqa: E402

BINARY = b"#!/bin/sh\necho uv of a test\n"


def wheel() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("uv/__init__.py", "")
        archive.writestr("uv-9.9.9.data/scripts/uv", BINARY)
    return content.getvalue()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """A package index on this machine that serves one wheel of uv."""
    name = "uv-9.9.9-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
    folder = tmp_path / "site" / "uv"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(wheel())
    digest = hashlib.sha256(wheel()).hexdigest()
    (folder / "index.html").write_text(f'<a href="{name}#sha256={digest}">{name}</a>')

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "site"))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


needs_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the index has one build")


@needs_x86
def test_uv_is_downloaded_where_python_has_no_pip(index: str, tmp_path: Path) -> None:
    hashes = frozenset([hashlib.sha256(wheel()).hexdigest()])
    assert bootstrap_uv._download(index, hashes, tmp_path).read_bytes() == BINARY


@needs_x86
def test_a_file_with_another_hash_is_refused(index: str, tmp_path: Path) -> None:
    page = tmp_path / "site/uv/index.html"
    allowed = page.read_text().partition("sha256=")[2][:64]
    name = next((tmp_path / "site/uv").glob("*.whl"))
    name.write_bytes(wheel() + b"tampered")
    with pytest.raises(bootstrap_uv.BootstrapFailed, match="is not the one in"):
        bootstrap_uv._download(index, frozenset([allowed]), tmp_path)


def test_an_index_that_cannot_be_reached_is_a_reason_not_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(bootstrap_uv.BootstrapFailed, match=r"refused|urlopen"):
        bootstrap_uv._download("http://127.0.0.1:9", frozenset(), tmp_path)


def test_the_pin_names_a_wheel_for_linux_and_its_hash() -> None:
    version, hashes = bootstrap_uv.pinned(REPO / "requirements/bootstrap.txt")
    assert version.count(".") == 2
    assert len(hashes) >= 4


def test_a_password_in_the_index_is_not_shown() -> None:
    shown = bootstrap_uv.without_password("https://me:secret@mirror.example/simple")
    assert shown == "https://mirror.example/simple"


def test_settings_for_pip_hold_for_uv() -> None:
    given = {"PIP_CERT": "/ca.pem", "PYTHONDONTWRITEBYTECODE": "1", "VIRTUAL_ENV": "/x", "A": "b"}
    got = setup_env.install_environment(given)
    assert got["SSL_CERT_FILE"] == "/ca.pem"
    assert got["A"] == "b"
    assert not {"PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV"} & set(got)


def test_pips_index_is_used_unless_uv_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    got = setup_env.install_environment(dict(os.environ))
    assert got["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://other.example/simple")
    got = setup_env.install_environment(dict(os.environ))
    assert got["UV_DEFAULT_INDEX"] == "https://other.example/simple"


def test_uv_keeps_its_downloads_in_the_checkout(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    tools = Path(".tools").absolute()
    inside = {
        "UV_CACHE_DIR": str(tools / "uv-cache"),
        "UV_PYTHON_INSTALL_DIR": str(tools / "python"),
    }
    assert setup_env.kept_inside(home) == inside
    assert inside.items() <= setup_env.install_environment(home).items()


def test_a_users_own_places_for_downloads_are_kept(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert setup_env.kept_inside({**home, "UV_CACHE_DIR": "/c"}).keys() == {"UV_PYTHON_INSTALL_DIR"}
    assert "UV_CACHE_DIR" not in setup_env.kept_inside({**home, "UV_NO_CACHE": "1"})
    (tmp_path / ".cache/uv").mkdir(parents=True)
    (tmp_path / ".local/share/uv/python").mkdir(parents=True)
    assert setup_env.kept_inside(home) == {}
    elsewhere = {**home, "XDG_CACHE_HOME": "/x", "XDG_DATA_HOME": "/y", "UV_CACHE_DIR": "/c"}
    assert list(setup_env.kept_inside(elsewhere)) == ["UV_PYTHON_INSTALL_DIR"]


def make_venv(folder: Path) -> Path:
    """An environment like set-up's, as far as its health is judged: a Python that answers."""
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text("#!/bin/sh\necho 3.11\n")
    python.chmod(0o755)
    (folder / "location").write_text(str(folder))
    return folder


def test_a_whole_environment_is_kept(tmp_path: Path) -> None:
    assert setup_env.why_rebuild(tmp_path / "none") == "new"
    assert setup_env.why_rebuild(make_venv(tmp_path / "venv")) == ""


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("touch venv/unfinished", "cut off"),
        ("rm venv/bin/python", "no working Python"),
        ("printf '#!/bin/sh\\necho 3.10\\n' > venv/bin/python", "no working Python"),
        ("ln -sf /nowhere/python venv/bin/python", "no working Python"),
        ("mv venv v2", "moved"),
    ],
)
def test_a_broken_environment_is_made_anew(tmp_path: Path, harm: str, words: str) -> None:
    make_venv(tmp_path / "venv")
    subprocess.run(harm, shell=True, check=True, cwd=tmp_path)
    venv = tmp_path / ("v2" if words == "moved" else "venv")
    assert words in setup_env.why_rebuild(venv)


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("error: No interpreter found for Python 3.11 in managed installations", "UV_PYTHON="),
        ("failed to write: No space left on device (os error 28)", "disk is full"),
        ("  Caused by: dns error: failed to lookup address", "HTTPS_PROXY"),
        ("invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE"),
        ("error: Hash mismatch for `rich==15.0.0`", "another file than the locked"),
    ],
)
def test_a_failed_installation_says_what_to_do(log: str, words: str) -> None:
    explained = setup_env.explain(f"$ uv pip install\n{log}\n")
    assert words in explained
    assert log.strip() in explained
    assert "install.log" in explained


def test_other_platforms_are_refused_before_anything_is_fetched() -> None:
    setup_env.check_platform("linux", "x86_64")
    with pytest.raises(setup_env.SetupFailed, match="darwin on arm64"):
        setup_env.check_platform("darwin", "arm64")
