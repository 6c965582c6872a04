"""Synonyms: from a file of words to ids of a vocabulary. Without TensorFlow, for `assay check`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfx_pipeline.errors import ConfigError

# Synonyms of each id, padded with -1: int64 [ids, most].
Table = npt.NDArray[np.int64]


def read_synonyms(path: Path) -> list[list[str]]:
    """The sets of synonyms of a file: a line each, between commas; `#` begins a comment.

    Raises:
        ConfigError: It cannot be read, or a line has a single word.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the synonyms cannot be read: {error}",
            where="train.augment.text.synonyms",
            hint="Name a UTF-8 text file, each line one set: film, movie, picture",
        ) from error
    groups = []
    for number, line in enumerate(lines, 1):
        words = [word.strip().lower() for word in line.partition("#")[0].split(",")]
        words = list(dict.fromkeys(word for word in words if word))
        if len(words) == 1:
            raise ConfigError(
                f"{words[0]!r} has no synonym in its line",
                where=f"{path}:{number}",
                hint="Each line is one set of synonyms, between commas: film, movie, picture",
            )
        if words:
            groups.append(words)
    return groups


def table_of(
    groups: Sequence[Sequence[str]], vocabulary: Mapping[str, int], ids: int
) -> Table | None:
    """For each id those of its synonyms; None where no word of the vocabulary has one.

    Args:
        groups: From `read_synonyms`.
        vocabulary: Ids by word.
        ids: Number of ids.
    """
    found: dict[int, list[int]] = {}
    for words in groups:
        known = [vocabulary[word] for word in words if word in vocabulary]
        for word in known:
            others = [other for other in known if other != word]
            found.setdefault(word, []).extend(others)
    most = max((len(others) for others in found.values()), default=0)
    if not most:
        return None
    table = np.full([ids, most], -1, np.int64)
    for word, others in found.items():
        table[word, : len(others)] = others
    return table


def vocabulary_ids(words: Sequence[bytes], first: int) -> dict[str, int]:
    """The id of each word of a Transform vocabulary, in its order; `first` is that of the first."""
    return {word.decode(errors="replace"): first + index for index, word in enumerate(words)}
