"""Synthetic pictures of skin lesions, drawn by dermatology's ABC rule. They are no patients.

    python data.py [--rows 4000] [--seed 17]

Each picture is drawn from four numbers: how asymmetric the lesion is, how ragged its border, how
uneven its colour, and its size, which means nothing here. The log-odds of `malignant` are a sum of
the first three and of the patient's age. Nothing that is learned from it holds for real lesions.
"""

import numpy as np
import pandas as pd

from tfx_pipeline.templates.synthetic import Made, Truth, auc, main, png, sigmoid

FILE = "data.parquet"
ROWS = 4_000
SIZE = 32  # Pixels, of both sides.


def make(rows: int, seed: int) -> Made:
    """Pictures with age and site, and the finding."""
    random = np.random.default_rng(seed)
    asymmetry, border, colour, size = random.random((4, rows))
    age = random.integers(18, 90, rows)
    of_age = 0.04 * (age - 54)
    log_odds = -8.5 + 5.0 * asymmetry + 5.0 * border + 5.0 * colour + of_age
    malignant = random.random(rows) < sigmoid(log_odds)
    lesions = zip(asymmetry, border, colour, size, strict=True)
    patients = pd.DataFrame(
        {
            "image": [png(_lesion(random, *numbers)) for numbers in lesions],
            "age": age,
            "site": random.choice(["arm", "back", "leg", "face"], rows),
            "finding": np.where(malignant, "malignant", "benign"),
        }
    )
    return Made(
        patients,
        Truth(
            planted="asymmetry, ragged border and uneven colour, each 0 to 1: +5.0 in log-odds "
            "each; a year of age: +0.04; the size and the site: nothing",
            metric="auc",
            best=auc(malignant, log_odds),
            blind="by the age alone",
            blind_to_it=auc(malignant, of_age),
        ),
    )


def _lesion(
    random: np.random.Generator, asymmetry: float, border: float, colour: float, size: float
) -> np.ndarray:
    """uint8 [SIZE, SIZE, 3]: a brown spot on skin."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / (SIZE - 1) * 2 - 1
    turn = random.uniform(0, np.pi)
    along = x * np.cos(turn) + y * np.sin(turn)
    across = (y * np.cos(turn) - x * np.sin(turn)) * (1 + 1.2 * asymmetry)
    angle = np.arctan2(across, along)
    ragged = 0.3 * border * np.sin(7 * angle + random.uniform(0, 2 * np.pi))
    edge = (0.5 + 0.25 * size) * (1 + ragged) - np.hypot(along, across)
    inside = sigmoid(30 * edge)[..., None]
    blotches = np.sin(5 * x + random.uniform(0, 6)) * np.sin(5 * y + random.uniform(0, 6))
    skin = np.array([225, 180, 155]) + random.normal(0, 8)
    brown = np.array([130, 80, 55]) + 90 * colour * blotches[..., None] * np.array([1, 0.6, 0.2])
    picture = skin * (1 - inside) + brown * inside + random.normal(0, 4, (SIZE, SIZE, 3))
    return picture.clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    main(__file__)
