"""BatchingParameters files: every field, the real server's defaults and its checks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving.server.batching_parameters import (
    PER_MODEL_FILE,
    BatchingParameters,
    batching_parameters,
    from_text,
    model_batching_parameters,
)
from tfx_pipeline.errors import ConfigError

EVERY_FIELD = """
# as the documentation writes it
max_batch_size { value: 128 }
batch_timeout_micros { value: 0 }
max_enqueued_batches { value: 1000000 }
num_batch_threads { value: 8 }
thread_pool_name { value: "pool" }
allowed_batch_sizes: 32
allowed_batch_sizes: 128
pad_variable_length_inputs: true
enable_large_batch_splitting { value: true }
max_execution_batch_size { value: 32 }
"""


def test_every_field(tmp_path: Path) -> None:
    file = tmp_path / "batching.txt"
    file.write_text(EVERY_FIELD)
    parameters = batching_parameters(str(file))
    assert parameters == BatchingParameters(
        max_batch_size=128,
        batch_timeout_micros=0,
        max_enqueued_batches=1_000_000,
        num_batch_threads=8,
        thread_pool_name="pool",
        allowed_batch_sizes=(32, 128),
        pad_variable_length_inputs=True,
        enable_large_batch_splitting=True,
        max_execution_batch_size=32,
    )
    assert parameters.largest_batch == 32
    assert [parameters.padded_size(size) for size in (1, 32, 33, 129)] == [32, 32, 128, 129]


def test_defaults() -> None:
    parameters = batching_parameters("")
    assert parameters.max_batch_size == parameters.largest_batch == 1000
    assert parameters.batch_timeout_micros == 0
    assert parameters.max_enqueued_batches == 10
    assert parameters.num_batch_threads == os.cpu_count()
    assert parameters.thread_pool_name == "model_server_batch_threads"
    assert from_text("").thread_pool_name == "batch_threads"
    assert from_text("max_execution_batch_size { value: 3 }").largest_batch == 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_batch_threads { value: 0 }", "num_batch_threads must be positive; was 0"),
        ("max_batch_size { value: -1 }", "max_batch_size must be positive; was -1"),
        ("max_enqueued_batches { value: 0 }", "max_enqueued_batches must be positive; was 0"),
        (
            "batch_timeout_micros { value: -2 }",
            "batch_timeout_micros must be non-negative; was -2",
        ),
        (
            "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 0 }",
            "max_execution_batch_size must be positive; was 0",
        ),
        (
            "enable_large_batch_splitting { value: true } max_batch_size { value: 2 } "
            "max_execution_batch_size { value: 3 }",
            "When enable_large_batch_splitting is true",
        ),
        (
            "allowed_batch_sizes: [2, 4]",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; "
            "expected 1000",
        ),
        (
            "max_batch_size { value: 4 } allowed_batch_sizes: [3, 2, 4]",
            "allowed_batch_sizes entries must be monotonically increasing",
        ),
        ("max_batch: 4", "no BatchingParameters"),
        ("max_batch_size: 4", "no BatchingParameters"),
    ],
)
def test_values_that_do_not_fit(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_text(text)
    assert caught.value.headline.startswith(message)


def test_a_file_with_a_mistake_is_named(tmp_path: Path) -> None:
    file = tmp_path / "batching.txt"
    file.write_text("max_batch_size { value: 4 }\nnonsense")
    with pytest.raises(ConfigError) as caught:
        batching_parameters(str(file))
    assert str(file) in caught.value.where
    with pytest.raises(ConfigError, match="batching_parameters_file cannot be read"):
        batching_parameters(str(tmp_path / "absent"))


def test_a_model_has_its_own_or_is_not_batched(tmp_path: Path) -> None:
    assert model_batching_parameters(tmp_path) is None
    (tmp_path / PER_MODEL_FILE).write_text("max_batch_size { value: 4 }")
    parameters = model_batching_parameters(tmp_path)
    assert parameters is not None
    assert parameters.max_batch_size == 4
