"""Makes .venv hold exactly what requirements/lock.txt says; called by `make`, stdlib only.

The stamp that make looks for is written last. A marker is written first and removed last, so an
installation that was cut off anywhere is known as such, and the next call builds it anew: a
package that was half copied can look installed.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bootstrap_uv

VENV = Path(".venv")
LOCK = Path("requirements/lock.txt")
LOG = Path(".tools/install.log")
PYTHON_VERSION = "3.11"
_UNFINISHED = "unfinished"
_LOCATION = "location"  # Scripts in an environment hold its path, so a moved one is of no use.


class SetupFailed(Exception):
    """Raise when set-up cannot go on. The message says what to do."""


def main(stamp: Path, set_up: Callable[[Path], None] | None = None) -> int:
    """Runs a set-up unless its stamp is there, one at a time, and explains what stops it.

    Args:
        stamp: The file that says that the environment is complete.
        set_up: Makes environment and stamp; None: the one of .venv.
    """
    bootstrap_uv.TOOLS.mkdir(exist_ok=True)
    with (bootstrap_uv.TOOLS / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # A second make waits here, and then finds the stamp.
        if stamp.exists():
            return 0
        try:
            (set_up or set_up_assay)(stamp)
        except (SetupFailed, bootstrap_uv.BootstrapFailed) as error:
            print(f"\nSet-up: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("\nSet-up: interrupted. Run make again to finish it.", file=sys.stderr)
            return 130
    return 0


def set_up_assay(stamp: Path) -> None:
    """Fetches uv, makes the environment, installs the lock and then Assay itself."""
    started = time.monotonic()
    check_platform(sys.platform, platform.machine())
    if why_rebuild(VENV):
        print("Setting up Assay in .venv (once; needs about 5 GB of disk and the network)")
    else:
        print("Bringing .venv in line with requirements/ and setup.py")
    LOG.write_text("")
    with Stage("uv, the installer"):
        uv = str(bootstrap_uv.uv_path())
    environment = install_environment(dict(os.environ))

    begin(VENV, uv, environment, prompt="assay")
    # The lock also pins what builds the one package in it that comes as source.
    install_lock(VENV, LOCK, uv, environment, "--build-constraints", str(LOCK))
    install = [*_install(VENV, uv), "--no-build-isolation", "--reinstall", "-e", "."]
    run("Assay itself", install, environment)
    finish(VENV, stamp)
    print(f"Ready after {time.monotonic() - started:.0f} s.", flush=True)


def begin(venv: Path, uv: str, environment: dict[str, str], prompt: str) -> None:
    """Makes the environment if there is none to go on with, and marks it as unfinished."""
    reason = why_rebuild(venv)
    if reason:
        python = os.environ.get("UV_PYTHON", PYTHON_VERSION)
        command = [uv, "venv", "--clear", "--no-project", "--prompt", prompt, "--python", python]
        run(f"Python {PYTHON_VERSION} environment ({reason})", [*command, str(venv)], environment)
        if interpreter_version(venv) != PYTHON_VERSION:
            raise SetupFailed(f"UV_PYTHON={python} is not a Python {PYTHON_VERSION}; leave it out.")
    (venv / _UNFINISHED).touch()
    for old in venv.glob("stamp-*"):  # From here on the environment is no longer what they say.
        old.unlink()
    (venv / _LOCATION).write_text(str(venv.absolute()))


def install_lock(
    venv: Path, lock: Path, uv: str, environment: dict[str, str], *options: str
) -> None:
    """Installs exactly what a lock says."""
    packages = len(re.findall(r"^\S+==", lock.read_text(), re.MULTILINE))
    command = [*_install(venv, uv), "--require-hashes", "--compile-bytecode", *options]
    run(f"{packages} packages of {lock}", [*command, "-r", str(lock)], environment)


def finish(venv: Path, stamp: Path) -> None:
    """Says that the environment is complete."""
    (venv / _UNFINISHED).unlink()
    stamp.touch()


def _install(venv: Path, uv: str) -> list[str]:
    return [uv, "pip", "install", "--python", str(venv / "bin" / "python"), "--no-deps"]


def check_platform(system: str, machine: str) -> None:
    """Refuses early where TFX's native packages have no wheels.

    Args:
        system: As `sys.platform`.
        machine: As `platform.machine()`.
    """
    if (system, machine) != ("linux", "x86_64"):
        raise SetupFailed(
            f"the lock is for Linux on x86_64, and this is {system} on {machine}: TFX's native\n"
            "  packages have no wheels here. Use a Linux x86_64 machine or container\n"
            "  (docker run --platform linux/amd64 ...)."
        )


def why_rebuild(venv: Path) -> str:
    """Why the environment must be made from nothing, or "" if it can be brought up to date."""
    if not venv.exists():
        return "new"
    if (venv / _UNFINISHED).exists():
        return "anew: the last set-up was cut off"
    if interpreter_version(venv) != PYTHON_VERSION:
        return f"anew: the one there has no working Python {PYTHON_VERSION}"
    location = venv / _LOCATION
    if location.exists() and location.read_text() != str(venv.absolute()):
        return "anew: the folder was moved"
    return ""


def interpreter_version(venv: Path) -> str:
    """Major and minor version of the environment's Python; "" if it does not run."""
    command = [str(venv / "bin" / "python"), "-c"]
    command.append("import sys; print('%d.%d' % sys.version_info[:2])")
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def install_environment(environment: dict[str, str]) -> dict[str, str]:
    """The environment variables for uv: what the user set for pip holds for uv as well.

    Args:
        environment: The variables of this process.
    """
    # An activated environment is not the one that is being made, and bytecode must be compiled.
    unwanted = (
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONDONTWRITEBYTECODE",
    )
    result = {name: value for name, value in environment.items() if name not in unwanted}
    if not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & set(result):
        index = bootstrap_uv.index_url()
        if index != bootstrap_uv.DEFAULT_INDEX:
            result["UV_DEFAULT_INDEX"] = index
    certificates = result.get("PIP_CERT") or result.get("REQUESTS_CA_BUNDLE")
    if certificates:
        result.setdefault("SSL_CERT_FILE", certificates)
    result.setdefault("UV_HTTP_TIMEOUT", "120")  # TensorFlow alone is over half a gigabyte.
    return {**result, **kept_inside(result)}


