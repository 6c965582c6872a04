"""The 1,797 handwritten digits that scikit-learn carries, as PNG files of 8 by 8 pixels.

    python data.py [--rows 1797]

Real: from E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
"""

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from tfx_pipeline.templates.synthetic import Made, main, png

FILE = "data.parquet"
ROWS = 1_797


def make(rows: int, seed: int) -> Made:
    """The images and what they show; `rows` of them at most."""
    digits = load_digits()
    chosen = np.random.default_rng(seed).permutation(len(digits.images))[:rows]
    grey = np.round(255 / 16 * digits.images).astype(np.uint8)
    table = {
        "image": [png(grey[index]) for index in chosen],
        "digit": digits.target[chosen].astype(str),
    }
    return Made(pd.DataFrame(table))


if __name__ == "__main__":
    main(__file__)
