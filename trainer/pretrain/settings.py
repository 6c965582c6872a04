"""What `pretrain` is told, what it tells on the way, and what came of it. No TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from trainer.models.encoders.transformer_config import TransformerConfig


@dataclass(frozen=True)
class Settings:
    """How an encoder is pretrained.

    Attributes:
        shape: Blocks, heads, dense layer, dropout.
        width: Length of a token's vector.
        max_length: Tokens of a text; the rest is cut.
        max_tokens: Words of the vocabulary at most.
        min_count: Texts that a word must stand in.
        steps: Optimizer steps in all.
        batch_size: Texts a step.
        learning_rate: Adam's, at its highest: it rises for a tenth of the steps, then falls to 0.
        seed: Of weights, batches and hidden words.
        report_steps: Steps between two reports, and two checkpoints.
    """

    shape: TransformerConfig = field(default_factory=TransformerConfig)
    width: int = 64
    max_length: int = 64
    max_tokens: int = 5000
    min_count: int = 2
    steps: int = 2000
    batch_size: int = 64
    learning_rate: float = 1e-3
    seed: int = 17
    report_steps: int = 200


@dataclass(frozen=True)
class Progress:
    """How far it is: steps done and in all, and the mean loss (nats a hidden word) since the last
    report."""

    step: int
    steps: int
    loss: float


@dataclass(frozen=True)
class Result:
    """What came of it, measured on texts that the encoder has not seen.

    Attributes:
        folder: Of the encoder.
        texts: Texts that it learned from.
        words: Words of its vocabulary.
        loss: Nats a hidden word.
        baseline: The same, of guessing each word as often as it occurs.
    """

    folder: Path
    texts: int
    words: int
    loss: float
    baseline: float
