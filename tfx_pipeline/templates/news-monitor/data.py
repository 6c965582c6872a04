"""Synthetic news, each with a topic and a tone.

    python data.py [--rows 6000] [--seed 17]

A headline has an actor and an object of its topic, and a verb of its tone; verbs and tones are the
same for all topics. The teaser quotes another topic in one of three. 2 % of the labels are wrong.
"""

import numpy as np
import pandas as pd

from tfx_pipeline.templates.synthetic import Made, Truth, main, words

FILE = "data.csv"
ROWS = 6_000
WRONG_LABELS = 0.02
QUOTES = 0.33

TOPICS = {
    "markets": (
        words("bank shareholders exchange investors lender insurer broker"),
        words("shares dividends bonds profits loans prices"),
    ),
    "politics": (
        words("minister parliament senate opposition mayor president council"),
        words("law reform election budget treaty vote"),
    ),
    "health": (
        words("hospital doctors surgeons clinic nurses laboratory pharmacists"),
        words("vaccine treatment therapy screening ward diagnosis"),
    ),
    "technology": (
        words("startup engineers developer chipmaker researchers provider programmers"),
        words("software chips network robot update satellite"),
    ),
}
TONES = {
    "good": words("celebrates hails improves saves boosts wins praises"),
    "neutral": words("discusses reviews presents describes examines lists considers"),
    "bad": words("loses fears cuts attacks delays halts condemns"),
}
SOURCES = ["wire", "daily", "radio", "blog"]


def make(rows: int, seed: int) -> Made:
    """Headlines and teasers, and what they are about."""
    random = np.random.default_rng(seed)
    topics, tones = list(TOPICS), list(TONES)
    topic, tone = random.integers(0, len(topics), rows), random.integers(0, len(tones), rows)
    headlines = [_sentence(random, topics[a], tones[b]) for a, b in zip(topic, tone, strict=True)]
    teasers = []
    for own in topic:
        about = random.integers(0, len(topics)) if random.random() < QUOTES else own
        teasers.append(f"also: {_sentence(random, topics[about], 'neutral')}")
    classes = np.array([f"{a}, {b}" for a in topics for b in tones])
    meant = topic * len(tones) + tone
    wrong = random.random(rows) < WRONG_LABELS
    labels = np.where(wrong, (meant + random.integers(1, len(classes), rows)) % len(classes), meant)
    news = pd.DataFrame(
        {
            "headline": headlines,
            "teaser": teasers,
            "source": random.choice(SOURCES, rows),
            "about": classes[labels],
        }
    )
    return Made(
        news,
        Truth(
            planted="the topic is that of the headline's nouns, the tone that of its verb; "
            f"{WRONG_LABELS:.0%} of the labels are wrong",
            metric="accuracy",
            best=float(1 - wrong.mean()),
            blind="by the topic alone, always in the neutral tone",
            blind_to_it=float((topic * len(tones) + 1 == labels).mean()),
        ),
    )


def _sentence(random: np.random.Generator, topic: str, tone: str) -> str:
    actors, objects = TOPICS[topic]
    parts = [random.choice(actors), random.choice(TONES[tone]), "the", random.choice(objects)]
    return " ".join(str(part) for part in parts)


if __name__ == "__main__":
    main(__file__)
