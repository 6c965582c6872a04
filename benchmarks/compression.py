"""What each way of compression costs and gains, measured through the model server.

    .venv/bin/python benchmarks/compression.py [--only taxi,adult] [--keep FOLDER]

Each data set is a project that `assay run` takes through the whole pipeline, in a process of its
own: the float model is trained, the Compressor makes a ladder of candidates, and the ServingGate
replays every held-out row to the model server. The figures are those of its verdict: differences
are on the same rows, with the interval of a paired bootstrap; times are ratios to the float model,
which is measured in turn with each candidate. The float model is served as the others are, as a
pair with a TFLite core of its own. Adult and MNIST are read from ../shared/data.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

sys.path[0] = str(Path(__file__).absolute().parent / "compression_parts")
sys.path.insert(1, str(Path(__file__).absolute().parent.parent))

from data_sets import DATA_SETS, DataSet  # noqa: E402
from report import published, reached, table  # noqa: E402

from tfx_pipeline.config import load_config  # noqa: E402
from tfx_pipeline.gates.serving.verdict import ServingVerdict, read_serving_verdict  # noqa: E402
from tfx_pipeline.report import record as records  # noqa: E402

ASSAY = Path(sys.executable).with_name("assay")
REFUSED = 5  # A verdict all the same.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(DATA_SETS), help="data sets, with commas")
    parser.add_argument("--keep", type=Path, help="leave the projects in this folder")
    arguments = parser.parse_args()
    versions = ", ".join(
        f"{name} {version(name)}"
        for name in ("tensorflow", "tensorflow-model-optimization", "ai-edge-litert")
    )
    print(f"{versions}\nsizes and times as ratios to the float model's; x32: a batch of 32 rows")
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as folder:
        for name in arguments.only.split(","):
            data = DATA_SETS[name]
            if data.needs is not None and not data.needs.exists():
                print(f"\n{data.title}: left out, there is no {data.needs.name}")
                continue
            started = time.monotonic()
            verdict = run(data, (arguments.keep or Path(folder)) / name)
            seconds = time.monotonic() - started
            print(f"\n{data.title}; {verdict.metric}; {seconds:.0f} s from raw data to the verdict")
            print("\n".join([*table(verdict), *reached(verdict, data.asked)]), flush=True)
    print("\n" + "\n".join(published()))


def run(data: DataSet, folder: Path) -> ServingVerdict:
    """Runs the project; gives the serving gate's verdict."""
    folder.mkdir(parents=True)
    data.write(folder)
    done = subprocess.run([ASSAY, "run", "--quiet", folder], capture_output=True, text=True)
    if done.returncode not in (0, REFUSED):
        sys.exit(
            f"{data.title}: assay run ended with {done.returncode}\n{done.stdout}{done.stderr}"
        )
    record = records.load(load_config(folder).root, "latest")
    [artifact] = record.nodes["ServingGate"].artifacts["verdict"]
    verdict = read_serving_verdict(artifact.uri)
    assert verdict is not None
    return verdict


if __name__ == "__main__":
    main()
