"""Images as users have them: a folder a class, a column of paths, base64; and what is no image."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ingest.conftest import Write, make_source, read_source
from tfx_pipeline.config.load import load_config
from tfx_pipeline.errors import ConfigError, DataError
from tfx_pipeline.ingest import contents, tfrecord_reader
from tfx_pipeline.ingest.files import content_digest, find_files
from tfx_pipeline.ingest.first_rows import check_first_rows
from tfx_pipeline.ingest.source import Source, source_of

LABEL = {"column": "label", "task": "binary", "classes": ["cat", "dog"]}


def encoded(grey: int, form: str = "PNG") -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.full((3, 4), grey, np.uint8)).save(buffer, form)
    return buffer.getvalue()


def folder_source(root: Path, **data: Any) -> Source:
    data = {"format": "images", "label": LABEL, "split": {"val_fraction": 0}} | data
    source = make_source(str(root), {"image": "bytes"}, **data)
    return Source(source.data, source.types, source.paths, {}, {"image": "image"})


@pytest.fixture
def tree(write: Write, tmp_path: Path) -> Path:
    for number in range(30):
        label, form = ("cat", "PNG") if number % 2 else ("dog", "JPEG")
        write(encoded(number, form), f"photos/{label}/{number // 10}/{number}.{form.lower()}")
    write("no image", "photos/dog/readme.txt")
    write(b"", "photos/cat/.hidden.png")
    return tmp_path / "photos"


def test_a_folder_of_images_has_the_folders_names_as_labels(tree: Path) -> None:
    rows = read_source(folder_source(tree))
    found = {image: label for [image], [label] in zip(rows["image"], rows["label"], strict=True)}
    assert found == {
        encoded(n, "PNG" if n % 2 else "JPEG"): b"cat" if n % 2 else b"dog" for n in range(30)
    }
    assert {"train", "eval"} <= set(rows["split"])


def test_one_image_in_two_places_is_in_one_split(tree: Path, write: Write) -> None:
    source = folder_source(tree)
    before = read_source(source)
    for number in range(1, 30, 2):
        write(encoded(number), f"photos/cat/again/other name {number}.png")
    rows = read_source(source)
    splits: dict[bytes, set[str]] = {}
    for [image], split in zip(rows["image"], rows["split"], strict=True):
        splits.setdefault(image, set()).add(split)
    assert len(rows["image"]) == 45
    assert all(len(found) == 1 for found in splits.values())
    old = {image: split for [image], split in zip(before["image"], before["split"], strict=True)}
    assert all(splits[image] == {split} for image, split in old.items())


def test_folders_of_splits_hold_folders_of_classes(write: Write, tmp_path: Path) -> None:
    for split, first in (("train", 0), ("test", 10)):
        for number in range(first, first + 4):
            write(encoded(number), f"set/{split}/{'cat' if number % 2 else 'dog'}/{number}.png")
    split = {"method": "folders", "val_fraction": 0}
    rows = read_source(folder_source(tmp_path / "set", split=split))
    assert rows["split"] == ["eval"] * 4 + ["train"] * 4
    assert rows["label"][:4] == [[b"cat"], [b"cat"], [b"dog"], [b"dog"]]


def test_a_changed_image_is_other_data(tree: Path, write: Write) -> None:
    before = content_digest(find_files(folder_source(tree)))
    assert content_digest(find_files(folder_source(tree))) == before
    write(encoded(99), "photos/cat/0/1.png")
    assert content_digest(find_files(folder_source(tree))) != before


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"plain text", "is no image"),
        (encoded(3)[:-20], "is an image that ends early"),
        (encoded(3, "JPEG")[:-2], "is an image that ends early"),
        (encoded(3, "BMP")[:-2], "is an image that ends early"),
        (b"", "is no image"),
    ],
)
def test_a_file_that_does_not_decode_is_named(
    tree: Path, write: Write, data: bytes, problem: str
) -> None:
    if data:
        path = write(data, "photos/cat/2/broken.png")
        for check in (read_source, lambda source: check_first_rows(find_files(source), source)):
            with pytest.raises(DataError, match=problem) as caught:
                check(folder_source(tree))
            assert caught.value.where == path
    else:
        assert contents.image_problem(data) == problem


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP"])
def test_whole_images_pass(form: str) -> None:
    assert contents.image_problem(encoded(7, form)) == ""


def test_images_beside_the_folders_have_no_class(tree: Path, write: Write) -> None:
    write(encoded(1), "photos/loose.png")
    with pytest.raises(DataError, match=r"loose\.png lies beside the folders"):
        find_files(folder_source(tree))
    with pytest.raises(DataError, match="there are no folders"):
        find_files(folder_source(tree / "cat" / "0"))
    with pytest.raises(DataError, match="needs a folder"):
        find_files(folder_source(tree / "cat" / "0" / "1.png"))


def test_the_label_of_a_folder_is_its_name(write: Write) -> None:
    path = write(
        "name: a\ndata:\n  path: photos\n  format: images\n"
        "  label: {column: kind, task: binary, classes: [cat, dog]}\n"
        "features: {columns: {image: {kind: image}}}\n",
        "pipeline.yaml",
    )
    with pytest.raises(ConfigError, match=r"`column: label`") as caught:
        load_config(Path(path))
    assert caught.value.where.endswith(":5")


def table_source(write: Write, rows: str, stored_as: str) -> Source:
    write(f"label,photo\n{rows}", "table/rows.csv")
    path = write(
        "name: a\ndata:\n  path: table/rows.csv\n  label: {column: label, classes: [cat, dog]}\n"
        "  split: {val_fraction: 0}\n"
        f"features: {{columns: {{photo: {{kind: image, stored_as: {stored_as}}}}}}}\n",
        "pipeline.yaml",
    )
    return Source.from_json(source_of(load_config(Path(path))).to_json())


def test_a_column_of_paths_is_read(write: Write, tmp_path: Path) -> None:
    for number in range(20):
        write(encoded(number), f"table/files/{number}.png")
    names = [f"files/{n}.png" if n else str(tmp_path / "table/files/0.png") for n in range(20)]
    rows = "".join(f"{'cat' if n % 2 else 'dog'},{name}\n" for n, name in enumerate(names))
    source = table_source(write, rows + "cat,\n", "path")
    read = read_source(source)
    assert read["photo"] == [[encoded(n)] for n in range(20)] + [[]]
    files = find_files(source)
    before = contents.named_files_digest(files, source)
    write(encoded(99), "table/files/3.png")
    assert contents.named_files_digest(files, source) != before


def test_a_path_that_leads_nowhere_names_its_line(write: Write) -> None:
    write(encoded(0), "table/0.png")
    write("text", "table/1.png")
    source = table_source(write, "cat,0.png\ndog,gone.png\ncat,1.png\ndog,gone too.png\n", "path")
    with pytest.raises(DataError, match=r"'gone.png' is no file \(2 such values\)") as caught:
        read_source(source)
    assert "rows.csv, line 3, column 'photo'" in caught.value.where
    assert "table" in (caught.value.hint or "")


def test_base64_is_decoded(write: Write) -> None:
    texts = [base64.b64encode(encoded(n)).decode() for n in range(20)]
    texts[1] = f'"data:image/png;base64,{texts[1]}"'
    rows = "".join(f"{'cat' if n % 2 else 'dog'},{text}\n" for n, text in enumerate(texts))
    read = read_source(table_source(write, rows, "base64"))
    assert read["photo"] == [[encoded(n)] for n in range(20)]
    with pytest.raises(DataError, match="is no base64"):
        read_source(table_source(write, "cat,!!\ndog,\n", "base64"))


def test_large_examples_come_in_smaller_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    path = tmp_path / "rows.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(10):
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes([number]) * 99]))
            features = tf.train.Features(feature={"photo": feature})
            writer.write(tf.train.Example(features=features).SerializeToString())
    monkeypatch.setattr(tfrecord_reader, "_BATCH_BYTES", 300)
    batches = list(tfrecord_reader.batches(path, None))
    assert [batch.num_rows for batch in batches] == [3, 3, 3, 1]
    images = [row for batch in batches for [row] in batch.column("photo").to_pylist()]
    assert images == [bytes([number]) * 99 for number in range(10)]


def test_columns_beside_paths_keep_their_rows(write: Write, tmp_path: Path) -> None:
    """Rows come in slices where images may be large; Arrow's offsets are easily lost there."""
    plans = ["" if n % 4 == 1 else f"plan {n}" for n in range(900)]
    labels = ["cat" if n % 2 else "dog" for n in range(900)]
    rows = "label,photo,plan\n"
    rows += "".join(f"{labels[n]},files/{n % 3}.png,{plans[n]}\n" for n in range(900))
    for number in range(3):
        write(encoded(number), f"table/files/{number}.png")
    write(rows, "table/rows.csv")
    path = write(
        "name: a\ndata:\n  path: table/rows.csv\n  label: {column: label, classes: [cat, dog]}\n"
        "features:\n  columns:\n    photo: {kind: image, stored_as: path}\n"
        "    plan: {kind: categorical}\n",
        "pipeline.yaml",
    )
    read = read_source(Source.from_json(source_of(load_config(Path(path))).to_json()))
    expected = [(encoded(n % 3), plans[n].encode(), labels[n].encode()) for n in range(900)]
    found = [
        (image, plan[0] if plan else b"", label)
        for [image], plan, [label] in zip(read["photo"], read["plan"], read["label"], strict=True)
    ]
    assert sorted(found) == sorted(expected)
