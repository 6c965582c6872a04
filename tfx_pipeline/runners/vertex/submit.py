"""Creates a PipelineJob on Vertex and follows it, through the PipelineService client alone.

`aiplatform.PipelineJob.submit` looks at buckets for a minute first, and leaves labels of the
compiled file out of the request.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tfx_pipeline.config.vertex import VertexConfig
from tfx_pipeline.errors import AssayError, ConfigError, EnvironmentMismatch, Transient
from tfx_pipeline.runners.vertex.storage import no_credentials

_CALL_TIMEOUT_S = 60
# A quarter of an hour without an answer, at the usual pace.
_POLLS_WITHOUT_ANSWER = 90


@dataclass(frozen=True)
class TaskSeen:
    """What Vertex says of a task: `state` is a PipelineTaskDetail.State, `seconds` wall time."""

    name: str
    state: str
    seconds: float
    error: str


@dataclass(frozen=True)
class JobSeen:
    """What Vertex says of a job: `state` without its prefix, SUCCEEDED, FAILED or CANCELLED."""

    state: str
    error: str
    tasks: dict[str, TaskSeen]

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens."""
        return self.state in ("SUCCEEDED", "FAILED", "CANCELLED", "PAUSED")


class Jobs:
    """The jobs of one project and region.

    Raises:
        EnvironmentMismatch: There are no Google Cloud credentials.
    """

    def __init__(self, vertex: VertexConfig) -> None:
        from google.api_core.client_options import ClientOptions
        from google.auth.exceptions import DefaultCredentialsError
        from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient

        self._vertex = vertex
        endpoint = vertex.endpoint or f"{vertex.region}-aiplatform.googleapis.com"
        try:
            self._client = PipelineServiceClient(
                client_options=ClientOptions(api_endpoint=endpoint)
            )
        except DefaultCredentialsError as error:
            raise no_credentials() from error

    def create(self, job: dict[str, Any], job_id: str) -> None:
        """Creates a job.

        Args:
            job: The PipelineJob, as JSON.
            job_id: Lower case letters, digits and dashes; the run's id, too.

        Raises:
            ConfigError: Vertex does not take the job, or the file is not a PipelineJob.
            EnvironmentMismatch: Credentials, permissions, quota, region or network.
        """
        from google.cloud.aiplatform_v1.types import PipelineJob
        from google.protobuf import json_format

        message = PipelineJob()
        try:
            json_format.ParseDict(job, PipelineJob.pb(message))
        except json_format.ParseError as error:
            raise ConfigError(f"not a PipelineJob: {error}") from error
        try:
            with self._told():
                self._client.create_pipeline_job(
                    parent=self._parent,
                    pipeline_job=message,
                    pipeline_job_id=job_id,
                    retry=None,
                    timeout=_CALL_TIMEOUT_S,
                )
        except Transient:
            # The answer may be what was lost; submitted again, the pipeline would run twice.
            if not self._has(job_id):
                raise

    def _has(self, job_id: str) -> bool:
        try:
            self.look(job_id)
        except ConfigError:
            return False
        return True

    def look(self, job_id: str) -> JobSeen:
        """How a job stands. Raises as `create`, and `Transient` where there was no answer."""
        with self._told():
            job = self._client.get_pipeline_job(
                name=self._name(job_id), retry=None, timeout=_CALL_TIMEOUT_S
            )
        tasks = {detail.task_name: _task(detail) for detail in job.job_detail.task_details}
        state = job.state.name.removeprefix("PIPELINE_STATE_")
        return JobSeen(state, job.error.message, tasks)

    def wait(self, job_id: str, poll_seconds: float, changed: Callable[[JobSeen], None]) -> JobSeen:
        """Waits for a job's end; tells `changed` at every look. Raises as `look`.

        The network of the machine that waits may be away for a while.
        """
        unanswered = 0
        while True:
            try:
                seen = self.look(job_id)
                unanswered = 0
            except (Transient, EnvironmentMismatch) as error:
                unanswered += 1
                if unanswered >= _POLLS_WITHOUT_ANSWER or not _may_pass(error):
                    raise
                time.sleep(poll_seconds)
                continue
            changed(seen)
            if seen.has_ended:
                return seen
            time.sleep(poll_seconds)

    def cancel(self, job_id: str) -> None:
        """Asks for a job's end; it takes a while. Raises as `create`."""
        with self._told():
            self._client.cancel_pipeline_job(
                name=self._name(job_id), retry=None, timeout=_CALL_TIMEOUT_S
            )

    def link(self, job_id: str) -> str:
        """The job's page in Google Cloud's console."""
        return (
            f"https://console.cloud.google.com/vertex-ai/locations/{self._vertex.region}"
            f"/pipelines/runs/{job_id}?project={self._vertex.project}"
        )

    @property
    def _parent(self) -> str:
        return f"projects/{self._vertex.project}/locations/{self._vertex.region}"

    def _name(self, job_id: str) -> str:
        return f"{self._parent}/pipelineJobs/{job_id}"

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turns the client's errors into ones that say what to do."""
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError

        try:
            yield
        except GoogleAuthError as error:
            raise EnvironmentMismatch(
                f"Google does not accept the credentials here: {error}",
                hint="Run `gcloud auth application-default login` again.",
            ) from error
        except GoogleAPIError as error:
            raise explained(error, self._vertex) from error


