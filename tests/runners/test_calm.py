"""The terminal of a run: whoever read it may go away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tfx_pipeline.runners.calm import calm_terminal


def test_a_run_outlives_the_reader_of_its_output(tmp_path: Path) -> None:
    """As in `assay run | head -1`, in a child: the file descriptors are its own."""
    code = (
        "from pathlib import Path\n"
        "from tfx_pipeline.runners.calm import calm_terminal\n"
        f"with calm_terminal(Path({str(tmp_path / 'run.log')!r})) as console:\n"
        "    for line in range(20000):\n"
        "        console.print('a line of output', line)\n"
        f"Path({str(tmp_path / 'done')!r}).touch()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"a line of output 0\n"
    child.stdout.close()
    assert child.wait() == 0
    assert (tmp_path / "done").exists()


def test_what_others_print_is_in_the_log(tmp_path: Path) -> None:
    with calm_terminal(tmp_path / "run.log"):
        os.write(1, b"from C++\n")
        print("from Python")
    assert (tmp_path / "run.log").read_text() == "from C++\nfrom Python\n"
