"""The node commands of the compiled Vertex job, run as Vertex would, on a PostgreSQL server."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance import pipeline
from tests.conformance.lineage import Store
from tests.conformance.suite import DONE, FAILED, NOT_RUN, SKIPPED, Conformance, Run, Runner
from tests.conformance.suite import reference as reference
from tests.runners.database_servers import PASSWORD, YAML, postgresql_server, short_folder
from tests.vertex import scheduler
from tests.vertex.scheduler import JobRun
from tfx_pipeline.config import PipelineConfig
from tfx_pipeline.runners import mlmd
from tfx_pipeline.runners.compiled import compile_config
from tfx_pipeline.runners.vertex.compile import deployed, write_spec
from tfx_pipeline.runners.vertex.paths import MOUNT_ENV, ir_address, mounted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

VERTEX_YAML = """
  vertex:
    project: my-project
    image: europe-docker.pkg.dev/my-project/assay/nodes:1
    staging: gs://bucket/staging
    password_secret: projects/my-project/secrets/mlmd/versions/latest
"""

_SAID = {
    scheduler.SUCCEEDED: DONE,
    scheduler.FAILED: FAILED,
    scheduler.NOT_TRIGGERED: SKIPPED,
    scheduler.NOT_STARTED: NOT_RUN,
}


class Vertex(Runner):
    """Vertex's scheduler, with the commands of the containers as local processes."""

    def __init__(self, folder: Path, mount: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._mount = mount
        self._environment = environment
        self._numbers = itertools.count(1)

    def start(self, config: PipelineConfig) -> Run:
        job_id = f"doubles-{next(self._numbers)}"
        compiled = compile_config(deployed(_with_mounted_data(config)), pipeline.create)
        out = self._folder / job_id
        [ir_file, _, job_file] = write_spec(compiled, out)
        ir_text = ir_file.read_text()
        uploaded = Path(mounted(ir_address(compiled.config, ir_text)))
        uploaded.parent.mkdir(parents=True, exist_ok=True)
        uploaded.write_text(ir_text)
        job = json.loads(job_file.read_text())
        done = JobRun(job, job_id, out / "tasks", self._environment).run()
        print(done.logs())
        return Run(job_id, done.succeeded, {node: _SAID[s] for node, s in done.states.items()})

    def go_on(self, config: PipelineConfig, run: Run) -> Run:
        """Vertex has no way to go on with a job: a new one takes what is done from the cache."""
        return self.start(config)

    def store(self, config: PipelineConfig) -> Store:
        return mlmd.connection_config(config)


def _with_mounted_data(config: PipelineConfig) -> PipelineConfig:
    data = config.data.model_copy(update={"path": [mounted("gs://bucket/data.csv")]})
    changed = config.with_run()
    return changed.model_copy(update={"data": data})


class TestVertex(Conformance):
    @pytest.fixture(scope="class")
    def runner(self, tmp_path_factory: pytest.TempPathFactory, repo: Path) -> Iterator[Runner]:
        folder = tmp_path_factory.mktemp("vertex")
        mount = folder / "gcs"
        with (
            pytest.MonkeyPatch.context() as environment,
            short_folder() as server,
            postgresql_server(server) as port,
        ):
            environment.setenv(MOUNT_ENV, str(mount))
            environment.setenv("ASSAY_METADATA_PASSWORD", PASSWORD)
            # No secret is read where the variable is set: tests/vertex/test_task.py reads one.
            type(self).extra_yaml = (
                YAML.format(backend="postgresql", port=port)
                + VERTEX_YAML
                + f"  root: {mount}/bucket/runs\n"
            )
            yield Vertex(folder, mount, {"PYTHONPATH": str(repo)})
