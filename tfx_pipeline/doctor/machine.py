"""Looks at this machine and installation once, for the checks to judge. Imports no TensorFlow."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

NATIVE_PACKAGES = ("tensorflow", "tfx-bsl", "ml-metadata", "tensorflow-data-validation")
SLOW_IMPORTS = ("tensorflow", "tf_keras", "tfx", "apache_beam", "tensorflow_model_analysis")
_PROBED = ("tensorflow", "tf_keras", "tfx.v1")
_LOCK = Path(__file__).parents[2] / "requirements" / "lock.txt"


@dataclass(frozen=True)
class ImportProbe:
    """What a fresh Python said after importing the heavy packages.

    Attributes:
        seconds: Wall time of the imports, in seconds.
        gpus: Number of GPUs TensorFlow sees.
        error: The last line of the traceback if an import failed, else "".
    """

    seconds: float = 0.0
    gpus: int = 0
    error: str = ""


@dataclass(frozen=True)
class Machine:
    """Everything that the checks judge.

    Attributes:
        python: Version of this interpreter, for instance (3, 11, 7).
        system: Operating system and processor, for instance "Linux x86_64".
        glibc: Version of the C library, (0, 0) where it is another one.
        wheel_glibc: For each native package installed, the glibc its wheel was built for.
        locked: Distribution name to version, as in the lock; empty if there is no lock here.
        installed: Distribution name to version, as installed.
        environment: The environment variables.
        uncompiled: Heavy packages that have no compiled bytecode.
        gpus: Names of the GPUs that the driver shows.
        probe: What importing the heavy packages in a fresh process gave; None if not tried.
        disk_free: Bytes free where runs would be written.
        memory_free: Bytes of memory that can still be used, within the container's limit.
        java: First line of `java -version`; "" if there is none.
        model_server: Path of `tensorflow_model_server`; "" if there is none.
        model_server_version: What it says about itself; "" if it does not start.
        beam: The Beam runner that the user means to use; "" if not said.
    """

    python: tuple[int, int, int] = (3, 11, 0)
    system: str = "Linux x86_64"
    glibc: tuple[int, int] = (2, 36)
    wheel_glibc: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    locked: Mapping[str, str] = field(default_factory=dict)
    installed: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    uncompiled: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    probe: ImportProbe | None = None
    disk_free: int = 100 << 30
    memory_free: int = 16 << 30
    java: str = ""
    model_server: str = ""
    model_server_version: str = ""
    beam: str = ""


def look(beam: str = "", *, lock: Path = _LOCK, folder: Path = Path()) -> Machine:
    """Gathers what the checks need. Takes as long as importing TensorFlow and TFX once.

    Args:
        beam: The Beam runner that the user means to use, for instance "flink".
        lock: The lock file to compare with; it may be missing.
        folder: Where runs would be written.
    """
    server = shutil.which("tensorflow_model_server") or ""
    return Machine(
        python=sys.version_info[:3],
        system=f"{platform.system()} {platform.machine()}",
        glibc=version_pair(platform.libc_ver()[1]),
        wheel_glibc=wheel_glibc(NATIVE_PACKAGES),
        locked=read_lock(lock),
        installed=installed_versions(),
        environment=dict(os.environ),
        uncompiled=uncompiled(SLOW_IMPORTS),
        gpus=driver_gpus(),
        probe=probe_imports(_PROBED),
        disk_free=shutil.disk_usage(folder).free,
        memory_free=memory_free(Path("/sys/fs/cgroup")),
        java=_first_line(["java", "-version"]),
        model_server=server,
        model_server_version=_first_line([server, "--version"]) if server else "",
        beam=beam,
    )


def version_pair(version: str) -> tuple[int, int]:
    """Major and minor version; (0, 0) if there is none."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 normalizes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(lock: Path) -> dict[str, str]:
    """Distribution name to version, from a hashed requirements file; empty if it is missing."""
    if not lock.exists():
        return {}
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE)
    return {canonical(name): version for name, version in pins}


