"""What the templates' data.py share: the table they make, what is true of it, how it is written.

A template's data.py has `FILE` (`data.csv` or `data.parquet`), `ROWS` and `make(rows, seed)`. It is
run by `assay init --template` and by itself: `python data.py --rows 500`.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from tfx_pipeline.errors import EnvironmentMismatch

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TRUTH_FILE = "truth.json"
SEED = 17


@dataclass(frozen=True)
class Truth:
    """What was planted in synthetic rows.

    Attributes:
        planted: In words: what the label follows from.
        metric: How a model is measured.
        best: The metric of the rule itself over these rows: no model does better but by luck.
        blind: What a model does not see that reaches only `blind_to_it`.
        blind_to_it: The metric of the best rule without that.
    """

    planted: str
    metric: str
    best: float
    blind: str
    blind_to_it: float


@dataclass(frozen=True)
class Made:
    """A template's rows. `truth` is None where they are real; `more`: further CSV files by name."""

    rows: pd.DataFrame
    truth: Truth | None = None
    more: dict[str, pd.DataFrame] = field(default_factory=dict)


def load(script: Path) -> ModuleType:
    """A template's data.py as a module; its folder need not be a package.

    Raises:
        EnvironmentMismatch: It needs a package that is not installed.
    """
    spec = importlib.util.spec_from_file_location("template_data", script)
    assert spec is not None, script
    assert spec.loader is not None, script
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise EnvironmentMismatch(
            f"the package {error.name}, which the template's data come from or are made with, is "
            "not installed",
            where=str(script),
            hint="Install the pipeline: `pip install tfx-assay[pipeline]`, or `make setup`.",
        ) from error
    return module


def write(
    module: ModuleType, target: Path, rows: int | None = None, seed: int = SEED
) -> Truth | None:
    """Makes a template's rows and writes them.

    Args:
        module: The template's data.py.
        target: The file; its folder gets `truth.json`, too, where the rows are synthetic.
        rows: How many; None: as many as the template says.
        seed: Of everything random.

    Returns:
        What was planted; None of real rows.
    """
    made: Made = module.make(module.ROWS if rows is None else rows, seed)
    if target.suffix == ".parquet":
        made.rows.to_parquet(target, index=False)
    else:
        made.rows.to_csv(target, index=False)
    for name, table in made.more.items():
        table.to_csv(target.with_name(name), index=False)
    if made.truth is not None:
        text = json.dumps({"synthetic": True, **asdict(made.truth)}, indent=2)
        target.with_name(TRUTH_FILE).write_text(text + "\n", encoding="utf-8")
    return made.truth


def main(script: str) -> None:
    """What `python data.py` does: writes the rows anew, beside the script."""
    module = sys.modules["__main__"]
    parser = argparse.ArgumentParser(description=(module.__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=module.ROWS, help=f"default: {module.ROWS:,}")
    parser.add_argument("--seed", type=int, default=SEED)
    asked = parser.parse_args()
    target = Path(script).resolve().with_name(module.FILE)
    truth = write(module, target, asked.rows, asked.seed)
    print(f"wrote {target.name}{f': {said(truth)}' if truth else ''}")


def said(truth: Truth) -> str:
    """One line about synthetic rows."""
    return (
        f"synthetic; the best possible {truth.metric} is {truth.best:.3f}, "
        f"{truth.blind_to_it:.3f} {truth.blind} ({TRUTH_FILE})"
    )


def words(text: str) -> list[str]:
    """The words between the spaces."""
    return text.split()


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve; ties count half.

    Args:
        labels: bool or 0/1 [N], both present.
        scores: float [N].
    """
    import pandas as pd

    ranks = pd.Series(scores).rank().to_numpy()
    positives = labels.astype(bool)
    count = int(positives.sum())
    above = float(ranks[positives].sum()) - count * (count + 1) / 2
    return above / (count * (len(labels) - count))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities of log-odds."""
    import numpy as np

    probabilities: np.ndarray = 1 / (1 + np.exp(-logits))
    return probabilities


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 [height, width] (grey) or [height, width, 3] (RGB)."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
