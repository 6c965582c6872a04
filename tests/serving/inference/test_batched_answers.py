"""Batched answers are those of one request at a time, and a fault is its own request's."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.server.batching import BatchRun
from serving.server.saved_model import SavedModel
from serving.server.status import Code, RequestError
from tests.serving.inference.gated import WAIT_S, batched, double, failure


def test_a_part_that_fails_fails_its_request_alone(numeric: SavedModel) -> None:
    with batched(
        numeric, max_batch_size=4, max_execution_batch_size=2, enable_large_batch_splitting=True
    ) as (model, gated):
        wrong = model.submit("picky", {"x": np.array([4, 4, -4], np.float32)}, ["y"])
        right = model.submit("picky", {"x": np.array([9], np.float32)}, ["y"])
        gated.gate.set()
        assert failure(wrong)[0] is Code.INVALID_ARGUMENT
        assert right.result(WAIT_S)["y"].tolist() == [3]


def test_one_bad_request_does_not_fail_the_others(numeric: SavedModel) -> None:
    with batched(numeric) as (model, gated):
        values = ([4.0], [-1.0, 1.0], [9.0, 16.0])
        futures = [
            model.submit("picky", {"x": np.array(value, np.float32)}, ["y"]) for value in values
        ]
        gated.gate.set()
        assert futures[0].result(WAIT_S)["y"].tolist() == [2]
        assert failure(futures[1])[0] is Code.INVALID_ARGUMENT
        assert "negative value" in failure(futures[1])[1]
        assert futures[2].result(WAIT_S)["y"].tolist() == [3, 4]


def test_other_shapes_dtypes_and_outputs_do_not_mix(numeric: SavedModel) -> None:
    word = np.array([b"a", b"b"], object)
    x = np.ones((2, 3), np.float32)
    with batched(numeric) as (model, gated):
        futures = [
            double(model, 1.0),
            model.submit("double", {"x": np.ones((1, 2), np.float32)}, ["y"]),
            model.submit("double", {"x": np.ones(1, np.float64)}, ["y"]),
            double(model, 2.0),
            model.submit("dense", {"x": x, "word": word}, ["y", "word"]),
            model.submit("dense", {"word": word, "x": x}, ["y"]),
        ]
        gated.gate.set()
        assert futures[0].result(WAIT_S)["y"].tolist() == [2]
        assert futures[1].result(WAIT_S)["y"].tolist() == [[2, 2]]
        assert failure(futures[2]) == (
            Code.INVALID_ARGUMENT,
            "Expects arg[0] to be float but double is provided",
        )
        assert futures[3].result(WAIT_S)["y"].tolist() == [4]
        assert futures[4].result(WAIT_S)["word"].tolist() == [b"a!", b"b!"]
        assert list(futures[5].result(WAIT_S)) == ["y"]
    assert sorted(gated.sizes) == [1, 1, 2, 2, 2]


def test_batches_are_padded_to_the_allowed_sizes(numeric: SavedModel) -> None:
    runs: list[BatchRun] = []
    with batched(numeric, observe=runs.append, max_batch_size=8, allowed_batch_sizes=(1, 4, 8)) as (
        model,
        gated,
    ):
        futures = [double(model, 1.0, 2.0), double(model, 3.0), double(model)]
        empty = model.submit("picky", {"x": np.ones(0, np.float32)}, ["y"])
        gated.gate.set()
        assert [future.result(WAIT_S)["y"].tolist() for future in futures] == [[2, 4], [6], []]
        assert empty.result(WAIT_S)["y"].tolist() == []
    assert gated.sizes == [4, 0]
    assert [run.batch_size for run in runs] == [1, 4, 0]


def test_variable_lengths_are_padded_with_the_first_value(numeric: SavedModel) -> None:
    short, long = np.array([[5, 1], [7, 2]], np.float32), np.array([[1, 2, 9]], np.float32)
    with batched(numeric, pad_variable_length_inputs=True) as (model, gated):
        futures = [
            model.submit("peak", {"x": x}, ["y", "width"])
            for x in (short, long, np.ones((2, 0), np.float32))
        ]
        gated.gate.set()
        first, second = futures[0].result(WAIT_S), futures[1].result(WAIT_S)
        assert (first["y"].tolist(), first["width"].tolist()) == ([5, 7], [2, 2])
        futures[2].result(WAIT_S)  # nothing to pad with: each is run alone
        assert second["y"].tolist() == [9]
    with batched(numeric, pad_variable_length_inputs=True) as (model, gated):
        pair = [model.submit("peak", {"x": x}, ["y", "width"]) for x in (short, long)]
        gated.gate.set()
        assert pair[0].result(WAIT_S)["width"].tolist() == [3, 3]
        assert pair[0].result(WAIT_S)["y"].tolist() == [5, 7]
        assert pair[1].result(WAIT_S)["y"].tolist() == [9]


@pytest.mark.parametrize("output", ["sum", "sums"])
def test_outputs_without_a_row_for_each_row(numeric: SavedModel, output: str) -> None:
    with batched(numeric, held=False) as (model, _):
        future = model.submit("total", {"x": np.ones(2, np.float32)}, [output])
        expected = {
            "sum": "Batched output tensor has 0 dimensions",
            "sums": "Batched output tensor's 0th dimension does not equal the sum of the 0th "
            "dimension sizes of the input tensors",
        }
        assert failure(future) == (Code.FAILED_PRECONDITION, expected[output])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"x": np.float32(1).reshape(())},
            "Batching Run() input tensors must have at least one dimension",
        ),
        (
            {"x": np.ones((2, 3), np.float32), "word": np.array([b""], object)},
            "Batching Run() input tensors must have equal 0th-dimension size",
        ),
        ({}, "Batching Run() must have at least one input tensor"),
    ],
)
def test_inputs_that_cannot_be_in_a_batch(
    numeric: SavedModel, inputs: dict[str, Any], message: str
) -> None:
    with batched(numeric, held=False) as (model, _), pytest.raises(RequestError) as caught:
        model.submit("dense", inputs, ["y"])
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, message)


def test_what_then_raises_is_the_answer(numeric: SavedModel) -> None:
    def refuse(outputs: dict[str, np.ndarray]) -> None:
        raise RequestError(Code.INTERNAL, "no")

    with batched(numeric, held=False) as (model, _):
        assert failure(double(model, 1.0, then=refuse)) == (Code.INTERNAL, "no")
        assert model.run("double", {"x": np.ones(1, np.float32)}, ["y"])["y"].tolist() == [2]


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except RequestError as error:
        return error.code


requests = st.lists(
    st.tuples(
        st.integers(0, 5),  # rows
        st.sampled_from(["dense", "double", "wide", "picky"]),
        st.floats(-1, 9, width=32),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(
    requests=requests,
    limit=st.integers(5, 9),
    threads=st.integers(1, 3),
    splitting=st.booleans(),
    allowed=st.booleans(),
)
def test_answers_are_those_of_one_request_at_a_time(
    numeric: SavedModel,
    requests: list[tuple[int, str, float]],
    limit: int,
    threads: int,
    splitting: bool,
    allowed: bool,
) -> None:
    def arguments(count: int, kind: str, value: float) -> tuple[str, dict[str, Any], list[str]]:
        if kind == "dense":
            words = np.empty(count, object)
            words[:] = [b"%d" % number for number in range(count)]
            x = np.full((count, 3), value, np.float32)
            return "dense", {"x": x, "word": words}, ["word", "y"]
        x = np.full((count, 2) if kind == "wide" else count, value, np.float32)
        return ("picky" if kind == "picky" else "double"), {"x": x}, ["y"]

    with batched(
        numeric,
        max_batch_size=limit,
        max_execution_batch_size=3 if splitting else None,
        enable_large_batch_splitting=splitting,
        allowed_batch_sizes=(2, limit) if allowed else (),
        num_batch_threads=threads,
        max_enqueued_batches=100,
    ) as (model, gated):
        futures = [model.submit(*arguments(*request)) for request in requests]
        gated.gate.set()
        for request, future in zip(requests, futures, strict=True):
            expected = outcome(lambda request=request: numeric.run(*arguments(*request)))
            answer = outcome(lambda future=future: future.result(WAIT_S))
            if isinstance(expected, Code):  # the message has the values, of a part or padded
                assert answer is expected
                continue
            assert list(answer) == list(expected)
            for alias, array in expected.items():
                assert answer[alias].dtype == array.dtype
                if array.dtype == object:
                    np.testing.assert_array_equal(answer[alias], array)
                else:
                    np.testing.assert_allclose(answer[alias], array, rtol=1e-6)


def test_many_threads(numeric: SavedModel) -> None:
    """Each of 32 threads gets its own answers; some requests are bad, some time out."""
    with batched(
        numeric, held=False, max_batch_size=16, num_batch_threads=2, max_enqueued_batches=1000
    ) as (model, gated):

        def ask(thread: int) -> None:
            for number in range(20):
                value = float(thread * 100 + number)
                if number % 7 == 3:
                    bad = {"x": np.array([-1 - value], np.float32)}
                    with pytest.raises(RequestError):
                        model.run("picky", bad, ["y"])
                x = np.full((1 + number % 3, 3), value, np.float32)
                word = np.full(len(x), b"%d" % thread, object)
                answer = model.run("dense", {"x": x, "word": word}, ["word", "y"])
                np.testing.assert_allclose(answer["y"], np.full((len(x), 1), 6 * value), rtol=1e-6)
                assert answer["word"].tolist() == [b"%d!" % thread] * len(x)

        with ThreadPoolExecutor(32) as pool:
            list(pool.map(ask, range(32)))
    assert max(gated.sizes) <= 16
    assert len(gated.sizes) < 2 * 32 * 20