def installed_versions(path: Iterable[str] | None = None) -> dict[str, str]:
    """Distribution name to version of what is installed.

    Args:
        path: Folders to look in, `sys.path` by default. Earlier ones win, as in an import.
    """
    versions: dict[str, str] = {}
    for distribution in importlib.metadata.distributions(path=list(path or sys.path)):
        versions.setdefault(canonical(distribution.name), distribution.version)
    return versions


def wheel_glibc(names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """The oldest glibc that each installed wheel claims to run on (PEP 600 tags)."""
    needed = {}
    for name in names:
        try:
            tags = importlib.metadata.distribution(name).read_text("WHEEL") or ""
        except importlib.metadata.PackageNotFoundError:
            continue
        found = [(int(a), int(b)) for a, b in re.findall(r"manylinux_(\d+)_(\d+)_", tags)]
        if found:
            needed[name] = min(found)
    return needed


def uncompiled(packages: Iterable[str]) -> tuple[str, ...]:
    """The installed packages whose first module has no compiled bytecode for this Python."""
    missing = []
    for package in packages:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.origin:
            continue
        if not Path(importlib.util.cache_from_source(spec.origin)).exists():
            missing.append(package)
    return tuple(missing)


def driver_gpus(proc: Path = Path("/proc/driver/nvidia/gpus")) -> tuple[str, ...]:
    """Names of NVIDIA's GPUs, from nvidia-smi, else from the driver's files."""
    listed = _output(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    if listed:
        return tuple(listed.splitlines())
    names = []
    for information in sorted(proc.glob("*/information")):
        model = re.search(r"^Model:\s*(.+)$", information.read_text(), re.MULTILINE)
        names.append(model[1].strip() if model else information.parent.name)
    return tuple(names)


def memory_free(cgroup: Path) -> int:
    """Bytes of memory that this process may still take: the host's, or the container's if less.

    Args:
        cgroup: Root of the control groups, version 2, as the container sees it.
    """
    free = psutil.virtual_memory().available
    limit, used = cgroup / "memory.max", cgroup / "memory.current"
    if limit.exists() and used.exists() and limit.read_text().strip() != "max":
        # Cached files count as used, but the kernel gives them up when memory is asked for.
        cached = re.search(r"^inactive_file (\d+)$", _text(cgroup / "memory.stat"), re.MULTILINE)
        reclaimable = int(cached[1]) if cached else 0
        free = min(free, int(limit.read_text()) - int(used.read_text()) + reclaimable)
    return int(free)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def probe_imports(modules: Iterable[str], timeout: float = 300) -> ImportProbe | None:
    """Imports the modules that are installed in a fresh Python, and times it.

    Args:
        modules: Import paths; those whose top-level package is absent are left out.
        timeout: Seconds to wait at most.

    Returns:
        None if none of the modules is installed.
    """
    present = [name for name in modules if importlib.util.find_spec(name.split(".")[0])]
    if not present:
        return None
    code = (
        "import importlib, json, sys, time\n"
        "start = time.perf_counter()\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "seconds = time.perf_counter() - start\n"
        "tf = sys.modules.get('tensorflow')\n"
        "gpus = len(tf.config.list_physical_devices('GPU')) if tf else 0\n"
        "print(json.dumps({'seconds': seconds, 'gpus': gpus}))\n"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"}
    try:
        run = subprocess.run(
            [sys.executable, "-c", code, *present],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return ImportProbe(seconds=timeout, error=f"not done after {timeout:.0f} s")
    if run.returncode < 0:
        return ImportProbe(error=f"Python was ended by signal {-run.returncode}")
    if run.returncode:
        return ImportProbe(error=(run.stderr.strip().splitlines() or ["no message"])[-1])
    return ImportProbe(**json.loads(run.stdout.splitlines()[-1]))


def _output(command: list[str]) -> str:
    """What a command prints on either channel; "" if it is absent, fails, or hangs."""
    try:
        run = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return run.stdout.strip()


def _first_line(command: list[str]) -> str:
    lines = _output(command).splitlines()
    return lines[0] if lines else ""
