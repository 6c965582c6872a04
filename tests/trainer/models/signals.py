"""Images, texts and series whose label is known by construction, and small encoders for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from transform.layout import FeatureSpec

Rows = tuple[np.ndarray, np.ndarray]
TOKENS = 12  # Ids: 0 padding, 1 unknown, 2 and 3 the words that matter.
IMAGE = FeatureSpec("photo_xf", "image", 64, (8, 8, 1))
TEXT = FeatureSpec("words_sequence_xf", "sequence", TOKENS, (6,))
SERIES = FeatureSpec("signal_series_xf", "series", 12, (12, 1))


def stripes(count: int, rng: np.random.Generator, label: np.ndarray | None = None) -> Rows:
    """Whether stripes run across (1) or down, at any phase: no pixel alone tells, nor do all."""
    y = rng.integers(0, 2, count) if label is None else label
    line = (np.arange(8) + rng.integers(0, 2, (count, 1))) % 2
    across = np.where(y[:, None, None] == 1, line[:, :, None], line[:, None, :])
    noisy = 0.25 + 0.5 * np.broadcast_to(across, (count, 8, 8)) + rng.normal(0, 0.1, (count, 8, 8))
    return noisy[..., None].clip(0, 1).astype(np.float32), y


def order(count: int, rng: np.random.Generator, label: np.ndarray | None = None) -> Rows:
    """Whether word 2 stands before word 3 (1) or behind it: every text has both, once."""
    y = rng.integers(0, 2, count) if label is None else label
    ids, at, row = rng.integers(4, TOKENS, (count, 6)), rng.integers(0, 5, count), np.arange(count)
    ids[row, at], ids[row, at + 1] = np.where(y, 2, 3), np.where(y, 3, 2)
    return ids, y


def keyword(count: int, rng: np.random.Generator) -> Rows:
    """Whether word 2 is in a text of 1 to 6 words."""
    y = rng.integers(0, 2, count)
    ids, length = rng.integers(3, TOKENS, (count, 6)), rng.integers(1, 7, count)
    ids[np.arange(count), rng.integers(0, length)] = np.where(y, 2, 3)
    ids[np.arange(6) >= length[:, None]] = 0
    return ids, y


def pitch(count: int, rng: np.random.Generator) -> Rows:
    """Whether a wave is quick (1) or slow, at any phase: no step alone tells."""
    y = rng.integers(0, 2, count)
    turns = np.where(y, 4, 2)[:, None] * np.arange(12) / 12 + rng.random((count, 1))
    wave = np.sin(2 * np.pi * turns) + rng.normal(0, 0.2, (count, 12))
    return wave[..., None].astype(np.float32), y


@dataclass(frozen=True)
class Case:
    """An encoder at work: its feature, rows with a known answer, its sections of `model`."""

    spec: FeatureSpec
    rows: Callable[[int, np.random.Generator], Rows]
    model: dict[str, Any]
    left: frozenset[str]  # Types of layers that TF-MOT leaves in float; docs/encoders.md has them.


def _case(spec: FeatureSpec, rows: Any, left: set[str], kind: str, **sizes: Any) -> Case:
    return Case(spec, rows, {"hidden_units": [16], kind: sizes}, frozenset(left))


CASES = {
    "image cnn": _case(IMAGE, stripes, set(), "image", encoder="cnn"),
    "image resnet": _case(
        IMAGE, stripes, set(), "image", encoder="resnet", resnet={"blocks": [1, 1], "filters": 8}
    ),
    "image mobilenet": _case(
        IMAGE,
        stripes,
        set(),
        "image",
        encoder="mobilenet",
        mobilenet={"blocks": [1, 2], "filters": 8, "expansion": 2},
    ),
    "text average": _case(
        TEXT,
        keyword,
        {"TokenMask", "Embedding", "Dot"},
        "text",
        encoder="average",
        embedding_dim=8,
    ),
    "text cnn": _case(
        TEXT,
        order,
        {"TokenMask", "Embedding", "Multiply", "Conv1D"},
        "text",
        encoder="cnn",
        embedding_dim=8,
        units=16,
    ),
    "text lstm": _case(
        TEXT,
        order,
        {"Embedding", "Bidirectional"},
        "text",
        encoder="lstm",
        embedding_dim=8,
        units=8,
    ),
    "text gru": _case(
        TEXT,
        order,
        {"Embedding", "Bidirectional"},
        "text",
        encoder="gru",
        embedding_dim=8,
        units=8,
    ),
    "series cnn": _case(SERIES, pitch, {"Conv1D"}, "series", encoder="cnn", units=8),
    "series gru": _case(SERIES, pitch, {"GRU"}, "series", encoder="gru", units=16),
}
