"""Batching: the answers are those of one request at a time, and the queue is the real server's."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.server import batching
from serving.server.batch_threads import BatchThreads
from serving.server.batching import BatchedModel, BatchRun
from serving.server.batching_parameters import BatchingParameters
from serving.server.saved_model import SavedModel
from serving.server.status import Code, RequestError

FOREVER_MICROS = 10**12
WAIT_S = 30.0


class Gated:
    """A model whose runs wait for a gate, so that a test decides what is in the queue by then.

    Attributes:
        gate: Runs go on while it is set.
        entered: Counts the runs that have begun.
        sizes: The rows of every run.
    """

    def __init__(self, model: SavedModel) -> None:
        self.signatures = model.signatures
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.sizes: list[int] = []
        self.closed = False
        self._model = model

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        self.sizes.append(len(next(iter(inputs.values()))))
        self.entered.release()
        assert self.gate.wait(WAIT_S)
        return self._model.run(signature, inputs, outputs)

    def close(self) -> None:
        self.closed = True


@contextmanager
def batched(
    model: Any,
    *,
    held: bool = True,
    observe: Callable[[BatchRun], None] | None = None,
    **parameters: Any,
) -> Iterator[tuple[BatchedModel, Gated]]:
    """A batched model; if it is held, its one thread is busy with a request of one row."""
    parameters.setdefault("num_batch_threads", 1)
    values = BatchingParameters(**parameters)
    threads, gated = BatchThreads(values), Gated(model)
    wrapped = BatchedModel(gated, values, threads, observe)
    try:
        if held:
            wrapped.submit("double", {"x": np.zeros((1, 7), np.float32)}, ["y"])
            assert gated.entered.acquire(timeout=WAIT_S)
            gated.sizes.clear()
        else:
            gated.gate.set()
        yield wrapped, gated
    finally:
        gated.gate.set()
        wrapped.close()
        threads.close()


def double(model: BatchedModel, *rows: float, **options: Any) -> Future[Any]:
    return model.submit("double", {"x": np.array(rows, np.float32)}, ["y"], **options)


def failure(future: Future[Any]) -> tuple[Code, str]:
    error = future.exception(WAIT_S)
    assert isinstance(error, RequestError)
    return error.code, error.message


def test_what_waits_is_run_at_once(numeric: SavedModel) -> None:
    runs: list[BatchRun] = []
    with batched(numeric, observe=runs.append) as (model, gated):
        futures = [double(model, *range(count)) for count in (1, 3, 0, 2)]
        assert not any(future.done() for future in futures)
        gated.gate.set()
        answers = [future.result(WAIT_S)["y"].tolist() for future in futures]
    assert answers == [[0], [0, 2, 4], [], [0, 2]]
    assert gated.sizes == [6]
    assert runs[1].task_sizes == [1, 3, 0, 2]
    assert runs[1].batch_size == 6
    assert len(runs[1].queued_s) == 4


def test_a_full_batch_is_run_and_the_rest_when_it_is_closed(numeric: SavedModel) -> None:
    with batched(numeric, held=False, max_batch_size=4, batch_timeout_micros=FOREVER_MICROS) as (
        model,
        gated,
    ):
        first = [double(model, 1.0, 2.0), double(model, 3.0, 4.0)]
        assert [future.result(WAIT_S)["y"].tolist() for future in first] == [[2, 4], [6, 8]]
        waits, too_much = double(model, 1.0, 2.0, 3.0), double(model, 4.0, 5.0)
        assert waits.result(WAIT_S)["y"].tolist() == [2, 4, 6]  # closed by what does not fit
        assert not too_much.done()
    assert too_much.result(0)["y"].tolist() == [8, 10]
    assert gated.sizes == [4, 3, 2]
    assert gated.closed


def test_a_batch_that_is_not_full_is_run_after_its_timeout(numeric: SavedModel) -> None:
    with batched(numeric, held=False, batch_timeout_micros=2000, num_batch_threads=3) as (model, _):
        for count in (1, 2):
            futures = [double(model, 1.0) for _ in range(count)]
            assert [future.result(WAIT_S)["y"].tolist() for future in futures] == [[2]] * count


def test_one_thread_keeps_the_time_while_another_runs(numeric: SavedModel) -> None:
    with batched(
        numeric, held=False, max_batch_size=2, batch_timeout_micros=20_000, num_batch_threads=2
    ) as (model, gated):
        gated.gate.clear()
        timed = model.submit("picky", {"x": np.ones(1, np.float32)}, ["y"])
        full = double(model, 1.0, 2.0)  # wakes a thread, perhaps the one that kept the time
        for _ in range(2):
            assert gated.entered.acquire(timeout=WAIT_S)
        gated.gate.set()
        assert full.result(WAIT_S)["y"].tolist() == [2, 4]
        assert timed.result(WAIT_S)["y"].tolist() == [1]


def test_the_queue_is_bounded(numeric: SavedModel) -> None:
    with batched(numeric, max_batch_size=2, max_enqueued_batches=2) as (model, gated):
        futures = [double(model, float(number)) for number in range(4)]
        with pytest.raises(RequestError) as caught:
            double(model, 9.0)
        assert caught.value.code is Code.UNAVAILABLE
        assert caught.value.message == (
            "The batch scheduling queue to which this task was submitted is full; currently 2 "
            "batches enqueued and max_enqueued_batches is 2"
        )
        # Other signatures and outputs have their own.
        other = model.submit("picky", {"x": np.ones(1, np.float32)}, ["y"])
        gated.gate.set()
        assert [future.result(WAIT_S)["y"].item() for future in futures] == [0, 2, 4, 6]
        assert other.result(WAIT_S)["y"].item() == 1
        assert gated.sizes == [2, 1, 2]  # in turn


def test_a_request_larger_than_a_batch(numeric: SavedModel) -> None:
    with batched(numeric, max_batch_size=2) as (model, _), pytest.raises(RequestError) as caught:
        double(model, 1.0, 2.0, 3.0)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == "Task size 3 is larger than maximum input batch size 2"


def test_large_requests_are_split(numeric: SavedModel) -> None:
    with batched(
        numeric,
        max_batch_size=11,
        max_execution_batch_size=4,
        enable_large_batch_splitting=True,
        max_enqueued_batches=4,
    ) as (model, gated):
        small = double(model, 1.0, 2.0, 3.0)
        large = double(model, *range(10), then=lambda outputs: outputs["y"].tolist())
        with pytest.raises(RequestError) as caught:
            double(model, *range(4))
        assert caught.value.code is Code.UNAVAILABLE
        assert caught.value.message == (
            "The batch scheduling queue to which this task was submitted is full; task size is 4 "
            "but scheduling capacity is only 3 (num_enqueued_batches=4, max_enqueued_batches=4, "
            "open_batch_size=1, max_execution_batch_size=4)"
        )
        with pytest.raises(RequestError, match="Task size 12 is larger than maximum input"):
            double(model, *range(12))
        gated.gate.set()
        assert small.result(WAIT_S)["y"].tolist() == [2, 4, 6]
        assert large.result(WAIT_S) == [2 * number for number in range(10)]
    assert gated.sizes == [4, 4, 4, 1]


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


def test_a_request_past_its_deadline_is_not_run(numeric: SavedModel) -> None:
    with batched(numeric) as (model, gated):
        late = double(model, 1.0, deadline_s=time.monotonic() - 1)
        in_time = double(model, 2.0, deadline_s=time.monotonic() + 1000)
        gated.gate.set()
        assert failure(late) == (
            Code.DEADLINE_EXCEEDED,
            "Run() timeout exceeded while waiting in batching queue",
        )
        assert in_time.result(WAIT_S)["y"].tolist() == [4]
    assert gated.sizes == [1]


def test_a_cancelled_request_is_not_run(numeric: SavedModel) -> None:
    with batched(numeric) as (model, gated):
        cancelled, other = double(model, 1.0), double(model, 2.0)
        assert cancelled.cancel()
        gated.gate.set()
        assert other.result(WAIT_S)["y"].tolist() == [4]
    assert gated.sizes == [1]


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


def test_a_broken_observer_does_not_stop_the_thread(
    numeric: SavedModel, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(run: BatchRun) -> None:
        raise ValueError("observer")

    with batched(numeric, held=False, observe=broken) as (model, _):
        assert double(model, 1.0).result(WAIT_S)["y"].tolist() == [2]
        assert double(model, 2.0).result(WAIT_S)["y"].tolist() == [4]
    assert "a batch failed for a reason that is the server's" in caplog.text


def test_sets_of_outputs_beyond_the_bound_share_a_queue(
    numeric: SavedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "_MAX_QUEUES", 1)
    inputs = {"x": np.ones((1, 3), np.float32), "word": np.array([b"a"], object)}
    with batched(numeric) as (model, gated):
        futures = [model.submit("dense", inputs, [name]) for name in ("y", "word", "rows")]
        gated.gate.set()
        answers = [future.result(WAIT_S) for future in futures]
        assert [list(answer) for answer in answers] == [["y"], ["word"], ["rows"]]
        assert answers[1]["word"].tolist() == [b"a!"]
    assert gated.sizes == [3]


def test_a_closed_model_is_not_kept(numeric: SavedModel) -> None:
    parameters = BatchingParameters(num_batch_threads=2)
    threads = BatchThreads(parameters)
    gated = Gated(numeric)
    gated.gate.set()
    model = BatchedModel(gated, parameters, threads)
    gone = weakref.ref(model)
    assert double(model, 1.0).result(WAIT_S)["y"].tolist() == [2]
    model.close()
    del model
    gc.collect()
    assert gone() is None
    threads.close()


def test_no_request_after_close(numeric: SavedModel) -> None:
    with batched(numeric, held=False) as (model, _):
        double(model, 1.0).result(WAIT_S)
        model.close()
        with pytest.raises(RequestError, match="being unloaded"):
            double(model, 1.0)


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
