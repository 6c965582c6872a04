"""The queue of batches: what is run when, together with what, and for how long it waits."""

from __future__ import annotations

import gc
import time
import weakref

import numpy as np
import pytest

from serving.server import batching
from serving.server.batch_threads import BatchThreads
from serving.server.batching import BatchedModel, BatchRun
from serving.server.batching_parameters import BatchingParameters
from serving.server.saved_model import SavedModel
from serving.server.status import Code, RequestError
from tests.serving.inference.gated import FOREVER_MICROS, WAIT_S, Gated, batched, double, failure


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
