"""Writes tfx_pipeline/runners/beam/assembled.json: what the tested job servers are made of.

Asks Maven (`mvn`) for the libraries of each job server, and pins every file by its sha256. Run it
to move to another release of Beam's libraries, Flink or Spark; then run the tests marked flink and
spark.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

TARGET = Path("tfx_pipeline/runners/beam/assembled.json")
# The newest release of which Maven Central's mirrors that we could reach had every library.
BEAM = "2.62.0"
FLINK = "1.20.5"
SPARK = "3.5.7"

# Google Cloud's file systems bring a hundred libraries. The job server's main class refers to one
# interface of theirs, for which these few are enough; its registration is left out.
GCP = "beam-sdks-java-extensions-google-cloud-platform-core"
GCP_NEEDS = [
    ("com.google.cloud.bigdataoss", "gcsio", "2.2.26"),
    ("com.google.cloud.bigdataoss", "util", "2.2.26"),
    ("com.google.apis", "google-api-services-storage", "v1-rev20240924-2.0.0"),
]
FLINK_MANAGED = [
    "annotations", "clients", "connector-datagen", "core", "file-sink-common", "hadoop-fs", "java",
    "metrics-core", "optimizer", "queryable-state-client-java", "rpc-akka-loader", "rpc-core",
    "runtime", "streaming-java",
]  # fmt: skip
SPARK_NEEDS = ["core", "sql", "catalyst", "network-common", "streaming"]
# Spark's readers of file formats and its shells, which a Beam job does not use.
SPARK_WITHOUT = [
    "org.apache.hive", "org.apache.orc", "org.apache.parquet", "org.apache.arrow", "org.rocksdb",
    "org.apache.ivy", "oro", "net.razorvine", "net.sf.py4j", "org.apache.curator",
    "org.apache.zookeeper",
]  # fmt: skip


def main() -> int:
    flink = {
        "engine": "flink",
        "engine_version": FLINK,
        "main": "org.apache.beam.runners.flink.FlinkJobServerDriver",
    }
    spark = {
        "engine": "spark",
        "engine_version": SPARK,
        "main": "org.apache.beam.runners.spark.SparkJobServerDriver",
    }
    # Beam's runner for Flink 1.19 is the one for 1.20 but for the operator of streaming jobs.
    beam_flink = _beam("beam-runners-flink-1.19") + _artifact("org.slf4j", "slf4j-simple", "1.7.36")
    managed = "".join(_artifact("org.apache.flink", f"flink-{n}", FLINK) for n in FLINK_MANAGED)
    beam_spark = _beam("beam-runners-spark-3") + "".join(
        _artifact("org.apache.spark", f"spark-{n}_2.12", SPARK, [(g, "*") for g in SPARK_WITHOUT])
        for n in SPARK_NEEDS
    )
    needs = _beam(GCP, [("*", "*")]) + "".join(
        _artifact(group, name, version, [("*", "*")]) for group, name, version in GCP_NEEDS
    )
    recipes = []
    for recipe, wanted, pinned in ((flink, beam_flink, managed), (spark, beam_spark, "")):
        parts = resolve(wanted + needs, pinned)
        recipes.append({**recipe, "beam": BEAM, "without_services": [GCP], "parts": parts})
        print(f"{recipe['engine']}: {len(parts)} libraries")
    TARGET.write_text(json.dumps(recipes, indent=1) + "\n")
    return 0


def _artifact(
    group: str, name: str, version: str, without: list[tuple[str, str]] | None = None
) -> str:
    excluded = "".join(
        f"<exclusion><groupId>{g}</groupId><artifactId>{a}</artifactId></exclusion>"
        for g, a in without or []
    )
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>"
        f"<version>{version}</version><exclusions>{excluded}</exclusions></dependency>"
    )


def _beam(name: str, without: list[tuple[str, str]] | None = None) -> str:
    beam = "org.apache.beam"
    left_out = [(beam, GCP), (beam, "beam-sdks-java-transform-service-launcher")]
    return _artifact(beam, name, BEAM, without or left_out)


def resolve(dependencies: str, managed: str) -> dict[str, str]:
    """Path in a Maven repository to sha256 of everything that a pom's dependencies need."""
    with tempfile.TemporaryDirectory() as folder:
        pom = (
            '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
            "<groupId>assay</groupId><artifactId>job-server</artifactId><version>1</version>"
            f"<dependencyManagement><dependencies>{managed}</dependencies></dependencyManagement>"
            f"<dependencies>{dependencies}</dependencies></project>"
        )
        Path(folder, "pom.xml").write_text(pom)
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy-dependencies"
        layout = ["-Dmdep.useRepositoryLayout=true", f"-DoutputDirectory={folder}/jars"]
        command = ["mvn", "-q", "-B", goal, "-DincludeScope=runtime", *layout, *sys.argv[1:]]
        subprocess.run(command, cwd=folder, check=True)
        jars = Path(folder, "jars")
        # Beam's own first: of two files with one name, the first wins.
        found = sorted(jars.rglob("*.jar"), key=lambda p: ("beam-" not in p.name, p.name))
        return {
            path.relative_to(jars).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in found
        }


if __name__ == "__main__":
    sys.exit(main())
