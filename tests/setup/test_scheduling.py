"""The order of the test files names files that there are."""

from __future__ import annotations

from tests.scheduling import GROUPS, LONGEST, TESTS, place


def test_every_file_is_there() -> None:
    names = [*LONGEST, *GROUPS, *GROUPS.values()]
    assert [name for name in names if not (TESTS / name).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)


def test_quick_files_come_first_and_groups_stay_together() -> None:
    names = ["e2e/test_runs.py", "e2e/test_demo.py", "e2e/test_faults.py", "a.py", "b.py"]
    found = sorted(names, key=lambda name: place(TESTS / name, slow=name != "b.py"))
    assert found == ["b.py", "e2e/test_runs.py", "e2e/test_faults.py", "e2e/test_demo.py", "a.py"]
