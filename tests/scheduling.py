"""In which order the test files run, and which of them one process runs together.

xdist's `--dist loadfile` gives each worker a file at a time, those with the most tests first. Our
longest files have few tests: they would begin last, and one of them end long after the other worker
has nothing left to do. Here quick files come first, so that a plain mistake shows at once, then the
long ones by their length, so that what runs at the end is short.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent

# One worker runs the files of a group one after the other: what their session fixtures make, which
# takes longer than the tests that need it, is made once.
GROUPS = {
    "e2e/test_faults.py": "e2e/test_runs.py",
    "e2e/test_run_node.py": "e2e/test_runs.py",
    "e2e/test_tuning.py": "e2e/test_runs.py",
    "transform/test_layout.py": "transform/test_executor.py",
    "transform/test_spans.py": "transform/test_executor.py",
    "transform/test_transform_run.py": "transform/test_executor.py",
}

# What takes over half a minute, the longest first, as `pytest --durations=0` has it on two cores.
# A file that is missing here runs behind these, with the other slow ones.
LONGEST = (
    "e2e/test_runs.py",
    "beam/test_engines.py",
    "transform/test_executor.py",
    "e2e/test_compression.py",
    "trainer/ensembles/test_ensemble.py",
    "conformance/test_airflow.py",
    "conformance/test_airflow_2.py",
    "e2e/test_demo.py",
    "e2e/test_own_data.py",
    "trainer/finetuning/test_pretraining.py",
    "trainer/models/test_encoders.py",
    "vertex/test_real_graph.py",
    "notebooks/test_notebooks.py",
    "trainer/compression/test_ladder.py",
    "gates/serving/test_executor.py",
    "templates/test_runs.py",
    "trainer/tuning/test_search.py",
    "trainer/test_step.py",
    "trainer/test_cluster.py",
    "gates/serving/test_tasks.py",
    "trainer/finetuning/test_finetuning.py",
    "e2e/test_bad_input.py",
    "trainer/recommend/test_in_batch.py",
    "trainer/models/test_compression.py",
    "gates/serving/test_measure.py",
    "runners/test_local.py",
    "components/test_evaluator.py",
    "trainer/models/test_multimodal.py",
    "beam/test_environments.py",
    "beam/test_local_workers.py",
    "trainer/test_resume.py",
    "trainer/test_run.py",
    "conformance/test_vertex.py",
    "trainer/recommend/test_recommend.py",
    "gates/serving/test_skew.py",
    "runners/test_metadata_servers.py",
    "serving/faults/test_clients.py",
    "components/test_serving_quality.py",
)


def place(path: Path, *, slow: bool) -> tuple[int, int]:
    """Where a file of tests comes: a key to sort by.

    Args:
        path: The file.
        slow: Whether one of its tests is marked so.
    """
    name = path.relative_to(TESTS).as_posix() if path.is_relative_to(TESTS) else path.name
    group = GROUPS.get(name, name)
    if group in LONGEST:
        return 1, LONGEST.index(group)
    return (2, 0) if slow else (0, 0)


def in_order(config: Any, log: Any) -> Any:
    """A scheduler for xdist that hands out files, and groups of files, as they were collected."""
    from xdist.scheduler import LoadScopeScheduling

    class InOrder(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return GROUPS.get(file.removeprefix("tests/"), file)

    config.option.loadscopereorder = False
    return InOrder(config, log)
