"""Sends requests for a while, closed loop or open loop, and takes the time of each."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from serving.bench.senders import OK, Sender


@dataclass
class Samples:
    """What was measured.

    Attributes:
        latencies_s: Seconds of each request that succeeded.
        codes: How requests ended: `OK` or a failure's code, to their number.
        late: Open loop: requests whose time had come but that no connection was free to send
            before the end. Each is in `latencies_s` with the time it had waited by then.
        elapsed_s: From the first request sent to the last answered.
        cpu_share: The part of one core that this process used meanwhile.
    """

    latencies_s: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    late: int = 0
    elapsed_s: float = 0.0
    cpu_share: float = 0.0


async def closed_loop(senders: Sequence[Sender], duration_s: float) -> Samples:
    """Every connection sends its next request when the last one was answered.

    The rate follows the server: when it stalls, so does the load, and the requests that would have
    waited are not seen (coordinated omission). For latencies at a given rate, use `open_loop`.
    """
    samples = Samples()
    started = time.perf_counter()
    end = started + duration_s
    numbers = iter(range(1 << 62))

    async def work(sender: Sender) -> None:
        while (sent := time.perf_counter()) < end:
            code = await sender.send(next(numbers))
            _note(samples, code, time.perf_counter() - sent)

    await _measured(samples, [work(sender) for sender in senders], started)
    return samples


async def open_loop(senders: Sequence[Sender], duration_s: float, rate: float) -> Samples:
    """Requests are due at a fixed rate, whatever the server does.

    A request that finds every connection busy waits for one, and its wait counts: its latency is
    measured from when it was due. A request for which a connection stood ready is measured from
    when it was sent, so that the timer's own lateness (up to 1 ms) is not laid at the server's
    door.

    Args:
        senders: The connections; they bound the requests under way.
        duration_s: Seconds.
        rate: Requests a second.
    """
    samples = Samples()
    started = time.perf_counter()
    total = max(1, round(duration_s * rate))
    end = started + duration_s
    numbers = iter(range(total))

    async def work(sender: Sender) -> None:
        for number in numbers:
            due = started + number / rate
            now = time.perf_counter()
            if now >= end:
                samples.late += 1
                samples.latencies_s.append(now - due)
                continue
            if now < due:
                await asyncio.sleep(due - now)
                due = time.perf_counter()
            code = await sender.send(number)
            _note(samples, code, time.perf_counter() - due)

    await _measured(samples, [work(sender) for sender in senders], started)
    return samples


def _note(samples: Samples, code: str, latency_s: float) -> None:
    samples.codes[code] += 1
    if code == OK:
        samples.latencies_s.append(latency_s)


async def _measured(samples: Samples, workers: list, started: float) -> None:  # type: ignore[type-arg]
    cpu = time.process_time()
    await asyncio.gather(*workers)
    samples.elapsed_s = time.perf_counter() - started
    samples.cpu_share = (time.process_time() - cpu) / samples.elapsed_s
