"""The few small files that submitting reads and writes, in a bucket or where it is mounted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfx_pipeline.errors import EnvironmentMismatch, storage_errors
from tfx_pipeline.files import write_text as write_file
from tfx_pipeline.runners.vertex import paths


def write_new(address: str, text: str, project: str) -> None:
    """Writes a file whose name says its content: one that is there already is left alone.

    Args:
        address: A gs:// address, or a path.
        text: The content.
        project: Google Cloud project, for the storage client.

    Raises:
        EnvironmentMismatch: No credentials, no such bucket, no permission, no network.
        StorageError: A mounted bucket cannot be written.
    """
    path = _local(address)
    if path is not None:
        if not path.exists():
            write_file(path, text)
        return
    from google.api_core.exceptions import PreconditionFailed

    with _told(address):
        try:
            _blob(address, project).upload_from_string(
                text, content_type="application/json", if_generation_match=0
            )
        except PreconditionFailed:
            return  # It is there.


def read(address: str, project: str) -> str | None:
    """A file's text; None where there is none. Raises as `write_new`."""
    path = _local(address)
    if path is not None:
        with storage_errors(str(path)):
            return path.read_text(encoding="utf-8") if path.exists() else None
    from google.api_core.exceptions import NotFound

    with _told(address):
        try:
            return str(_blob(address, project).download_as_text())
        except NotFound:
            return None


def _local(address: str) -> Path | None:
    """The path, where the bucket is mounted here, or the address is a path."""
    path = Path(paths.mounted(address))
    if not address.startswith("gs://"):
        return path
    bucket = Path(paths.mount()) / address.removeprefix("gs://").split("/")[0]
    return path if bucket.is_dir() else None


def _blob(address: str, project: str) -> Any:
    from google.cloud import storage

    bucket, _, name = address.removeprefix("gs://").partition("/")
    return storage.Client(project=project).bucket(bucket).blob(name)


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Turns what the storage client raises into an error that says what to do."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
    from requests import RequestException

    try:
        yield
    except DefaultCredentialsError as error:
        raise no_credentials() from error
    except (GoogleAPIError, GoogleAuthError, RequestException) as error:
        raise EnvironmentMismatch(
            f"the bucket cannot be used: {error}",
            where=address,
            hint="Does it exist, and have you the role Storage Object User on it? Without a "
            "network nothing can be submitted.",
        ) from error


def no_credentials() -> EnvironmentMismatch:
    """The error for a machine that Google does not know."""
    return EnvironmentMismatch(
        "there are no Google Cloud credentials here",
        hint="Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS "
        "to a service account's key file.",
    )
