"""Names and order of the candidates, and what `auto` chooses."""

from __future__ import annotations

from typing import Any

import pytest

from tfx_pipeline.errors import ConfigError
from trainer.compression.config import CompressConfig
from trainer.compression.plan import auto, ordered, plan
from trainer.config import ModelConfig


def names(*candidates: dict[str, Any]) -> list[str]:
    config = CompressConfig.model_validate({"candidates": list(candidates)})
    assert config.candidates != "auto"
    return [candidate.name for candidate in ordered(config.candidates)]


@pytest.mark.parametrize(
    ("candidate", "name"),
    [
        ({"method": "prune"}, "prune_80"),
        ({"method": "prune", "sparsity": 0.875}, "prune_87_5"),
        ({"method": "prune", "pattern": "2:4"}, "prune_2x4"),
        ({"method": "prune", "pattern": "block", "sparsity": 0.5}, "prune_block_50"),
        ({"method": "cluster"}, "cluster_16"),
        ({"method": "qat"}, "qat"),
        ({"method": "prune_qat"}, "prune_80_qat"),
        ({"method": "cluster_qat", "clusters": 8}, "cluster_8_qat"),
        ({"method": "prune_cluster_qat", "sparsity": 0.6}, "prune_60_cluster_16_qat"),
        ({"method": "dynamic_range"}, "dynamic_range"),
        ({"method": "distill"}, "student"),
        ({"method": "distill", "name": "small"}, "small"),
    ],
)
def test_a_name_is_made_of_the_method_and_its_numbers(candidate: dict[str, Any], name: str) -> None:
    assert names(candidate) == [name]


def test_a_candidate_comes_after_the_one_it_starts_from() -> None:
    chain = [
        {"method": "int8", "of": "student_prune_80"},
        {"method": "prune", "of": "student"},
        {"method": "qat"},
        {"method": "distill"},
    ]
    assert names(*chain) == ["qat", "student", "student_prune_80", "student_prune_80_int8"]


@pytest.mark.parametrize(
    ("candidates", "said", "where"),
    [
        ([{"method": "qat", "of": "prune_8"}, {"method": "prune"}], "no such candidate", "[0].of"),
        ([{"method": "qat", "name": "float"}], "that is the trained model", "[0]"),
        ([{"method": "qat", "name": "champion"}], "that is the model in production", "[0]"),
        ([{"method": "prune"}, {"method": "prune", "steps": 9}], "2 candidates .* 'prune_80'", "1"),
        (
            [
                {"method": "prune", "name": "a", "of": "b"},
                {"method": "cluster", "name": "b", "of": "a"},
                {"method": "qat"},
            ],
            "start from each other: a, b",
            "candidates",
        ),
        ([{"method": "int8"}, {"method": "prune", "of": "int8"}], "still those of 'float'", "[1]"),
        ([{"method": "qat"}, {"method": "prune", "of": "qat"}], "for int8 already", "[1]"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    candidates: list[dict[str, Any]], said: str, where: str
) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        names(*candidates)
    assert where in refused.value.where
    assert refused.value.hint


def test_an_unknown_parent_is_told_with_the_one_it_may_have_meant() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'prune_80'"):
        names({"method": "prune"}, {"method": "qat", "of": "prune_8"})
    with pytest.raises(ConfigError, match="There are: float, prune_80, x"):
        names({"method": "prune"}, {"method": "qat", "of": "zzz", "name": "x"})


def test_auto_makes_one_of_each_kind_for_a_tabular_network(parent: Any) -> None:
    made = plan(CompressConfig(), parent, ModelConfig(hidden_units=[64, 32]))
    assert [candidate.name for candidate in made] == [
        "int8",
        "qat",
        "prune_80",
        "prune_80_int8",
        "student",
        "student_int8",
    ]


def test_auto_leaves_out_what_does_not_suit_the_model() -> None:
    import tf_keras
    from tf_keras import layers

    ids = tf_keras.Input((1,), dtype="int64", name="shop_xf")
    rows = layers.Flatten()(layers.Embedding(1000, 16)(ids))
    model = tf_keras.Model({"shop_xf": ids}, layers.Dense(1, "sigmoid")(rows))
    users = ModelConfig(builder="mine.py:build_model")
    assert [candidate.method for candidate in auto(model, users)] == ["int8"]
