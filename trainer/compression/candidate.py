"""What a method makes, and the row that each candidate has in the ladder, made or failed."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import tf_keras

INDEX_FILE = "candidates.json"
"""In the folder of a ladder; each candidate that was made is a folder beside it."""

CORE_FILE = "assets.extra/core.tflite"
"""The dense core that a server with LiteRT runs in place of the SavedModel's own graph."""

Numbers: TypeAlias = Literal["float32", "float16", "dynamic_range", "int8", "int16x8"]
"""What the core computes with."""


@dataclass(frozen=True)
class Compressed:
    """What a method makes.

    Attributes:
        model: From model inputs to predictions, without wrappers of TF-MOT but for the quantize
            wrappers of quantization-aware training; what later candidates start from.
        numbers: How its core is converted.
        notes: What a reader of the table must know: layers left in float, and why.
    """

    model: tf_keras.Model
    numbers: Numbers = "float32"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A row of the ladder.

    Attributes:
        name: Its folder, too.
        method: As in the config; `float` for the trained model.
        of: The candidate it was made from; empty for the trained model.
        failed: Why there is no such candidate; empty where there is one.
        notes: As in `Compressed`, and why there is no core where it does not convert.
        has_core: Whether there is a `CORE_FILE`.
        numbers: What its core computes with.
        effects: Measured on its weights and files, by name: `parameters`, `sparsity`,
            `distinct_values` (largest of any kernel), `core_bytes`, `core_gzip_bytes`,
            `int8_tensors`.
        max_difference: Largest absolute difference of the core's outputs to its source's, on real
            rows; None without a core.
        seconds: What it took to make.
    """

    name: str
    method: str
    of: str = ""
    failed: str = ""
    notes: tuple[str, ...] = ()
    has_core: bool = False
    numbers: Numbers = "float32"
    effects: dict[str, float] = field(default_factory=dict)
    max_difference: float | None = None
    seconds: float = 0.0


def write_index(candidates: list[Candidate], folder: Path) -> None:
    """Writes `candidates.json` into the folder of a ladder, whole or not at all."""
    rows = [dataclasses.asdict(candidate) for candidate in candidates]
    unfinished = folder / f"{INDEX_FILE}.unfinished"
    unfinished.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(folder / INDEX_FILE)


def read_index(folder: Path) -> list[Candidate]:
    """Reads what `write_index` wrote.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        rows = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
        return [Candidate(**{**row, "notes": tuple(row["notes"])}) for row in rows]
    except (TypeError, KeyError) as error:
        raise ValueError(f"{folder / INDEX_FILE} is no ladder: {error}") from error
