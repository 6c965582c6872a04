"""An encoder that has read 2,000 texts, and forty labelled ones through the real TFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.finetuning import language
from trainer.models.encoders.transformer_config import TransformerConfig
from transform.config import TransformConfig

SHAPE = TransformerConfig(blocks=2, heads=4, feedforward=2, dropout=0.1)
WIDTH = 32


@pytest.fixture(scope="session")
def settings() -> Any:
    from trainer.pretrain.settings import Settings

    return Settings(
        shape=SHAPE,
        width=WIDTH,
        max_length=language.LENGTH,
        steps=550,
        batch_size=128,
        learning_rate=3e-3,
        report_steps=275,
    )


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory, settings: Any) -> Any:
    """The result of pretraining on texts without labels."""
    from trainer.pretrain.pretrain import pretrain

    unlabelled, _ = language.texts(2000, seed=1)
    return pretrain(unlabelled, settings, tmp_path_factory.mktemp("pretrained") / "encoder")


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory, pretrained: Any) -> Any:
    """40 rows to learn from, of few words, transformed with the encoder's own vocabulary."""
    from tests.trainer.conftest import transform

    review = {
        "kind": "text",
        "output": "sequence",
        "max_length": language.LENGTH,
        "vocabulary": str(pretrained.folder / "vocabulary.txt"),
    }
    config = TransformConfig.model_validate(
        {
            "features": {"columns": {"review": review}},
            "label": {"column": "liked", "task": "binary", "classes": ["no", "yes"]},
        }
    )
    return transform(tmp_path_factory.mktemp("labelled"), config, _splits())


def _splits() -> dict[str, dict[str, np.ndarray]]:
    splits = {}
    for seed, (split, count, words) in enumerate(
        (
            ("train", 40, language.OF_FEW),
            ("val", 40, language.OF_FEW),
            ("eval", 600, language.WORDS),
        ),
        start=2,
    ):
        texts, labels = language.texts(count, seed, words)
        splits[split] = {"review": np.array(texts), "liked": labels}
    return splits


@pytest.fixture(scope="session")
def folder(pretrained: Any) -> Path:
    return pretrained.folder
