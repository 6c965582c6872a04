"""The user's files that nodes read beside their inputs, and their fingerprints: a cached result
must not outlive them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from tfx_pipeline.config.pipeline import PipelineConfig
from trainer.config import ModelConfig, TrainConfig
from trainer.models.encoders import pretrained_files
from trainer.tuning.space import variants
from transform.config import TextFeature
from transform.vocabulary_file import read_words

_ENCODER = "model.text.pretrained.path"


def named(config: PipelineConfig) -> Iterator[tuple[str, str]]:
    """Every such file: the field of the config that names it, and its path as it stands there."""
    yield from _of_features(config)
    for model, train in _sections(config):
        yield from _of_network(model, train)


def of_transform(config: PipelineConfig) -> dict[str, str]:
    """Fingerprints of the vocabularies that the user gives, by path."""
    paths = [path for _, path in _of_features(config)]
    words = {path: read_words(config.folder / Path(path).expanduser()) for path in paths}
    return {
        path: hashlib.sha256("\n".join(known).encode()).hexdigest() for path, known in words.items()
    }


def of_training(config: PipelineConfig) -> dict[str, str]:
    """Fingerprints of the files that the network or its training reads, by path; those that
    `tune.space` names, too."""
    found = {(f, p) for model, train in _sections(config) for f, p in _of_network(model, train)}
    return {path: _digest(field, path, config.folder) for field, path in sorted(found)}


def _digest(field: str, path: str, folder: Path) -> str:
    if field == _ENCODER:
        return pretrained_files.digest(path, folder)
    # One that is not there is the trainer's to tell: it knows what the file is for.
    file = folder / Path(path).expanduser()
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def _sections(config: PipelineConfig) -> Iterator[tuple[ModelConfig, TrainConfig]]:
    """The config's own, and with each value of `tune.space` in its place."""
    yield config.model, config.train
    if config.tune is not None:
        for variant in variants(config.tune.space, config.model, config.train):
            yield variant.model, variant.train


def _of_features(config: PipelineConfig) -> Iterator[tuple[str, str]]:
    for name, column in config.features.columns.items():
        if isinstance(column, TextFeature) and column.vocabulary:
            yield f"features.columns.{name}.vocabulary", column.vocabulary


def _of_network(model: ModelConfig, train: TrainConfig) -> Iterator[tuple[str, str]]:
    encoder, image, augment = model.text.pretrained, model.image.application, train.augment
    if model.text.encoder == "pretrained" and encoder is not None:
        yield _ENCODER, encoder.path
    if model.two_tower and model.two_tower.items:
        yield "model.two_tower.items", model.two_tower.items
    if image and image.weights not in ("none", "imagenet"):
        yield "model.image.application.weights", image.weights
    if augment and augment.text and augment.text.synonyms:
        yield "train.augment.text.synonyms", augment.text.synonyms
