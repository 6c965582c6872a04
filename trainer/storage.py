"""A refusal to write, as Python and as TensorFlow word it, to the one error a user sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from tfx_pipeline.errors import StorageError, storage_errors


@contextmanager
def write_errors(folder: str) -> Iterator[None]:
    """Turns a full disk, a read-only or a forbidden `folder` into `StorageError`."""
    try:
        with storage_errors(folder):
            yield
    except (
        tf.errors.ResourceExhaustedError,
        tf.errors.PermissionDeniedError,
        tf.errors.FailedPreconditionError,
    ) as error:
        raise StorageError(
            f"the folder cannot be written: {error.message}",
            where=folder,
            hint="Free some space or mend the permissions, then `assay run --resume`.",
        ) from error
