"""What every test may lean on: a quiet TensorFlow on the CPU, and where the data lie."""

from __future__ import annotations

import atexit
import gc
import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

from tests import scheduling

# Before anything imports TensorFlow. A test that needs another value starts its own process.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("MPLBACKEND", "Agg")
# Columns decide where rich breaks lines; a test must not depend on the terminal's width.
os.environ["COLUMNS"] = "120"

# As in transform/executor.py, for tests that run TFT without our executor.
atexit.register(gc.freeze)

REPO = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the repository."""
    return REPO


@pytest.fixture(scope="session")
def taxi_csv() -> Path:
    """15,002 real taxi trips that come with TFX, found without importing it (which takes 9 s)."""
    spec = importlib.util.find_spec("tfx")
    assert spec is not None, "TFX is not installed: run `make setup`"
    assert spec.origin is not None
    return Path(spec.origin).parent / "examples/chicago_taxi_pipeline/data/simple/data.csv"


@pytest.fixture
def helped(monkeypatch: pytest.MonkeyPatch) -> Any:
    """See `tests.beam.helping`: worker processes do all that they can of a job; what they read."""
    from tests.beam.helping import have_workers_help

    return have_workers_help(monkeypatch)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets that are not part of the repository and that no installed package has.

    `ASSAY_TEST_DATA` names the folder; tests that use it skip where it is absent.
    """
    folder = Path(os.environ.get("ASSAY_TEST_DATA") or REPO.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(
            "needs data that do not come with the repository; nothing is wrong without them. To "
            "run it, set ASSAY_TEST_DATA to a folder with adult.csv (UCI census income, without "
            "header) and mnist_1000.tfrecord (tf.Examples: image_floats, image_class)"
        )
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files into the order of `tests/scheduling.py`."""
    for item in items:
        if item.get_closest_marker("network") and os.environ.get("ASSAY_TEST_NETWORK") != "1":
            item.add_marker(pytest.mark.skip(reason="needs the network: set ASSAY_TEST_NETWORK=1"))
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    # By file, and stable: each keeps its own order.
    items.sort(key=lambda item: scheduling.place(item.path, slow=item.path in slow))


@pytest.hookimpl(optionalhook=True)  # Of xdist, where it is installed and `-n` given.
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hands out files in that order; another `--dist` than loadfile is left to xdist."""
    if config.getvalue("dist") != "loadfile":
        return None
    return scheduling.in_order(config, log)
