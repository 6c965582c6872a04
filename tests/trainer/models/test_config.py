"""The `model` section: what does not fit together is told by the field that is at fault."""

from __future__ import annotations

import pytest

from tests.config.test_load import GOOD, problem


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("{family: attenton}", "Did you mean 'attention'?"),
        ("{family: resdual}", "Did you mean 'residual'?"),
        ("{family: dnn, dcn: {cross_layers: 2}}", "`dcn` is of `family: dcn`, and the family is"),
        ("{residual: {blocks: 2}}", "set `family: residual` or drop `residual`"),
        ("{family: dcn, dcn: {crosslayers: 2}}", "crosslayers"),
        ("{family: attention, attention: {token_dim: 30}}", "30 is not a multiple of heads 4"),
        ("{family: attention, normalization: batch}", "normalize by layer"),
    ],
)
def test_what_does_not_fit_is_an_error(model: str, said: str) -> None:
    assert said in problem(GOOD + f"model: {model}\n")
