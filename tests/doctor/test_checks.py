from __future__ import annotations

from dataclasses import replace

import pytest

from tfx_pipeline.doctor import checks
from tfx_pipeline.doctor.checks import run_checks
from tfx_pipeline.doctor.finding import Finding
from tfx_pipeline.doctor.machine import ImportProbe, Machine

GB = 1 << 30
VERSIONS = {"tensorflow": "2.21.0", "tf-keras": "2.21.0", "keras": "3.15.1", "tfx": "1.21.0"}
HEALTHY = Machine(
    python=(3, 11, 9),
    wheel_glibc={"tensorflow": (2, 27), "ml-metadata": (2, 17)},
    locked=VERSIONS,
    installed=VERSIONS,
    probe=ImportProbe(seconds=8.0),
)


def statuses(machine: Machine) -> dict[str, str]:
    return {finding.name: finding.status for finding in run_checks(machine)}


def test_a_healthy_machine_has_nothing_to_do() -> None:
    findings = run_checks(HEALTHY)
    assert [finding for finding in findings if finding.status != "ok" or finding.remedy] == []
    assert len(findings) == len(checks.CHECKS) >= 11
    assert len({finding.name for finding in findings}) == len(findings)


# Each row: what is wrong with the machine, the check that must say so, how, and with which words.
AILMENTS: list[tuple[str, dict[str, object], str, str, str]] = [
    ("old Python", {"python": (3, 10, 2)}, "Python", "fail", "3.10.2"),
    ("new Python", {"python": (3, 14, 0)}, "Python", "fail", "3.14.0"),
    ("not the locked Python", {"python": (3, 12, 1)}, "Python", "warn", "3.12.1"),
    ("musl", {"glibc": (0, 0)}, "glibc", "fail", "no glibc"),
    (
        "wheel for a newer glibc",
        {"wheel_glibc": {"ml-metadata": (2, 39)}},
        "glibc",
        "fail",
        "ml-metadata needs 2.39",
    ),
    ("old glibc", {"glibc": (2, 17), "wheel_glibc": {}}, "glibc", "fail", "2.17"),
    (
        "one version off",
        {"installed": {**VERSIONS, "keras": "3.14.0"}},
        "lock",
        "fail",
        "keras 3.14.0 (lock: 3.15.1)",
    ),
    (
        "one package gone",
        {"installed": {k: v for k, v in VERSIONS.items() if k != "tfx"}},
        "lock",
        "fail",
        "tfx missing (lock: 1.21.0)",
    ),
    (
        "no tf_keras",
        {"installed": {k: v for k, v in VERSIONS.items() if k != "tf-keras"}},
        "Keras",
        "fail",
        "tf_keras is missing",
    ),
    (
        "tf_keras of another TensorFlow",
        {"installed": {**VERSIONS, "tf-keras": "2.19.0"}},
        "Keras",
        "fail",
        "tf_keras 2.19.0 beside TensorFlow 2.21.0",
    ),
    ("Keras 2", {"installed": {**VERSIONS, "keras": "2.15.0"}}, "Keras", "fail", "2.15.0"),
    (
        "Keras 3 asked for",
        {"environment": {"TF_USE_LEGACY_KERAS": "0"}},
        "Keras",
        "warn",
        "TF_USE_LEGACY_KERAS=0",
    ),
    ("not compiled", {"uncompiled": ("tfx",)}, "bytecode", "warn", "tfx not compiled"),
    (
        "never compiled",
        {"uncompiled": ("tfx",), "environment": {"PYTHONDONTWRITEBYTECODE": "1"}},
        "bytecode",
        "warn",
        "at every start",
    ),
    ("slow import", {"probe": ImportProbe(seconds=31.25)}, "imports", "warn", "31.2 s"),
    (
        "broken import",
        {"probe": ImportProbe(error="ImportError: libz.so.1: cannot open")},
        "imports",
        "fail",
        "libz.so.1",
    ),
    ("GPU unseen", {"gpus": ("Tesla T4", "Tesla T4")}, "GPUs", "warn", "2 x Tesla T4"),
    (
        "GPU hidden",
        {"gpus": ("Tesla T4",), "environment": {"CUDA_VISIBLE_DEVICES": "-1"}},
        "GPUs",
        "warn",
        "CUDA_VISIBLE_DEVICES=-1",
    ),
    ("little disk", {"disk_free": 5 * GB}, "disk", "warn", "5.0 GB free"),
    ("no disk", {"disk_free": GB // 2}, "disk", "fail", "0.5 GB free"),
    ("little memory", {"memory_free": 3 * GB}, "memory", "warn", "3.0 GB free"),
    ("no memory", {"memory_free": GB}, "memory", "fail", "1.0 GB free"),
    ("Flink without Java", {"beam": "flink"}, "Java", "fail", "flink needs it"),
    (
        "Spark on Java 8",
        {"beam": "spark", "java": 'openjdk version "1.8.0_402"'},
        "Java",
        "warn",
        "8; ",
    ),
    (
        "server that does not start",
        {"model_server": "/opt/bin/tensorflow_model_server"},
        "model server",
        "fail",
        "/opt/bin/tensorflow_model_server",
    ),
]


@pytest.mark.parametrize(
    ("changes", "name", "status", "words"),
    [row[1:] for row in AILMENTS],
    ids=[row[0] for row in AILMENTS],
)
def test_an_ailment_is_named_with_a_remedy(
    changes: dict[str, object], name: str, status: str, words: str
) -> None:
    found = {finding.name: finding for finding in run_checks(replace(HEALTHY, **changes))}
    assert found[name].status == status
    assert words in found[name].detail
    assert found[name].remedy


# Each row: a machine that lacks something it does not need, and the check that must not mind.
HARMLESS: list[tuple[str, dict[str, object], str]] = [
    ("no Java, local Beam", {"java": ""}, "Java"),
    ("Java 21, local Beam", {"java": 'openjdk version "21.0.2"'}, "Java"),
    ("Java 17, Flink", {"java": 'openjdk version "17.0.15"', "beam": "flink"}, "Java"),
    ("Java 11, Spark", {"java": 'openjdk version "11.0.22"', "beam": "spark"}, "Java"),
    ("client without TensorFlow", {"installed": {}, "locked": {}, "probe": None}, "Keras"),
    ("client without imports", {"installed": {}, "locked": {}, "probe": None}, "imports"),
    ("no lock", {"locked": {}}, "lock"),
    ("GPU in use", {"gpus": ("L4",), "probe": ImportProbe(seconds=5, gpus=1)}, "GPUs"),
    (
        "server in use",
        {"model_server": "/usr/bin/tms", "model_server_version": "2.19.1"},
        "model server",
    ),
]


@pytest.mark.parametrize(
    ("changes", "name"), [row[1:] for row in HARMLESS], ids=[row[0] for row in HARMLESS]
)
def test_what_is_not_needed_is_not_a_finding(changes: dict[str, object], name: str) -> None:
    assert statuses(replace(HEALTHY, **changes))[name] == "ok"


def test_many_mismatches_are_counted_not_poured_out() -> None:
    locked = {f"package-{i:02}": "1.0" for i in range(40)}
    finding: Finding = checks.lock_against_installed(replace(HEALTHY, locked=locked))
    assert finding.detail.count("missing") == 6
    assert finding.detail.endswith("and 34 more")
