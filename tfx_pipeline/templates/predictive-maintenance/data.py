"""Synthetic sensors of machines, some of which fail within a day, with a planted rule.

    python data.py [--rows 6000] [--seed 17]

A row is a machine's last 24 hours: vibration, temperature and load of every hour, in one cell. Each
machine vibrates in its own way, so its level says nothing; what counts is that the vibration rises
over the day, and that the machine is hotter than its load explains.
"""

import numpy as np
import pandas as pd

from tfx_pipeline.templates.synthetic import Made, Truth, auc, main, sigmoid

FILE = "data.csv"
ROWS = 6_000
HOURS = 24
WINDOWS = 20  # Of one machine; they stay in one split.


def make(rows: int, seed: int) -> Made:
    """Windows of readings, and whether the machine failed in the day that followed."""
    random = np.random.default_rng(seed)
    machine = np.arange(rows) // WINDOWS
    hours = np.arange(HOURS) / (HOURS - 1)
    rise, heat = random.exponential(0.5, (2, rows)).clip(0, 3)
    level = random.uniform(2, 6, machine.max() + 1)[machine]
    load = 0.6 + 0.25 * np.sin(2 * np.pi * (hours + random.random((rows, 1))))
    load = load + random.normal(0, 0.05, (rows, HOURS))
    vibration = level[:, None] + rise[:, None] * hours + random.normal(0, 0.15, (rows, HOURS))
    temperature = 40 + 30 * load + 5 * heat[:, None] + random.normal(0, 1, (rows, HOURS))
    log_odds = -6.0 + 4.0 * rise + 3.0 * heat
    fails = random.random(rows) < sigmoid(log_odds)
    readings = np.stack([vibration, temperature, load], axis=2).reshape(rows, -1)
    windows = pd.DataFrame(
        {
            "machine": np.char.add("m", machine.astype(str)),
            "model": np.array(["A", "B", "C"])[machine % 3],
            "readings": [" ".join(f"{value:.2f}" for value in row) for row in readings],
            "next_day": np.where(fails, "failure", "none"),
        }
    )
    return Made(
        windows,
        Truth(
            planted="each unit that the vibration rises over the day: +4.0 in log-odds; each 5 "
            "degrees above what the load explains: +3.0; the level of the vibration: nothing",
            metric="auc",
            best=auc(fails, log_odds),
            blind="by the day's means, without the rise",
            blind_to_it=auc(fails, heat),
        ),
    )


if __name__ == "__main__":
    main(__file__)
