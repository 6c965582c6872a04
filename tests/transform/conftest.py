"""One Transform run that all tests of its features share: it takes seconds."""

from __future__ import annotations

import pytest

from tests.transform.table import Transformed, run_executor, table, write_schema, write_split


@pytest.fixture(scope="session")
def transformed(tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    """The table of 60 rows, in both splits, through our executor."""
    from transform.executor import Executor

    folder = tmp_path_factory.mktemp("transform")
    for split in ("train", "eval"):
        write_split(folder, split, table(60))
    write_schema(folder, table(60))
    return run_executor(Executor, folder, "ours")
