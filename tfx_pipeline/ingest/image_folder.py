"""A tree of images, one folder a class, as rows: the image's bytes and the folder's name."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tfx_pipeline.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ["image", "label"]
_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp")
_BATCH_IMAGES = 256
_BATCH_BYTES = 32 << 20
_log = logging.getLogger(__name__)


def class_folders(root: Path) -> list[Path]:
    """The folders of `root`, each of which is a class, sorted by name; hidden ones are left out.

    Raises:
        DataError: There is none, or images lie beside them, which have no class.
    """
    folders = sorted(path for path in root.iterdir() if path.is_dir() and _is_shown(path))
    loose = [path for path in sorted(root.iterdir()) if _is_image(path)]
    if not folders or loose:
        found = f"{loose[0].name} lies beside the folders" if folders else "there are no folders"
        raise DataError(
            f"`format: images` needs a folder for each class, and {found}",
            where=str(root),
            hint="Put each image into a folder with the name of its class. Images whose label "
            "stands in a table are read by a column of paths: `stored_as: path`.",
        )
    return folders


def images(folder: Path) -> list[Path]:
    """The images of a class, in its folder and below, sorted; other files are left out."""
    inside = (path for path in folder.rglob("*") if _is_image(path))
    return sorted(p for p in inside if all(_is_named(part) for part in p.relative_to(folder).parts))


def batches(folder: Path, columns: Container[str] | None) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a class: `image` (large_binary) and `label` (string).

    Args:
        folder: The class.
        columns: Columns that are read; None: both.

    Raises:
        DataError: A file cannot be read.
    """
    names = [name for name in COLUMNS if columns is None or name in columns]
    _log_others(folder)
    encoded: list[bytes] = []
    for path in images(folder):
        encoded.append(_read(path) if "image" in names else b"")
        if len(encoded) == _BATCH_IMAGES or sum(map(len, encoded)) >= _BATCH_BYTES:
            yield _batch(encoded, folder.name, names)
            encoded = []
    if encoded:
        yield _batch(encoded, folder.name, names)


def _batch(encoded: list[bytes], label: str, names: list[str]) -> pa.RecordBatch:
    import pyarrow as pa

    columns = {
        "image": pa.array(encoded, pa.large_binary()),
        "label": pa.array([label] * len(encoded), pa.string()),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in names], names)


def _read(path: Path) -> bytes:
    from tfx_pipeline.ingest.files import unreadable

    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def _log_others(folder: Path) -> None:
    files = (path for path in folder.rglob("*") if path.is_file() and _is_shown(path))
    others = sum(not _is_image(path) for path in files)
    if others:
        _log.info("%s: %d files that are no images are left out", folder, others)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _ENDINGS and _is_shown(path) and path.is_file()


def _is_shown(path: Path) -> bool:
    return _is_named(path.name)


def _is_named(part: str) -> bool:
    return not part.startswith((".", "__MACOSX"))
