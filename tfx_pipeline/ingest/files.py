"""Which files a `Source` means: globs and folders resolved, formats told, contents digested."""

from __future__ import annotations

import difflib
import glob
import hashlib
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest import image_folder
from tfx_pipeline.ingest.source import Source

Format = Literal["csv", "parquet", "arrow", "tfrecord", "images"]

SPLITS = ("train", "val", "eval")
SPLIT_SYNONYMS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("eval", "evaluation", "test", "testing", "holdout"), "eval"),
}
_ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
}


@dataclass(frozen=True)
class InputFile:
    """One file to read.

    Attributes:
        path: Absolute path; of images the folder of a class.
        format: How it is read.
        split: The split its folder stands for, with `method: folders`; otherwise None.
    """

    path: Path
    format: Format
    split: str | None = None


def find_files(source: Source) -> list[InputFile]:
    """The files that the source names, in a stable order, each once.

    Raises:
        DataError: A path that matches nothing, a folder without data, files of unlike formats.
    """
    files: dict[Path, InputFile] = {}
    for path in source.paths:
        found = (
            _split_folders(Path(path), source)
            if source.data.split.method == "folders"
            else [(file, None) for file in _expand(path, source)]
        )
        for file, split in found:
            files.setdefault(file, InputFile(file, format_of(file, source.data.format), split))
    formats = {file.format: file for file in files.values()}
    if len(formats) > 1:
        names = ", ".join(f"{file.path.name} is {file.format}" for file in formats.values())
        raise DataError(
            f"the files are of different formats: {names}",
            hint="Name files of one format in `data.path`.",
        )
    return list(files.values())


def named_once(names: Sequence[str], path: Path) -> list[str]:
    """The names of a file's columns.

    Raises:
        DataError: One is there twice, so that it does not say which is meant.
    """
    for name, count in Counter(names).items():
        if count > 1:
            raise DataError(
                f"the file has the column {name!r} twice", where=str(path), hint="Rename one."
            )
    return list(names)


def format_of(path: Path, stated: str = "auto") -> Format:
    """The format of a file, by its ending unless stated.

    Raises:
        DataError: The ending says nothing.
    """
    if stated in ("csv", "parquet", "arrow", "tfrecord", "images"):
        return stated  # type: ignore[return-value]
    found = _ending_format(path)
    if found is None:
        raise DataError(
            f"the ending of {path.name!r} does not tell its format",
            where=str(path),
            hint="Set `data.format` to csv, parquet, arrow, tfrecord or images.",
        )
    return found


def content_digest(files: Sequence[InputFile]) -> str:
    """SHA-256 over the contents and names of the files, hexadecimal. Times do not count.

    Raises:
        DataError: A file cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        paths = image_folder.images(file.path) if file.format == "images" else [file.path]
        for path in paths:
            name = str(path.relative_to(file.path.parent))
            digest.update(f"{file_digest(path)} {file.split or ''} {name}\n".encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal.

    Raises:
        DataError: It cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> DataError:
    """The `DataError` for a file that the operating system does not let us read."""
    return DataError(
        f"the file cannot be read: {error.strerror or error}",
        where=str(path),
        hint="Check the path and its permissions.",
    )


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what reading a file can raise, damaged compression included, into `DataError`."""
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error
    except (EOFError, zlib.error) as error:
        raise DataError(
            f"the compressed file is damaged: {error}",
            where=str(path),
            hint="Copy or write it again; compare its size with the original.",
        ) from error


def _ending_format(path: Path) -> Format | None:
    name = path.name.lower()
    if "tfrecord" in name:  # TFX's own shards: data_tfrecord-00000-of-00001.gz
        return "tfrecord"
    for compression in (".gz", ".bz2", ".zst"):
        name = name.removesuffix(compression)
    return _ENDINGS.get(Path(name).suffix)


def _expand(path: str, source: Source) -> list[Path]:
    literal = Path(path)
    if literal.is_file():
        if source.data.format == "images":
            raise DataError(
                "`format: images` needs a folder",
                where=path,
                hint="Name the folder that holds one folder a class in `data.path`.",
            )
        return [literal]
    if literal.is_dir():
        return _files_in(literal, source)
    if glob.has_magic(path):
        matches = [Path(match) for match in sorted(glob.glob(path, recursive=True))]
        found = [match for match in matches if match.is_file()]
        if found:
            return found
        raise DataError("the pattern matches no file", where=path, hint=_siblings(literal))
    raise DataError("the file does not exist", where=path, hint=_siblings(literal))


def left_out(source: Source) -> list[Path]:
    """Files in the folders that the source names whose ending is none of the data's."""
    if source.data.format == "images":
        return []
    folders = [Path(path) for path in source.paths if Path(path).is_dir()]
    return [path for folder in folders for path in _told_apart(folder, source)[1]]


def _files_in(folder: Path, source: Source) -> list[Path]:
    """Data files in a folder and below."""
    if source.data.format == "images":
        return image_folder.class_folders(folder)
    found, others = _told_apart(folder, source)
    if not found:
        raise DataError(
            f"the folder holds no data file ({len(others)} files of unknown ending)"
            if others
            else "the folder is empty",
            where=str(folder),
            hint="Set `data.format` when the files' endings do not tell it; `images` for a folder "
            "with one folder of images a class."
            if others
            else "Put the data there, or name another folder in `data.path`.",
        )
    return found


def _told_apart(folder: Path, source: Source) -> tuple[list[Path], list[Path]]:
    """The data files in a folder and below, and the others; hidden ones and markers such as
    _SUCCESS are neither. Where a format is stated and no ending is its, all are data."""
    stated = source.data.format
    found: list[Path] = []
    others: list[Path] = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if not path.is_file() or any(part.startswith((".", "_")) for part in inside):
            continue
        ending = _ending_format(path)
        is_data = ending is not None if stated == "auto" else ending == stated
        (found if is_data else others).append(path)
    if not found and stated != "auto":
        return others, []
    return found, others


def _split_folders(folder: Path, source: Source) -> list[tuple[Path, str | None]]:
    if not folder.is_dir():
        raise DataError(
            "`method: folders` needs a folder",
            where=str(folder),
            hint="Set `data.path` to the folder that holds train/ and eval/.",
        )
    children = sorted(child for child in folder.iterdir() if child.is_dir())
    named = [(child, SPLIT_SYNONYMS.get(child.name.lower())) for child in children]
    missing = {"train", "eval"} - {split for _, split in named}
    if missing:
        raise DataError(
            f"there is no folder for the split {' and '.join(sorted(missing))}; found: "
            f"{', '.join(child.name for child in children) or 'none'}",
            where=str(folder),
            hint="Name the folders train/, val/ (optional) and eval/ (or test/).",
        )
    return [(path, split) for child, split in named if split for path in _files_in(child, source)]


def _siblings(path: Path) -> str:
    parent = path.parent
    while glob.has_magic(str(parent)):
        parent = parent.parent
    if not parent.is_dir():
        return f"The folder {parent} does not exist either. Check `data.path`."
    names = sorted(child.name for child in parent.iterdir() if not child.name.startswith("."))
    close = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(close)}? Paths start from the config file's folder."
    listed = ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")
    return f"{parent} holds: {listed or 'nothing'}. Check `data.path`."
