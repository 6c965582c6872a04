"""The `train` section: short forms, and what is said where it cannot be meant."""

from __future__ import annotations

from typing import Any

import pytest

from tfx_pipeline.config.load import parse_config
from tfx_pipeline.errors import ConfigError
from trainer.config import TrainConfig

YAML = """\
name: small
data:
  path: data.csv
  label: {column: y, task: binary, classes: [a, b]}
features:
  columns:
    x: {kind: numeric}
train:
  steps: 100
"""


def test_defaults_are_plain_adam_at_a_constant_rate() -> None:
    train = TrainConfig()
    assert train.optimizer.name == "adam"
    assert train.schedule.name == "constant"
    changed = ("clip", "ema", "mixup", "cutout", "adversarial", "augment")
    assert [getattr(train, name) for name in changed] == [None] * len(changed)
    assert (train.accumulate_steps, train.precision, train.jit_compile) == (1, "float32", False)
    assert TrainConfig.model_validate(train.model_dump(mode="json")) == train


def test_a_name_is_short_for_a_section() -> None:
    train = parse_config(YAML + "  optimizer: lion\n  schedule: cosine\n").train
    assert train.optimizer.name == "lion"
    assert train.schedule.name == "cosine"
    long = TrainConfig.model_validate({"optimizer": {"name": "adamw"}})
    assert long.optimizer.decay == 0.01
    schema = TrainConfig.model_json_schema()["properties"]["optimizer"]
    assert "enum" in str(schema)  # An editor takes the name alone.


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("optimizer: adamv", "optimizer.name: 'adamv' is unknown. Did you mean 'adam"),
        ("optimizer: {name: nadam}", "'nadam' is unknown. Did you mean 'adam'"),
        ("optimizer: {name: adam, momentum: 0.9}", "`momentum` does not go with `name: adam`"),
        ("optimizer: {name: sgd, learning_rate: 1}", "learning_rate: unknown key"),
        ("schedule: cosin", "'cosin' is unknown. Did you mean 'cosine'"),
        ("schedule: {name: cosine, power: 2}", "`power` does not go with `name: cosine`"),
        ("schedule: {name: step, warmup_steps: 100}", "warmup_steps 100 leave none of the 100"),
        ("clip: {value: 1, norm: 1}", "exactly one of"),
        ("accumulate_steps: 3", "batch_size 128 does not divide into 3 equal parts"),
        ("precision: float16", "'float16' is unknown. Did you mean 'mixed_float16'"),
        ("augment: {text: {}}", "nothing of `text` is changed"),
        ("adversarial: {attack: pdg}", "'pdg' is unknown. Did you mean 'pgd'"),
        ("ema: 1.5", "train.ema"),
    ],
)
def test_what_cannot_be_meant_is_told_with_its_line(line: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(f"{YAML}  {line}\n")
    assert said in str(caught.value)
    assert ":11" in caught.value.where or "10" in caught.value.where


def resolved(**train: Any) -> TrainConfig:
    return TrainConfig.model_validate(train)


def test_parts_count_replicas() -> None:
    assert resolved(batch_size=96, logical_cpus=2, accumulate_steps=3).accumulate_steps == 3
    with pytest.raises(ValueError, match="multiple of 24"):
        resolved(batch_size=100, logical_cpus=2, accumulate_steps=12)
