"""Synthetic views of films, with planted tastes.

    python data.py [--rows 20000] [--seed 17]

Each user has a taste for six genres: that of their age group, and their own on top. Each of the 120
films has a genre and is more or less well known. Which film somebody watches next is drawn by
popularity[film] * exp(taste[user, genre]).
"""

import numpy as np
import pandas as pd

from tfx_pipeline.templates.synthetic import Made, Truth, main

FILE = "data.csv"
ROWS = 20_000
FILMS = 120
TOP = 10  # Films that a request is answered with.
VIEWS_OF_A_USER = 100  # On average.
GENRES = ["action", "comedy", "drama", "horror", "romance", "science"]
AGES = ["under 25", "25 to 44", "45 to 64", "65 and over"]


def make(rows: int, seed: int) -> Made:
    """Who watched which film when, and the catalog of films."""
    random = np.random.default_rng(seed)
    users = max(10, rows // VIEWS_OF_A_USER)
    age = random.integers(0, len(AGES), users)
    taste = random.normal(0, 1.5, (len(AGES), len(GENRES)))[age]
    taste = taste + random.normal(0, 1.0, (users, len(GENRES)))
    genre = np.arange(FILMS) % len(GENRES)
    popularity = random.permutation(1 / np.arange(1, FILMS + 1) ** 0.7)
    chances = popularity * np.exp(taste[:, genre])
    chances /= chances.sum(axis=1, keepdims=True)
    user = random.integers(0, users, rows)
    film = (random.random((rows, 1)) > chances.cumsum(axis=1)[user]).sum(axis=1).clip(max=FILMS - 1)
    names = np.array([f"film {number:03d}" for number in range(FILMS)])
    minutes = np.sort(random.integers(0, 365 * 24 * 60, rows))
    views = pd.DataFrame(
        {
            "seen_at": pd.Timestamp("2025-01-01") + pd.to_timedelta(minutes, unit="min"),
            "user": np.char.add("u", user.astype(str)),
            "age_group": np.array(AGES)[age[user]],
            "film": names[film],
        }
    )
    views["seen_at"] = views.seen_at.dt.strftime("%Y-%m-%dT%H:%M:%S")
    best = np.argsort(-chances, axis=1)[user, :TOP]
    popular = np.argsort(-np.bincount(film, minlength=FILMS))[:TOP]
    return Made(
        views,
        Truth(
            planted="the next film: popularity[film] * exp(taste[user, genre])",
            metric=f"recall_at_{TOP}",
            best=float((best == film[:, None]).any(axis=1).mean()),
            blind="by popularity alone, the same for every user",
            blind_to_it=float(np.isin(film, popular).mean()),
        ),
        {"films.csv": pd.DataFrame({"film": names, "genre": np.array(GENRES)[genre]})},
    )


if __name__ == "__main__":
    main(__file__)
