"""Puts the pinned uv into .tools/ and prints its path; standard library only.

Three ways, because a bare Python often lacks one: its own pip, the pip of a throw-away virtual
environment, and a plain download from the package index. Each checks the hashes in
requirements/bootstrap.txt, and the binary gets its final name only when it is whole.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

BOOTSTRAP = Path("requirements/bootstrap.txt")
TOOLS = Path(".tools")
DEFAULT_INDEX = "https://pypi.org/simple"
_BUILD = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "arm64"}


class BootstrapFailed(Exception):
    """Raise when one of the ways to get uv does not work here. The next one is tried."""


def pinned(bootstrap: Path = BOOTSTRAP) -> tuple[str, frozenset[str]]:
    """The version of uv in the requirements file, and the SHA-256 of every wheel allowed."""
    text = bootstrap.read_text()
    version = re.search(r"^uv==(\S+)", text, re.MULTILINE)
    if version is None:
        raise BootstrapFailed(f"{bootstrap} pins no uv")
    return version[1], frozenset(re.findall(r"sha256:([0-9a-f]{64})", text))


def uv_path() -> Path:
    """The uv to use, fetched if it is not there yet.

    Raises:
        BootstrapFailed: No way worked; the message has the reason of each and what to do.
    """
    version, hashes = pinned()
    final = TOOLS / f"uv-{version}"
    if final.exists():
        return final.absolute()
    TOOLS.mkdir(exist_ok=True)
    ways: list[tuple[str, Callable[[Path], Path]]] = [
        ("pip", lambda folder: _with_pip([sys.executable, "-m", "pip"], folder)),
        ("python3 -m venv", _with_venv),
        ("download", lambda folder: _download(index_url(), hashes, folder)),
    ]
    reasons = []
    for name, way in ways:
        with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
            try:
                binary = way(Path(folder))
            except BootstrapFailed as error:
                reasons.append(f"  {name}: {error}")
                continue
            binary.chmod(0o755)
            os.replace(binary, final)
            return final.absolute()
    raise BootstrapFailed(
        f"cannot fetch uv {version} from the package index {without_password(index_url())}:\n"
        + "\n".join(reasons)
        + "\n  Behind a proxy, set HTTPS_PROXY; with a mirror, set PIP_INDEX_URL; with a company's"
        "\n  certificate, set SSL_CERT_FILE. Then run make again."
    )


def index_url() -> str:
    """The package index that the user's settings for uv or pip name, else PyPI."""
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if os.environ.get(variable):
            return os.environ[variable]
    # A Python without pip prints nothing here. (Asking find_spec("pip") instead would switch off
    # setuptools' distutils for the rest of a process.)
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or DEFAULT_INDEX


def without_password(url: str) -> str:
    """The URL as it may be shown: without user and password."""
    return re.sub(r"//[^/@]*@", "//", url)


def _with_pip(pip: list[str], folder: Path) -> Path:
    target = folder / "target"
    command = [*pip, "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    command += ["--target", str(target), "-r", str(BOOTSTRAP)]
    # A user's own defaults for pip may forbid --target; it touches nothing outside this folder.
    environment = {**os.environ, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
    # Nor does pip's cache, which nothing reads again. And pip asks `rustc` for its version: where
    # that is rustup's, it would make a folder in HOME.
    environment |= {"PIP_NO_CACHE_DIR": "1", "RUSTUP_HOME": str(folder / "rustup")}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    binary = target / "bin" / "uv"
    if run.returncode or not binary.exists():
        raise BootstrapFailed(_last_line(run.stderr) or "installed no uv")
    return binary


def _with_venv(folder: Path) -> Path:
    command = [sys.executable, "-m", "venv", str(folder / "venv")]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise BootstrapFailed("this Python makes no virtual environment with pip")
    return _with_pip([str(folder / "venv" / "bin" / "python"), "-m", "pip"], folder)


def _download(index: str, hashes: frozenset[str], folder: Path) -> Path:
    page = f"{index.rstrip('/')}/uv/"
    try:
        request = urllib.request.Request(page, headers={"Accept": "text/html"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            link = wheel_link(answer.read().decode(), hashes)
        with urllib.request.urlopen(urllib.parse.urljoin(page, link), timeout=60) as answer:
            content = answer.read()
    except (OSError, ValueError) as error:  # URLError and HTTPError are OSErrors.
        raise BootstrapFailed(str(error)) from error
    if hashlib.sha256(content).hexdigest() not in hashes:
        raise BootstrapFailed(f"the file behind {page} is not the one in {BOOTSTRAP}")
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        inside = next(name for name in wheel.namelist() if name.endswith(".data/scripts/uv"))
        return Path(wheel.extract(inside, folder))


def wheel_link(page: str, hashes: frozenset[str]) -> str:
    """The link, on an index's HTML page, to a wheel that is allowed and runs on this machine."""
    machine = _BUILD.get(platform.machine().lower(), platform.machine())
    if sys.platform == "darwin":
        build = re.compile(rf"macosx_[0-9_]+_{machine}\b")
    else:
        libc = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
        build = re.compile(rf"{libc}_[0-9_]+_{machine}\b")
    for link, digest in re.findall(r'href="([^"#]+)#sha256=([0-9a-f]{64})"', page):
        if digest in hashes and build.search(link):
            return str(link)
    raise BootstrapFailed(f"the index has no pinned uv for {sys.platform} {machine}")


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


if __name__ == "__main__":
    try:
        print(uv_path())
    except BootstrapFailed as failed:
        sys.exit(f"Set-up: {failed}")
