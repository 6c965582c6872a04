"""Series and texts as the data hold them, and the cells that cannot be what they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.conftest import Write, make_source, read_source
from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest.source import Source


def source_of(path: str, content: Any, **data: Any) -> Source:
    source = make_source(path, {"x": "bytes"}, split={"val_fraction": 0}, **data)
    return Source(source.data, source.types, source.paths, {}, {"x": content})


CELLS = ["1 2 3", "-1.5e3,2;3", '" 1 , 2 "', '"1,,3"', "", "?", "? 2"]


def test_series_of_every_form_pass_as_they_are(write: Write) -> None:
    cells = [*CELLS[:1], '"-1.5e3,2;3"', *CELLS[2:]]
    path = write("y,x\n" + "".join(f"{n},{cell}\n" for n, cell in enumerate(cells * 4)))
    read = read_source(source_of(path, "series", missing_values=["", "?"]))
    plain = [[cell.strip('"').encode()] for cell in CELLS[:4]]
    assert read["x"][:7] == [*plain, [], [], [b"? 2"]]


@pytest.mark.parametrize(
    ("cell", "token"), [("1 2 three 4", "three"), ("1 2.5.1", "2.5.1"), ("nan 1", "nan")]
)
def test_a_number_of_a_series_that_is_none_names_its_line(
    write: Write, cell: str, token: str
) -> None:
    path = write(f"y,x\n1,1 2\n2,{cell}\n3,4\n")
    with pytest.raises(DataError, match=f"'{token}' is no number of a series") as caught:
        read_source(source_of(path, "series"))
    assert caught.value.where.endswith("line 3, column 'x'")


def test_decimal_commas_in_a_series_are_refused(write: Write) -> None:
    path = write("y;x\n1;0,5 0,7\n2;0.5 0.7\n")
    with pytest.raises(DataError, match=r"'0,5 0,7' has commas, and `data\.decimal` is a comma"):
        read_source(source_of(path, "series", decimal=",", delimiter=";"))


def test_lists_of_numbers_are_a_series(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    lists = pa.array([[0.5, None, 2], [], None, [1e-7]] * 5, pa.list_(pa.float32()))
    pq.write_table(pa.table({"y": [float(n) for n in range(20)], "x": lists}), path)
    read = read_source(source_of(str(path), "series"))
    assert read["x"][:4] == [[b"0.5,,2"], [], [], [b"1e-7"]]


def test_text_in_another_encoding_names_its_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    texts = pa.array(["schön".encode(), "schön".encode("latin-1"), b"a"], pa.binary())
    pq.write_table(pa.table({"y": [1.0, 2.0, 3.0], "x": texts}), path)
    with pytest.raises(DataError, match="is not UTF-8") as caught:
        read_source(source_of(str(path), "text"))
    assert "row 2, column 'x'" in caught.value.where
