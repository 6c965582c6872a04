"""Synthetic reviews of products, with a planted rule: `not` turns what follows around.

    python data.py [--rows 6000] [--seed 17]

A review is one or three clauses that like or dislike something, and perhaps one that means
nothing; three in ten say it by `not` and its opposite. The label is what most of its clauses say,
and wrong in 3 % of the rows, as labels are. Run it with Assay's Python (`.venv/bin/python`).
"""

import numpy as np
import pandas as pd

from tfx_pipeline.templates.synthetic import Made, Truth, main, words

FILE = "data.csv"
ROWS = 6_000
WRONG_LABELS = 0.03
NEGATED = 0.3

THINGS = words(
    "battery screen sound camera case price delivery manual app service packaging design "
    "keyboard cable support"
)
GOOD = words(
    "good great excellent lovely fast solid helpful clear bright cheap comfortable reliable"
)
BAD = words("bad poor awful ugly slow flimsy useless confusing dim expensive painful broken")
DEGREES = ["", "", "really", "very", "quite"]
FILLERS = [
    "i bought it in march",
    "it came in a box",
    "my sister has one too",
    "for the office",
    "",
]


def make(rows: int, seed: int) -> Made:
    """Reviews and their tones."""
    random = np.random.default_rng(seed)
    texts, scores, words = [], np.zeros(rows), np.zeros(rows)
    for row in range(rows):
        # The majority counts, so their number is odd.
        opinions = random.choice([-1, 1], random.choice([1, 3, 3]))
        clauses = [_clause(random, opinion) for opinion in opinions]
        scores[row] = opinions.sum()
        words[row] = sum(word for _, word in clauses)
        parts = [text for text, _ in clauses]
        parts.insert(int(random.integers(0, len(parts) + 1)), str(random.choice(FILLERS)))
        texts.append(str(random.choice([". ", ", ", "; "])).join(part for part in parts if part))
    channels = random.choice(["web", "app", "mail"], rows)
    wrong = random.random(rows) < WRONG_LABELS
    positive = (scores > 0) ^ wrong
    reviews = pd.DataFrame(
        {"review": texts, "channel": channels, "tone": np.where(positive, "positive", "negative")}
    )
    return Made(
        reviews,
        Truth(
            planted=f"a clause with `not` says the opposite of its word ({NEGATED:.0%} of them); "
            f"the majority of the clauses counts; {WRONG_LABELS:.0%} of the labels are wrong",
            metric="accuracy",
            best=float(1 - wrong.mean()),
            blind="by the words alone, blind to `not`",
            blind_to_it=float(((words > 0) == positive).mean()),
        ),
    )


def _clause(random: np.random.Generator, opinion: int) -> tuple[str, int]:
    """A clause of this opinion, and the opinion of its word (1 or -1)."""
    negated = random.random() < NEGATED
    word = -opinion if negated else opinion
    parts = [
        "the",
        random.choice(THINGS),
        "is",
        "not" if negated else "",
        random.choice(DEGREES),
        random.choice(GOOD if word > 0 else BAD),
    ]
    return " ".join(str(part) for part in parts if part), word


if __name__ == "__main__":
    main(__file__)
