"""The checks of `assay doctor`: each judges a `Machine` and returns one `Finding`."""

from __future__ import annotations

import re
from collections.abc import Callable

from tfx_pipeline.doctor.finding import Finding, Status
from tfx_pipeline.doctor.machine import Machine, look, version_pair

Check = Callable[[Machine], Finding]
CHECKS: list[Check] = []

_GB = 1 << 30
_SHOWN = 6  # Mismatches named before "and N more".
_SYNC = "Run `make setup`, which brings .venv in line with requirements/lock.txt."


def check(function: Check) -> Check:
    """Registers a check; they run and show in the order of this file."""
    CHECKS.append(function)
    return function


@check
def python_version(machine: Machine) -> Finding:
    """Assay needs Python 3.11, TFX 1.21 has wheels up to 3.13; the lock is for 3.11."""
    version = ".".join(map(str, machine.python))
    if not (3, 11) <= machine.python[:2] < (3, 14):
        return Finding(
            "Python",
            "fail",
            f"{version}; Assay and TFX run on 3.11 to 3.13",
            "Install Python 3.11 and run `make setup`.",
        )
    if machine.locked and machine.python[:2] != (3, 11):
        return Finding(
            "Python",
            "warn",
            f"{version}; the lock was resolved and tested for 3.11",
            "Use .venv/bin/assay, or run `make setup` to get it.",
        )
    return Finding("Python", "ok", f"{version} on {machine.system}")


@check
def glibc(machine: Machine) -> Finding:
    """Native wheels do not load on a glibc older than the one that they were built for."""
    here = ".".join(map(str, machine.glibc))
    if machine.glibc == (0, 0):
        return Finding(
            "glibc",
            "fail",
            f"no glibc on {machine.system}: TFX's native wheels need it",
            "Use a Linux with glibc 2.28 or later (Debian, Ubuntu, RHEL 8), not Alpine or macOS.",
        )
    too_new = {
        name: needed for name, needed in machine.wheel_glibc.items() if needed > machine.glibc
    }
    if too_new:
        named = ", ".join(f"{name} needs {a}.{b}" for name, (a, b) in sorted(too_new.items()))
        return Finding("glibc", "fail", f"{here}, but {named}", _SYNC)
    if machine.glibc < (2, 28):
        return Finding(
            "glibc",
            "fail",
            f"{here}; the lock's wheels need 2.28",
            "Use Debian 10, Ubuntu 20.04, RHEL 8 or later, or a container of one.",
        )
    return Finding(
        "glibc", "ok", f"{here}, new enough for {len(machine.wheel_glibc)} native wheels"
    )


@check
def lock_against_installed(machine: Machine) -> Finding:
    """Only the lock's versions were run together."""
    if not machine.locked:
        return Finding("lock", "ok", "no requirements/lock.txt here: installed from ranges")
    wrong = [
        f"{name} {machine.installed.get(name, 'missing')} (lock: {version})"
        for name, version in sorted(machine.locked.items())
        if machine.installed.get(name) != version
    ]
    if not wrong:
        return Finding("lock", "ok", f"all {len(machine.locked)} packages are as locked")
    more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return Finding("lock", "fail", "; ".join(wrong[:_SHOWN]) + more, _SYNC)


@check
def two_keras(machine: Machine) -> Finding:
    """The trainer is built on tf_keras; keras-tuner and TensorFlow import Keras 3."""
    have = machine.installed
    tf_keras, keras, tensorflow = (have.get(n) for n in ("tf-keras", "keras", "tensorflow"))
    if tensorflow is None:
        return Finding("Keras", "ok", "TensorFlow is not installed: a client needs neither Keras")
    if tf_keras is None:
        return Finding(
            "Keras",
            "fail",
            "tf_keras is missing: TF-MOT prunes and quantizes nothing else",
            f"Install tf_keras {tensorflow.rpartition('.')[0]}.*, or run `make setup`.",
        )
    if version_pair(tf_keras) != version_pair(tensorflow):
        return Finding(
            "Keras",
            "fail",
            f"tf_keras {tf_keras} beside TensorFlow {tensorflow}: not a pair",
            _SYNC,
        )
    legacy = machine.environment.get("TF_USE_LEGACY_KERAS")
    if legacy not in (None, "1", "true", "True"):
        return Finding(
            "Keras",
            "warn",
            f"TF_USE_LEGACY_KERAS={legacy} makes tf.keras Keras 3 in your own scripts, which"
            " TF-MOT cannot compress",
            "Run `unset TF_USE_LEGACY_KERAS`; Assay sets it itself.",
        )
    if keras is None or version_pair(keras) < (3, 0):
        return Finding(
            "Keras", "fail", f"Keras 3 is missing ({keras}): keras-tuner needs it", _SYNC
        )
    return Finding("Keras", "ok", f"tf_keras {tf_keras} trains; Keras {keras} beside it for tuning")


@check
def bytecode(machine: Machine) -> Finding:
    """Without compiled bytecode each start compiles ten thousand modules again."""
    if not machine.uncompiled:
        return Finding("bytecode", "ok", "compiled")
    never = machine.environment.get("PYTHONDONTWRITEBYTECODE")
    detail = f"{', '.join(machine.uncompiled)} not compiled: slow imports"
    if never:
        detail += " at every start, as PYTHONDONTWRITEBYTECODE is set"
    return Finding(
        "bytecode", "warn", detail, "Run `.venv/bin/python -m compileall -q -j 0 .venv/lib`."
    )


