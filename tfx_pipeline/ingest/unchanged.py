"""`unchanged`: files that change while they are read are an error, not half of each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest import image_folder
from tfx_pipeline.ingest.files import InputFile, content_digest
from tfx_pipeline.ingest.source import Source

_DIGEST = "sha256:"


@contextmanager
def unchanged(files: Sequence[InputFile], source: Source, fingerprint: str = "") -> Iterator[None]:
    """Reads files whose content must be the same before and after.

    Args:
        files: What is read.
        source: How.
        fingerprint: What the cache knows the data by: `sha256:` and the digest of the files'
            content. It is made before the reading starts, so the content is digested once more at
            the end; of images sizes and times are compared, and nothing else. Empty: not known.

    Raises:
        DataError: A file has changed. It takes the place of what the reader may have said.
    """
    before = _states(files)
    error: DataError | None = None
    try:
        yield
    except DataError as caught:
        error = caught
    changed = [path for path, state in _states(files).items() if before.get(path) != state]
    of_images = files[0].format == "images" or source.path_columns
    if fingerprint.startswith(_DIGEST) and not of_images:
        # A file that was only touched is the same, here as for the cache.
        is_same = f"{_DIGEST}{content_digest(files)}" == fingerprint
        changed = [] if is_same else changed or [files[0].path]
    if changed:
        others = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise DataError(
            f"the file changed while it was read{others}",
            where=str(changed[0]),
            hint="Run again once it is written, or write elsewhere and move the file into place.",
        ) from error
    if error is not None:
        raise error


def _states(files: Sequence[InputFile]) -> dict[Path, tuple[int, ...] | None]:
    """Size, time and inode of each file; None: it is not there."""
    found: dict[Path, tuple[int, ...] | None] = {}
    for file in files:
        for path in image_folder.images(file.path) if file.format == "images" else [file.path]:
            try:
                state = os.stat(path)
            except OSError:
                found[path] = None
            else:
                found[path] = (state.st_size, state.st_mtime_ns, state.st_ino)
    return found
