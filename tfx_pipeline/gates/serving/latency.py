"""How fast a server answers with a candidate, measured in turn with its float parent.

A machine that does other things makes any single figure wrong; both models of a pair meet the same
noise, so that their ratio stays right. All requests are encoded before, and nothing is decoded.
"""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.bench.h2_sender import H2Sender
from serving.bench.load import Samples, closed_loop, open_loop
from serving.bench.payloads import DISTINCT, grpc_calls
from serving.bench.senders import OK
from serving.client import Client
from serving.client.operations import Model
from tfx_pipeline.errors import ServingError
from tfx_pipeline.gates.serving.measured import Latency
from tfx_pipeline.gates.serving.rows import as_array
from tfx_pipeline.gates.serving.settings import Settings

SIGNATURE = "serving_default"

_QUANTILES = (50.0, 95.0, 99.0)
_LEAST_REQUESTS = 20  # of a block, for what is too slow for `block_s`
_LONGEST_BLOCK_S = 2.0
_LARGE_SHARE = 0.4  # a block of larger requests takes this share of the time
_BISECTIONS = 3
_TRIALS = 2

Array = npt.NDArray[np.float64]


def latency(
    client: Client, candidate: str, parent: str, serialized: Sequence[bytes], settings: Settings
) -> Latency:
    """Measures a model that is being served beside its parent, over one connection for each.

    p50, p95 and p99 are medians over blocks of requests; ratios are medians of the ratios of
    neighbouring blocks. Of the parent itself they are 1.

    Args:
        client: To the server.
        candidate: Its model name.
        parent: The float parent's; the same name where it is the parent.
        serialized: Raw rows to send, in turn.
        settings: Durations, and the budget of the rate.

    Raises:
        ServingError: A request failed.
    """
    pair = _Pair(client, candidate, parent, serialized, settings)
    with _no_garbage_collection():
        return asyncio.run(pair.measure())


class _Pair:
    """The connections of one measurement."""

    def __init__(
        self,
        client: Client,
        candidate: str,
        parent: str,
        serialized: Sequence[bytes],
        settings: Settings,
    ) -> None:
        self._settings = settings
        self._names = [parent] if candidate == parent else [parent, candidate]
        self._calls: dict[tuple[str, int], Any] = {}
        for name in self._names:
            alias = client.signature(name, SIGNATURE).examples_input or "examples"
            for rows in (1, settings.large_batch):
                inputs = [{alias: as_array(part)} for part in _requests(serialized, rows)]
                self._calls[name, rows] = grpc_calls(inputs, Model(name), SIGNATURE)
        self._candidate = candidate
        self._address = client.address

    async def measure(self) -> Latency:
        settings = self._settings
        one = await self._in_turn(1, settings.block_s)
        large = await self._in_turn(settings.large_batch, _LARGE_SHARE * settings.block_s)
        ratios = np.median(one[-1] / one[0], axis=0)  # [pairs, quantiles] each
        p50, p95, p99 = np.median(one[-1], axis=0).tolist()
        return Latency(
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            p50_ratio=float(ratios[0]),
            p99_ratio=float(ratios[2]),
            rate=await self._rate(),
            batch_ms=float(np.median(large[-1][:, 0])),
            batch_ratio=float(np.median(large[-1][:, 0] / large[0][:, 0])),
        )

    async def _in_turn(self, rows: int, block_s: float) -> list[Array]:
        """Parent, candidate, parent, candidate, ...: quantiles in ms, [pairs, 3], of each."""
        senders = [self._sender(name, rows) for name in self._names]
        blocks: list[list[Array]] = [[] for _ in senders]
        try:
            warm = [await _block([sender], block_s / 2) for sender in senders]
            slowest = max(float(np.median(sample.latencies_s)) for sample in warm)
            block_s = max(block_s, min(_LEAST_REQUESTS * slowest, _LONGEST_BLOCK_S))
            for _ in range(self._settings.pairs):
                for sender, found in zip(senders, blocks, strict=True):
                    samples = await _block([sender], block_s)
                    found.append(1000 * _quantiles(samples))
        finally:
            for sender in senders:
                await sender.close()
        return [np.stack(found) for found in blocks]

    async def _rate(self) -> float:
        """Requests a second at which p99 stays inside the budget; without one, answered at most."""
        settings = self._settings
        senders = [self._sender(self._candidate, 1) for _ in range(settings.rate_connections)]
        try:
            await _block(senders, settings.rate_trial_s / 2)
            closed = await _block(senders, settings.rate_trial_s)
            high = closed.codes[OK] / closed.elapsed_s
            if settings.latency_budget_ms is None or await self._holds(senders, high):
                return high
            low = 0.0
            for _ in range(_BISECTIONS):
                middle = (low + high) / 2
                if await self._holds(senders, middle):
                    low = middle
                else:
                    high = middle
            return low
        finally:
            for sender in senders:
                await sender.close()

    async def _holds(self, senders: Sequence[H2Sender], rate: float) -> bool:
        """Whether p99 is inside the budget at a rate, in one of two trials: noise only adds."""
        for _ in range(_TRIALS):
            samples = await open_loop(senders, self._settings.rate_trial_s, rate)
            _check(samples)
            p99_ms = 1000 * float(_quantiles(samples)[2])
            if samples.late == 0 and p99_ms <= (self._settings.latency_budget_ms or math.inf):
                return True
        return False

    def _sender(self, name: str, rows: int) -> H2Sender:
        return H2Sender(
            self._address, self._calls[name, rows], self._settings.request_timeout_s, None
        )


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """In a process that holds graphs a full collection takes as long as a hundred requests."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _requests(serialized: Sequence[bytes], rows: int) -> list[list[bytes]]:
    """Up to `DISTINCT` requests of so many rows; fewer rows than that are repeated."""
    count = max(1, min(DISTINCT, len(serialized) // rows))
    return [
        [serialized[(start * rows + index) % len(serialized)] for index in range(rows)]
        for start in range(count)
    ]


async def _block(senders: Sequence[H2Sender], seconds: float) -> Samples:
    samples = await closed_loop(senders, seconds)
    _check(samples)
    return samples


def _check(samples: Samples) -> None:
    failed = sum(samples.codes.values()) - samples.codes[OK]
    if failed:
        code = next(code for code, _ in samples.codes.most_common() if code != OK)
        raise ServingError(f"{failed} of {sum(samples.codes.values())} requests failed: {code}")


def _quantiles(samples: Samples) -> Array:
    found: Array = np.percentile(np.asarray(samples.latencies_s), _QUANTILES, method="higher")
    return found
