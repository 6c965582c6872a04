"""Analysis by spans: what was computed of rows that an earlier run has analyzed is not again.

TFT keeps, for each dataset that it analyzes, what each analyzer has computed of it. TFX makes one
dataset of a split, and knows it by its path, so that one new row makes all of it new. Here each
span of an artifact (`tfx_pipeline.ingest.spans`) is a dataset, known by its content.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# `data_tfrecord-<the span's key>-00000-of-00002.gz`
_SHARD_OF_SPAN = re.compile(r"(.+-[0-9a-f]{16})-\d{5}-of-\d{5}[^/]*$")


def by_span(
    make: Callable[..., list[Any]],
    file_patterns: Sequence[str],
    file_formats: Sequence[Any],
    data_format: int,
    data_view_uri: str | None,
    can_process_jointly: bool,
    stats_output_paths: Sequence[str] | None = None,
    materialize_output_paths: Sequence[str] | None = None,
) -> list[Any]:
    """`TransformProcessor._MakeDatasetList`, the stock one being `make` and the other parameters
    its own, with a dataset for each span that is analyzed.

    Returns:
        Datasets of TFX, by their keys. Those whose rows are written stay one a split.
    """
    named = (data_format, data_view_uri, can_process_jointly)
    if stats_output_paths or materialize_output_paths:
        return make(
            file_patterns, file_formats, *named, stats_output_paths, materialize_output_paths
        )
    pairs = [
        (part, form)
        for pattern, form in zip(file_patterns, file_formats, strict=True)
        # Without a cache to write, parts would be mere graph.
        for part in ([pattern] if can_process_jointly else _span_patterns(pattern))
    ]
    datasets = make([part for part, _ in pairs], [form for _, form in pairs], *named)
    seen: Counter[str] = Counter()
    for dataset in datasets:
        if key := _content(dataset.file_pattern):
            seen[key] += 1
            if seen[key] > 1:  # The same rows once more are other rows all the same.
                key = f"{key}-{seen[key]}"
            dataset.dataset_key = type(dataset.dataset_key)(key)
    datasets.sort(key=lambda dataset: dataset.dataset_key)
    for index, dataset in enumerate(datasets):
        dataset.index = index
    return datasets


def joined(datasets: Sequence[Any]) -> Any:
    """The first of some datasets, with the rows of all; nothing is cached of them."""
    first = datasets[0]
    first._file_pattern = [dataset.file_pattern for dataset in datasets]
    first._file_format = [dataset.file_format for dataset in datasets]
    first.dataset_key = first.dataset_key.non_cacheable()
    return first


def copy_files(source: str, target: str) -> None:
    """Copies a folder of a cache, by links where they are to be had."""
    if "://" in source or "://" in target:
        from tfx.utils import io_utils

        io_utils.copy_dir(source, target)
        return
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=_link)


def _span_patterns(pattern: str) -> list[str]:
    """One pattern for each span of a split's; the pattern itself where there are none."""
    names = sorted(glob.glob(pattern))
    found = [_SHARD_OF_SPAN.match(name) for name in names]
    if not names or not all(found):
        return [pattern]
    return list(dict.fromkeys(f"{glob.escape(span[1])}-*" for span in found if span))


def _content(pattern: str) -> str:
    """SHA-256 of the files of a pattern; "" where they are not on this machine."""
    total = hashlib.sha256()
    names = sorted(glob.glob(pattern))
    for name in names:
        with Path(name).open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest() if names else ""


def _link(source: str, target: str) -> None:
    if not source.endswith(".gz"):  # The manifest, which is written anew.
        shutil.copy2(source, target)
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
