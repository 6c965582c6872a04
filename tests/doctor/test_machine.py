from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from tfx_pipeline.doctor import machine


def test_lock_is_read_with_normalized_names(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(
        "# made by make lock\n"
        "tf_keras==2.21.0 \\\n    --hash=sha256:00\n    # via -r assay.in\n"
        'typing.extensions==4.1 ; python_version < "3.12" \\\n    --hash=sha256:11\n'
    )
    assert machine.read_lock(lock) == {"tf-keras": "2.21.0", "typing-extensions": "4.1"}
    assert machine.read_lock(tmp_path / "none.txt") == {}


def test_installed_versions_come_from_metadata_and_the_first_path_wins(tmp_path: Path) -> None:
    for folder, version in (("first", "1.0"), ("second", "2.0")):
        info = tmp_path / folder / f"Some_Thing-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: Some_Thing\nVersion: {version}\n"
        )
    path = [str(tmp_path / "first"), str(tmp_path / "second")]
    assert machine.installed_versions(path) == {"some-thing": "1.0"}


def test_wheel_tags_give_the_oldest_glibc() -> None:
    needed = machine.wheel_glibc(["ml-metadata", "rich", "no-such-distribution"])
    assert list(needed) == ["ml-metadata"]  # rich is pure Python
    assert needed["ml-metadata"] == (2, 17)


def test_uncompiled_package_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "plain_package_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    names = ["plain_package_of_a_test", "no_such_package_of_a_test"]
    assert machine.uncompiled(names) == ("plain_package_of_a_test",)
    # As the interpreter would write it, whatever PYTHONDONTWRITEBYTECODE says here.
    import py_compile

    py_compile.compile(str(package / "__init__.py"))
    assert machine.uncompiled(names) == ()


def test_driver_files_name_the_gpus_where_nvidia_smi_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    for address in ("0000:00:04.0", "0000:00:05.0"):
        (tmp_path / address).mkdir()
        (tmp_path / address / "information").write_text("Model: \t\t Tesla T4\nIRQ: 11\n")
    assert machine.driver_gpus(tmp_path) == ("Tesla T4", "Tesla T4")
    assert machine.driver_gpus(tmp_path / "none") == ()


def test_a_containers_limit_bounds_the_memory(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2000000\n")
    assert machine.memory_free(tmp_path) == 1_000_000
    (tmp_path / "memory.stat").write_text("anon 1\nactive_file 7\ninactive_file 500000\n")
    assert machine.memory_free(tmp_path) == 1_500_000
    (tmp_path / "memory.max").write_text("max\n")
    available = psutil.virtual_memory().available
    assert machine.memory_free(tmp_path) == pytest.approx(available, rel=0.3)


def test_probe_times_imports_in_another_process() -> None:
    probe = machine.probe_imports(["colorsys", "no_such_package_of_a_test.deep"])
    assert probe is not None
    assert probe.error == ""
    assert 0 < probe.seconds < 30
    assert machine.probe_imports(["no_such_package_of_a_test"]) is None


def test_probe_reports_what_a_broken_package_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_of_a_test.py").write_text("raise ImportError('libcuda.so.1 is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    probe = machine.probe_imports(["broken_of_a_test"])
    assert probe is not None
    assert probe.error == "ImportError: libcuda.so.1 is missing"


def test_probe_gives_up_on_an_import_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hanging_of_a_test.py").write_text("import time; time.sleep(60)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    probe = machine.probe_imports(["hanging_of_a_test"], timeout=1)
    assert probe is not None
    assert probe.error == "not done after 1 s"


@pytest.mark.slow
def test_a_look_at_this_machine_is_true_here_and_imports_no_tensorflow() -> None:
    before = "tensorflow" in sys.modules
    seen = machine.look()
    assert ("tensorflow" in sys.modules) == before
    assert seen.python == sys.version_info[:3]
    assert seen.installed["tfx-assay"] == "0.1.0"
    assert len(seen.locked) > 100
    assert seen.probe is not None
    assert seen.probe.error == ""
    assert seen.probe.seconds > 0.5
    assert seen.environment["PATH"] == os.environ["PATH"]
