"""Choices with a known rule: what a group of users likes, times how popular an item is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.input import Held, Split
from transform.config import LabelConfig
from transform.layout import FeatureSpec

GROUPS, ITEMS, LIKED = 8, 120, 12
FEATURES = [
    FeatureSpec("group_xf", "ids", GROUPS + 1, (1,)),
    FeatureSpec("noise_xf", "dense", 1, (1,)),
]
NAMES = [f"item{i:03d}" for i in range(ITEMS)]
LABEL = LabelConfig(column="item", task="multiclass", classes=NAMES, top_k=10)


@dataclass(frozen=True)
class World:
    """The rule: `chosen[g, i]` is the probability that a user of group g takes item i.

    `genre[i]` is the group that likes item i; -1 where none does more than another.
    """

    chosen: np.ndarray
    popularity: np.ndarray
    genre: np.ndarray


def world(skew: float = 1.0, seed: int = 5) -> World:
    """Item i is liked 20 times as much by one group; popularity falls as 1 / rank ** skew."""
    rng = np.random.default_rng(seed)
    genre = np.full(ITEMS, -1)
    genre[rng.permutation(ITEMS)[: GROUPS * LIKED]] = np.repeat(np.arange(GROUPS), LIKED)
    popularity = rng.permutation(1.0 / np.arange(1, ITEMS + 1) ** skew)
    liking = np.where(genre[None, :] == np.arange(GROUPS)[:, None], 20.0, 1.0)
    weight = popularity * liking
    return World(weight / weight.sum(axis=1, keepdims=True), popularity, genre)


def choices(truth: World, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Groups [rows] and the items they took [rows]."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, GROUPS, rows)
    cumulative = truth.chosen.cumsum(axis=1)[group]
    return group, (rng.random((rows, 1)) > cumulative).sum(axis=1).clip(max=ITEMS - 1)


def split(truth: World, rows: int, seed: int, name: str = "train") -> Split:
    """Rows in memory, as the trainer holds them."""
    group, item = choices(truth, rows, seed)
    noise = np.random.default_rng(seed + 1).normal(size=(rows, 1)).astype(np.float32)
    features = {"group_xf": group[:, None].astype(np.int64), "noise_xf": noise}
    held = Held(features, item[:, None].astype(np.int64))
    return Split(name, (), FEATURES, {}, rows, held)


def write_items(path: Path, truth: World) -> Path:
    """The items' own features: their genre, and a number that says nothing."""
    lines = ["item,genre,size"]
    lines += [f"{name},g{truth.genre[i]},{i % 7}" for i, name in enumerate(NAMES)]
    path.write_text("\n".join(lines) + "\n")
    return path


def recall_at(k: int, scores: np.ndarray, items: np.ndarray) -> float:
    """Share of rows whose item is among the k of the highest score."""
    top = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((top == items[:, None]).any(axis=1).mean())
