"""Fetches what the tests marked flink and spark need, once, into .tools/beam (`make beam-jars`).

Job-server jars from Maven Central, Flink's and Spark's own distributions from PyPI, all pinned by
sha256. What cannot be had is said, and those tests then skip with the reason: no failure, as the
other tests need none of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tfx_pipeline.errors import AssayError
from tfx_pipeline.runners.beam import assembled, jars

FOLDER = Path(".tools/beam")
# name: (requirement, its sha256, the folder of it that is kept)
DISTRIBUTIONS = {
    "flink-1.20.5": (
        "apache-flink-libraries==1.20.5",
        "e6aee62ea1a1fe7b32e28894ad079f3f1a50a372a4caac3df52405267f4228c8",
        "lib",
    ),
    "spark-3.5.7": (
        "pyspark==3.5.7",
        "80e36514e0c5c126d35a26adf4f405cd4a69de96a8ea8a3c1e9a65fce2fb4eaa",
        "jars",
    ),
}
# Flink's and Spark's parts that a Beam job does not use.
_LEFT_OUT = ("flink-table", "flink-scala", "flink-cep", "flink-python", "flink-sql")


def main() -> int:
    if shutil.which("java") is None:
        print("beam-jars: no Java, so the tests of Beam on Flink and Spark will be skipped")
        return 0
    os.environ["ASSAY_JARS"] = str(FOLDER / "jars")
    missing = [name for name in DISTRIBUTIONS if not (FOLDER / name / "complete").exists()]
    servers = [e for e in (("flink", "1.20"), ("spark", "3")) if not have(*e)]
    if not missing and not servers:
        return 0
    print("beam-jars: fetching Flink, Spark and Beam's job servers (about 900 MB, once)")
    try:
        for engine in servers:
            jars.fetch(*engine, say=lambda line: print(f"  {line}", flush=True), assemble=True)
        # The job servers are made; what they were made of is in them.
        shutil.rmtree(FOLDER / "jars" / "parts", ignore_errors=True)
        for name in missing:
            distribution(name)
    except (AssayError, subprocess.CalledProcessError, OSError, tarfile.TarError) as error:
        print(f"beam-jars: {error}\n  The tests that need them will be skipped.")
    return 0


def have(engine: str, version: str) -> bool:
    """Whether the pinned job server is there. Asks no Beam, whose import takes seconds."""
    recipe = assembled.recipe(engine, version)
    return recipe is None or jars.sidecar(FOLDER / "jars" / recipe.file).exists()


def distribution(name: str) -> None:
    """Brings the jars of Flink's or Spark's distribution from PyPI."""
    requirement, sha256, kept = DISTRIBUTIONS[name]
    print(f"  {requirement} from PyPI", flush=True)
    target = FOLDER / name
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        wanted = Path(folder, "requirements.txt")
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:",
             "--require-hashes", "-r", str(wanted), "-d", folder],
            check=True,
        )  # fmt: skip
        [archive] = Path(folder).glob("*.tar.gz")
        (target / kept).mkdir(parents=True)
        with tarfile.open(archive) as tar:
            for member in tar:
                file = Path(member.name).name
                here = f"/deps/{kept}/" in member.name and member.isfile()
                if not here or file.startswith(_LEFT_OUT):
                    continue
                content = tar.extractfile(member)
                assert content is not None
                with content, (target / kept / file).open("wb") as copy:
                    shutil.copyfileobj(content, copy)
    (target / "complete").touch()


if __name__ == "__main__":
    sys.exit(main())
