"""Reads one secret from Google's Secret Manager, with the container's own credentials."""

from __future__ import annotations

import base64
import os

from tfx_pipeline.errors import EnvironmentMismatch

# Another address, for Private Service Connect and tests.
ENDPOINT_ENV = "ASSAY_SECRET_MANAGER"
_ENDPOINT = "https://secretmanager.googleapis.com"
_TIMEOUT_S = 30


def read_secret(name: str) -> str:
    """The secret's text.

    Args:
        name: projects/PROJECT/secrets/SECRET/versions/VERSION.

    Raises:
        EnvironmentMismatch: No credentials, no permission, no such secret, no network.
    """
    import google.auth
    import google.auth.exceptions
    import google.auth.transport.requests
    import requests

    hint = (
        "The job's service account needs the role Secret Manager Secret Accessor "
        "(roles/secretmanager.secretAccessor) on it."
    )
    endpoint = os.environ.get(ENDPOINT_ENV, _ENDPOINT)
    try:
        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        credentials, _ = google.auth.default(scopes=scopes)
        session = google.auth.transport.requests.AuthorizedSession(credentials)
        answer = session.get(f"{endpoint}/v1/{name}:access", timeout=_TIMEOUT_S)
        answer.raise_for_status()
        return base64.b64decode(answer.json()["payload"]["data"]).decode()
    except google.auth.exceptions.DefaultCredentialsError as error:
        raise EnvironmentMismatch(
            "there are no Google credentials to read the password with", where=name, hint=hint
        ) from error
    except (
        google.auth.exceptions.GoogleAuthError,
        requests.RequestException,
        ValueError,
        KeyError,
    ) as error:
        raise EnvironmentMismatch(
            f"the secret cannot be read: {error}", where=name, hint=hint
        ) from error
