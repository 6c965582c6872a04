"""Fingerprints of the user's files that nodes read beside their inputs: a cached result must not
outlive them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tfx_pipeline.config.pipeline import PipelineConfig
from trainer.config import ModelConfig, TrainConfig
from trainer.models.encoders import pretrained_files
from trainer.tuning.space import variants
from transform.config import TextFeature
from transform.vocabulary_file import read_words


def of_transform(config: PipelineConfig) -> dict[str, str]:
    """Fingerprints of the vocabularies that the user gives, by path."""
    paths = [
        feature.vocabulary
        for feature in config.features.columns.values()
        if isinstance(feature, TextFeature) and feature.vocabulary
    ]
    words = {path: read_words(config.folder / Path(path).expanduser()) for path in paths}
    return {
        path: hashlib.sha256("\n".join(known).encode()).hexdigest() for path, known in words.items()
    }


def of_training(config: PipelineConfig) -> dict[str, str]:
    """Fingerprints of the files that the network or its training reads, by path; those that
    `tune.space` names, too."""
    sections = [(config.model, config.train)]
    if config.tune is not None:
        found = variants(config.tune.space, config.model, config.train)
        sections += [(variant.model, variant.train) for variant in found]
    encoders = {path for model, _ in sections for path in _starting_weights(model)}
    data = {path for model, train in sections for path in _data_files(model, train)}
    files = {path: config.folder / Path(path).expanduser() for path in sorted(data)}
    return {path: pretrained_files.digest(path, config.folder) for path in sorted(encoders)} | {
        # One that is not there is the trainer's to tell: it knows what the file is for.
        path: hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
        for path, file in files.items()
    }


def _starting_weights(model: ModelConfig) -> list[str]:
    """The encoder that the network starts from."""
    given = model.text.pretrained
    return [given.path] if model.text.encoder == "pretrained" and given is not None else []


def _data_files(model: ModelConfig, train: TrainConfig) -> list[str]:
    augment, image = train.augment, model.image.application
    paths = [
        model.two_tower.items if model.two_tower else None,
        augment.text.synonyms if augment and augment.text else None,
        image.weights if image and image.weights not in ("none", "imagenet") else None,
    ]
    return [path for path in paths if path]