def kept_inside(environment: dict[str, str]) -> dict[str, str]:
    """Where uv keeps downloads: in this folder, unless the user has a place for them already.

    On one disk the files of .venv are hard links into the cache, so it costs next to no space, and
    an environment that has to be made anew is not downloaded again.

    Args:
        environment: The variables of this process.

    Returns:
        The variables to add.
    """
    home = Path(environment.get("HOME") or Path.home())
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    data = Path(environment.get("XDG_DATA_HOME") or home / ".local" / "share")
    added = {}
    if not {"UV_CACHE_DIR", "UV_NO_CACHE"} & set(environment) and not (cache / "uv").is_dir():
        added["UV_CACHE_DIR"] = str((bootstrap_uv.TOOLS / "uv-cache").absolute())
    if "UV_PYTHON_INSTALL_DIR" not in environment and not (data / "uv" / "python").is_dir():
        added["UV_PYTHON_INSTALL_DIR"] = str((bootstrap_uv.TOOLS / "python").absolute())
    return added


class Stage:
    """Prints one line for a stage: its name at once, its seconds when it is done."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> Stage:
        self.started = time.monotonic()
        print(f"  {self.name} ...", end="", flush=True)
        return self

    def tick(self) -> None:
        """Shows that time passes, where the line can be written over."""
        if sys.stdout.isatty():
            seconds = time.monotonic() - self.started
            print(f"\r  {self.name} ... {seconds:.0f} s", end="", flush=True)

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            seconds = time.monotonic() - self.started
            start = "\r" + f"  {self.name} ..." if sys.stdout.isatty() else ""
            print(f"{start} {seconds:.0f} s", flush=True)


def run(name: str, command: list[str], environment: dict[str, str]) -> None:
    """Runs one stage with its output in the log; shows the log's end when it fails."""
    with Stage(name) as stage, LOG.open("a") as log:
        log.write(f"$ {' '.join(command)}\n")
        log.flush()
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            while True:
                try:
                    code = process.wait(timeout=1)
                    break
                except subprocess.TimeoutExpired:
                    stage.tick()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
        if code:
            raise SetupFailed(f"'{name}' failed.\n{explain(LOG.read_text())}")


def explain(log: str) -> str:
    """The end of the log, and what to do about the causes that are known."""
    remedies = {
        r"No interpreter found|No download found|failed to download.*python":
            f"Python {PYTHON_VERSION} is neither here nor could it be downloaded. Install it (for"
            f"\n  example `pyenv install {PYTHON_VERSION}`, or your system's python{PYTHON_VERSION}"
            " package), or name one:\n  UV_PYTHON=/path/to/python3.11 make setup",
        r"No space left on device":
            f"The disk is full ({shutil.disk_usage('.').free / 2**30:.1f} GB free here; "
            "5 GB are needed).",
        r"dns error|error sending request|Connection refused|timed out|Network is unreachable":
            "The package index cannot be reached. Behind a proxy, set HTTPS_PROXY; with a mirror,"
            "\n  set PIP_INDEX_URL.",
        r"invalid peer certificate|certificate verify failed":
            "The index's certificate is not trusted. Set SSL_CERT_FILE to your certificates.",
        r"Hash mismatch":
            "The index served another file than the locked one. Do not install it; use PyPI or"
            " another mirror.",
        r"no wheels with a matching|hasn't a wheel|not compatible with the current platform":
            "A wheel does not fit this system. glibc 2.28 or later is needed (`ldd --version`).",
    }  # fmt: skip
    hints = [hint for cause, hint in remedies.items() if re.search(cause, log, re.IGNORECASE)]
    tail = "\n".join(f"    {line}" for line in log.splitlines()[-12:])
    hints.append(f"The whole log is in {LOG}. Run make again to go on.")
    return tail + "".join(f"\n  {hint}" for hint in hints)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
