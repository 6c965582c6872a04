"""What the bytes of a column hold: images fetched by path or base64, images and series checked.

The checks are cheap (an image's first and last bytes, the form of numbers), and find what would
otherwise fail a batch of Transform without saying which row it was.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfx_pipeline.ingest.faults import BadValues, bad_values, one_bad, shown, together
from tfx_pipeline.ingest.files import InputFile
from tfx_pipeline.ingest.numbers import NumberForm
from tfx_pipeline.ingest.source import Source
from transform.config import Content

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?"
_SEPARATOR = r"(?:\s*[,;]\s*|\s+)"  # As transform.series, which must not import TensorFlow here.


def fetched(
    column: pa.Array, content: Content, folder: Path, missing: Sequence[str]
) -> tuple[pa.Array, list[BadValues]]:
    """A column in the form in which it is stored: paths and base64 become the images' bytes, a
    list of numbers the text of a series; any other column stays as it is.

    Args:
        column: Length N, as read.
        content: What the config says it holds.
        folder: Where relative paths start: the data file's folder.
        missing: Texts that mean missing, besides the empty one.

    Returns:
        Length N, and what could not be fetched.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if content == "series" and _is_list(column.type):
        texts = pc.list_flatten(column).cast(pa.string())
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), pc.fill_null(texts, ""))
        return pc.binary_join(lists, ","), []
    if content not in ("image_path", "image_base64"):
        return column, []
    made: list[bytes | None] = []
    faults: list[BadValues] = []
    for row, value in enumerate(column.to_pylist()):
        text = _single_text(value)
        image: bytes | None = None
        if text and text not in missing:
            try:
                image = _of_path(folder / text) if content == "image_path" else _of_base64(text)
            except ValueError as error:
                hint = (
                    f"Relative paths start from the data file's folder, {folder}."
                    if content == "image_path"
                    else "Write the image's bytes in base64, with or without `data:...;base64,`."
                )
                faults.append(one_bad(row, shown(text), str(error), hint))
        made.append(image)
    return pa.array(made, pa.large_binary()), together(faults)


def faults_of(
    lists: pa.Array, content: Content, missing: Sequence[str], form: NumberForm
) -> list[BadValues]:
    """What is wrong with the bytes of a column.

    Args:
        lists: Lists of large_binary, length N, with one value or none.
        content: What they should be.
        missing: Texts that mean missing: a series may have them between its numbers.
        form: How the data's text states numbers.
    """
    values = lists.flatten()
    if len(values) != len(lists):
        rows = np.flatnonzero(lists.value_lengths().to_numpy(zero_copy_only=False))
    else:
        rows = np.arange(len(lists))
    if len(rows) != len(values):
        return []  # Several values in a row: Transform says so, with the column's name.
    if content == "series":
        found = _faults_of_series(values, missing, form)
    elif content == "text":
        found = _faults_of_text(values)
    else:
        found = together(
            [
                one_bad(row, repr(data[:12]), problem, _IMAGE_HINT)
                for row, data in enumerate(values.to_pylist())
                if (problem := image_problem(data))
            ]
        )
    return [fault.at(rows) for fault in found]


_IMAGE_HINT = "Replace or remove the image. PNG, JPEG, GIF and BMP are read, by their bytes."


def image_problem(data: bytes) -> str:
    """Why bytes are no image that can be decoded, or "": by the first and last bytes alone."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "" if b"IEND" in data else _CUT
    if data.startswith(b"\xff\xd8\xff"):
        return "" if data.rfind(b"\xff\xd9") > 0 else _CUT
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "" if len(data) > 13 else _CUT
    if data.startswith(b"BM") and len(data) > 26:
        return "" if int.from_bytes(data[2:6], "little") <= len(data) else _CUT
    return "is no image"


_CUT = "is an image that ends early"


def named_files_digest(files: Sequence[InputFile], source: Source) -> str:
    """SHA-256 over the contents of the files that columns of paths name, hexadecimal.

    Raises:
        DataError: The rows cannot be read. A file that is not there counts as such.
    """
    from tfx_pipeline.ingest.readers import chunks

    total = hashlib.sha256()
    for chunk in chunks(files, source, source.path_columns):
        for column in chunk.rows.columns:
            for text in map(_single_text, column.to_pylist()):
                try:
                    image = _of_path(chunk.file.path.parent / text) if text else b""
                except ValueError:
                    image = b""
                total.update(hashlib.sha256(image).digest())
    return total.hexdigest()


def _faults_of_series(
    values: pa.Array, missing: Sequence[str], form: NumberForm
) -> list[BadValues]:
    import pyarrow.compute as pc

    if form.decimal == ",":
        commas = bad_values(
            values,
            pc.match_substring(values, ","),
            "has commas, and `data.decimal` is a comma",
            "In a series write a decimal point, and spaces or semicolons between the numbers.",
        )
        if commas:
            return [_readable(fault) for fault in commas]
    marks = "".join(f"|{re.escape(text)}" for text in missing if text)
    token = f"(?:{_NUMBER}{marks})?"
    fits = pc.match_substring_regex(values, rf"^\s*{token}(?:{_SEPARATOR}{token})*\s*$")
    found = bad_values(values, pc.invert(fits), "is no number of a series", _SERIES_HINT)
    for fault in found:
        cell = values[fault.row].as_py().decode(errors="backslashreplace")
        tokens = re.split(_SEPARATOR, cell.strip())
        wrong = next((t for t in tokens if not re.fullmatch(token, t)), cell)
        return [replace(fault, value=shown(wrong))]
    return []


_SERIES_HINT = (
    "Separate the numbers by spaces, commas or semicolons, with a decimal point. Name a mark for "
    "missing numbers in `data.missing_values`, or leave a gap between two commas."
)


def _faults_of_text(values: pa.Array) -> list[BadValues]:
    import pyarrow as pa

    try:
        values.cast(pa.large_string())
    except pa.ArrowInvalid:
        pass
    else:
        return []
    hint = "Write the data's text in UTF-8; of a CSV file `data.encoding` says what it is in."
    found = []
    for row, data in enumerate(values.to_pylist()):
        try:
            data.decode()
        except UnicodeDecodeError:
            value = shown(data.decode(errors="backslashreplace"))
            found.append(one_bad(row, value, "is not UTF-8", hint))
    return together(found)


def _readable(fault: BadValues) -> BadValues:
    """Bytes shown by `bad_values` as the text that they are."""
    text = re.sub(r"^b['\"]|['\"]$", "", fault.value)
    return replace(fault, value=text)


def _single_text(value: object) -> str:
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else ""


def _of_path(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ValueError("is no file") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None


def _of_base64(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is no base64") from None


def _is_list(data_type: pa.DataType) -> bool:
    import pyarrow as pa

    types = pa.types
    return any(
        check(data_type) for check in (types.is_list, types.is_large_list, types.is_fixed_size_list)
    )