@check
def imports(machine: Machine) -> Finding:
    """What every command that touches TensorFlow pays before it starts."""
    probe = machine.probe
    if probe is None:
        return Finding("imports", "ok", "TensorFlow and TFX are not installed here")
    if probe.error:
        return Finding("imports", "fail", probe.error, _SYNC)
    if probe.seconds > 20:
        return Finding(
            "imports",
            "warn",
            f"TensorFlow and TFX take {probe.seconds:.1f} s to import (usually under 10 s)",
            "Try once more: a first import reads 2 GB from disk. If it stays slow, put .venv on a"
            " local disk and see the line on bytecode.",
        )
    return Finding("imports", "ok", f"TensorFlow and TFX import in {probe.seconds:.1f} s")


@check
def gpus(machine: Machine) -> Finding:
    """GPUs that the driver shows, against those that TensorFlow can use."""
    seen = machine.probe.gpus if machine.probe else 0
    if not machine.gpus:
        return Finding("GPUs", "ok", "none: training runs on the CPU")
    names = ", ".join(f"{machine.gpus.count(n)} x {n}" for n in dict.fromkeys(machine.gpus))
    if seen >= len(machine.gpus):
        return Finding("GPUs", "ok", f"{names}; TensorFlow sees {seen}")
    if "CUDA_VISIBLE_DEVICES" in machine.environment:
        visible = machine.environment["CUDA_VISIBLE_DEVICES"]
        return Finding(
            "GPUs",
            "warn",
            f"{names}; TensorFlow sees {seen}, as CUDA_VISIBLE_DEVICES={visible}",
            "Run `unset CUDA_VISIBLE_DEVICES` to use them all.",
        )
    return Finding(
        "GPUs",
        "warn",
        f"{names}; TensorFlow sees {seen}",
        "Install CUDA's libraries: uv pip install"
        f" 'tensorflow[and-cuda]=={machine.installed.get('tensorflow', '')}'.",
    )


@check
def disk(machine: Machine) -> Finding:
    """A run keeps examples, statistics and every candidate model."""
    return _amount(
        "disk",
        machine.disk_free,
        warn_below=10 * _GB,
        fail_below=_GB,
        remedy="Free some space, or write runs elsewhere with `run.root` in pipeline.yaml.",
    )


@check
def memory(machine: Machine) -> Finding:
    """TensorFlow and TFX take 1.5 GB before the first row; Beam keeps collections in memory."""
    return _amount(
        "memory",
        machine.memory_free,
        warn_below=4 * _GB,
        fail_below=2 * _GB,
        remedy="Close other programs, raise the container's limit, or use a larger machine.",
    )


def _amount(name: str, free: int, *, warn_below: int, fail_below: int, remedy: str) -> Finding:
    status: Status = "ok"
    detail = f"{free / _GB:.1f} GB free"
    if free < warn_below:
        status = "fail" if free < fail_below else "warn"
        wanted = fail_below if status == "fail" else warn_below
        detail += f"; {'at least' if status == 'fail' else 'better'} {wanted / _GB:.0f} GB"
    return Finding(name, status, detail, remedy if status != "ok" else "")


@check
def java(machine: Machine) -> Finding:
    """Beam's Flink and Spark job servers are Java programs, released for Java 11 and 17."""
    wanted = machine.beam in ("flink", "spark")
    remedy = (
        f"Install Java 17 (for instance `apt install openjdk-17-jre-headless`) for {machine.beam}."
    )
    if not machine.java:
        if wanted:
            return Finding("Java", "fail", f"no java on the PATH; {machine.beam} needs it", remedy)
        return Finding("Java", "ok", "none; only Beam on Flink or Spark needs it")
    found = re.search(r'"(?:1\.)?(\d+)', machine.java)
    version = int(found[1]) if found else 0
    if version not in (11, 17):
        status: Status = "warn" if wanted else "ok"
        detail = f"{version or machine.java}; Beam's job servers are tested with 11 and 17"
        return Finding("Java", status, detail, remedy if wanted else "")
    return Finding("Java", "ok", f"{version}, for Beam on Flink or Spark")


@check
def model_server(machine: Machine) -> Finding:
    """The serving gate prefers the binary that will serve in production."""
    if not machine.model_server:
        return Finding(
            "model server",
            "ok",
            "no tensorflow_model_server on the PATH: the gate and `assay serve` use Assay's own",
        )
    if not machine.model_server_version:
        return Finding(
            "model server",
            "fail",
            f"{machine.model_server} does not start",
            "Run it by hand to see why, or take it off the PATH to use Assay's own.",
        )
    return Finding("model server", "ok", f"{machine.model_server} ({machine.model_server_version})")


def run_checks(machine: Machine | None = None, *, beam: str = "") -> list[Finding]:
    """Judges a machine by every registered check.

    Args:
        machine: What to judge; this machine by default, which takes a few seconds to look at.
        beam: The Beam runner that the user means to use; only for this machine.
    """
    seen = machine if machine is not None else look(beam)
    return [check(seen) for check in CHECKS]
