"""Synthetic messages to a customer service, each with one of eight intents.

    python data.py [--rows 6000] [--seed 17]

A message says what it wants by an action and an object; the same action with another object is
another intent ("cancel my order", "cancel my plan"). Greetings and stories around it mean nothing,
one word in twenty-five has a typing error, and 2 % of the labels are wrong, as labels are.
"""

import numpy as np
import pandas as pd

from tfx_pipeline.templates.synthetic import Made, Truth, main

FILE = "data.csv"
ROWS = 6_000
WRONG_LABELS = 0.02
TYPING_ERRORS = 0.04

CHANGE = ["change", "update", "correct", "edit"]
CANCEL = ["cancel", "stop", "call off", "end"]
ASK = ["where is", "what about", "any news of", "please check"]
ORDER = ["my order", "the parcel", "my purchase", "the delivery"]
PLAN = ["my plan", "the subscription", "my membership", "the contract"]
BILL = ["my bill", "the invoice", "the payment", "the charge"]
LOGIN = ["my password", "the login", "my pin", "the account access"]
INTENTS = {
    "cancel_order": (CANCEL, ORDER),
    "cancel_plan": (CANCEL, PLAN),
    "change_order": (CHANGE, ORDER),
    "change_plan": (CHANGE, PLAN),
    "change_login": (CHANGE, LOGIN),
    "track_order": (ASK, ORDER),
    "ask_bill": (ASK, BILL),
    "ask_plan": (ASK, PLAN),
}
BEFORE = ["hello", "hi there", "good morning", "i am not happy", "one more thing", "sorry", "", ""]
AFTER = ["thanks", "it is urgent", "as i told your colleague", "i have waited for days", "", ""]
WISHES = ["i want you to", "can you", "please", "i would like to", "how do i", ""]


def make(rows: int, seed: int) -> Made:
    """Messages and their intents."""
    random = np.random.default_rng(seed)
    names = list(INTENTS)
    meant = random.integers(0, len(names), rows)
    texts = [_message(random, *INTENTS[names[intent]]) for intent in meant]
    wrong = random.random(rows) < WRONG_LABELS
    labels = np.where(wrong, (meant + random.integers(1, len(names), rows)) % len(names), meant)
    messages = pd.DataFrame(
        {
            "message": texts,
            "channel": random.choice(["chat", "mail", "voice"], rows),
            "intent": np.array(names)[labels],
        }
    )
    # Who reads the action alone can only name the first intent that has it.
    actions = [action for action, _ in INTENTS.values()]
    guesses = np.array([actions.index(actions[intent]) for intent in meant])
    return Made(
        messages,
        Truth(
            planted="the intent is the pair of action and object; greetings and stories mean "
            f"nothing; {WRONG_LABELS:.0%} of the labels are wrong",
            metric="accuracy",
            best=float(1 - wrong.mean()),
            blind="by the action alone",
            blind_to_it=float((guesses == labels).mean()),
        ),
    )


def _message(random: np.random.Generator, actions: list[str], objects: list[str]) -> str:
    wish = "" if actions is ASK else str(random.choice(WISHES))
    parts = [random.choice(BEFORE), wish, random.choice(actions), random.choice(objects)]
    text = " ".join(str(part) for part in [*parts, random.choice(AFTER)] if part)
    return " ".join(_typed(random, word) for word in text.split())


def _typed(random: np.random.Generator, word: str) -> str:
    """The word, now and then with two letters exchanged."""
    if len(word) < 4 or random.random() > TYPING_ERRORS:
        return word
    at = int(random.integers(1, len(word) - 2))
    return f"{word[:at]}{word[at + 1]}{word[at]}{word[at + 2 :]}"


if __name__ == "__main__":
    main(__file__)
