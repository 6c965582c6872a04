"""Pretraining of a text encoder on texts without labels: words are hidden, and guessed."""