def _task(detail: Any) -> TaskSeen:
    seconds = 0.0
    if detail.start_time and detail.end_time:
        seconds = (detail.end_time - detail.start_time).total_seconds()
    return TaskSeen(detail.task_name, detail.state.name, seconds, detail.error.message)


def _may_pass(error: AssayError) -> bool:
    """Whether a look may succeed later: Vertex has a job, so its address is not a wrong one."""
    from google.api_core.exceptions import RetryError, ServiceUnavailable, TooManyRequests

    passing = (RetryError, ServiceUnavailable, TooManyRequests)
    return isinstance(error, Transient) or isinstance(error.__cause__, passing)


# As gRPC's two resolvers put it.
_NO_SUCH_HOST = re.compile("DNS|errors resolving")


def explained(error: Exception, vertex: VertexConfig) -> AssayError:
    """What a refused call means to its user."""
    from google.api_core import exceptions as google

    said = getattr(error, "message", "") or str(error)
    where = f"{vertex.project}, {vertex.region}"
    match error:
        case google.Unauthenticated():
            return EnvironmentMismatch(
                f"Google does not accept the credentials here: {said}",
                hint="Run `gcloud auth application-default login` again.",
            )
        case google.Forbidden():
            account = vertex.service_account or "the Compute Engine default service account"
            return EnvironmentMismatch(
                f"permission denied: {said}",
                where=where,
                hint="You need the role Vertex AI User (roles/aiplatform.user) in the project, and "
                f"Service Account User (roles/iam.serviceAccountUser) on {account}; and the API "
                "aiplatform.googleapis.com must be enabled.",
            )
        case google.TooManyRequests():
            return EnvironmentMismatch(
                f"a quota is used up: {said}",
                where=where,
                hint="Ask for more on the console's page of quotas, choose another region or "
                "machine, or wait until other jobs have ended.",
            )
        case google.NotFound():
            return ConfigError(
                f"Vertex does not find it: {said}",
                where=where,
                hint="Check run.vertex.project and run.vertex.region, and the job's id.",
            )
        case google.AlreadyExists():
            return ConfigError(f"the job exists already: {said}", where=where)
        case google.BadRequest():
            return ConfigError(
                f"Vertex does not take the job: {said}",
                where=where,
                hint="docs/vertex.md says what each field of run.vertex becomes.",
            )
        case google.ServiceUnavailable() | google.RetryError() if _NO_SUCH_HOST.search(said):
            return EnvironmentMismatch(
                f"there is no Vertex AI at {vertex.endpoint or vertex.region}: {said}",
                where="run.vertex.region",
                hint="Is it one of Vertex AI's regions, and is there a network?",
            )
        case google.ServerError() | google.RetryError():
            return Transient(
                f"Vertex does not answer: {said}",
                where=where,
                hint="Try again; a job that was created goes on meanwhile.",
            )
        case _:
            return EnvironmentMismatch(f"Vertex refused: {said}", where=where)
