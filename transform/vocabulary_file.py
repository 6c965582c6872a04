"""A vocabulary that somebody else has made: a file with a word a line. No TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tfx_pipeline.errors import ConfigError


def read_words(path: Path) -> list[str]:
    """The words of a vocabulary file, in their order.

    Raises:
        ConfigError: The file is missing, is not UTF-8, or has an empty line, a word twice, or no
            word at all.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise ConfigError(
            "there is no vocabulary file",
            where=str(path),
            hint="`assay pretrain` writes one beside the encoder; or drop `vocabulary`, and it is "
            "learned from the training rows.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the vocabulary cannot be read: {error}",
            where=str(path),
            hint="It must be text in UTF-8, a word a line.",
        ) from error
    if lines[-1] == "":
        lines.pop()
    words = [line.removesuffix("\r") for line in lines]
    seen: dict[str, int] = {}
    for number, word in enumerate(words, 1):
        if not word or word in seen:
            what = f"{word!r} stands in line {seen[word]} already" if word else "an empty line"
            raise ConfigError(
                f"the vocabulary has {what}",
                where=f"{path}:{number}",
                hint="Every line is a word of its own: the place of a line is the word's id.",
            )
        seen[word] = number
    if not words:
        raise ConfigError("the vocabulary has no word", where=str(path), hint="A word a line.")
    return words


def difference_of(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """Where two vocabularies differ first, or "" if they do not."""
    for number, (our, their) in enumerate(zip(ours, theirs, strict=False), 1):
        if our != their:
            return f"word {number} is {our!r}, and {their!r} in the encoder's"
    if len(ours) != len(theirs):
        return f"there are {len(ours)} words, and {len(theirs)} in the encoder's"
    return ""
