"""A made-up language with topics, whose texts are cheap and whose labels are not.

Each text is about one topic: most of its words are of that topic, the others of none. The label
says whether the topic is one of the first half. The texts with a label come from few authors, who
use only some of the words; whoever has read many texts without labels knows which words go with
those.
"""

from __future__ import annotations

import numpy as np

TOPICS = 4
WORDS = 50  # Of a topic.
OF_FEW = 5  # Of those: what the few authors use.
COMMON = 8  # Words of no topic.
SHARE = 0.6  # Of a text's words: of its topic.
LENGTH = 12


def texts(count: int, seed: int, words: int = WORDS) -> tuple[list[str], np.ndarray]:
    """Texts, and whether each one's topic is of the first half: "yes" or "no".

    Args:
        count: How many.
        seed: Of the random numbers.
        words: Words of each topic that occur.
    """
    rng = np.random.default_rng(seed)
    made, labels = [], []
    for _ in range(count):
        topic = int(rng.integers(TOPICS))
        length = int(rng.integers(LENGTH - 4, LENGTH + 1))
        of_topic = rng.random(length) < SHARE
        topical = rng.integers(words, size=length)
        common = rng.integers(COMMON, size=length)
        text = [
            f"t{topic}w{word}" if is_topical else f"the{other}"
            for is_topical, word, other in zip(of_topic, topical, common, strict=True)
        ]
        made.append(" ".join(text).capitalize() + ".")
        labels.append("yes" if topic < TOPICS // 2 else "no")
    return made, np.array(labels)
