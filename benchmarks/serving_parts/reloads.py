"""What reloads cost: answers while a version is swapped, and memory after many of them."""

from __future__ import annotations

import re
import shutil
import statistics
import time
from datetime import datetime
from pathlib import Path

import grpc
import numpy as np
from payloads import read_payloads
from processes import (
    PREDICT,
    Kind,
    Server,
    ask,
    finish_load,
    load,
    memory_bytes,
    running,
    start_load,
)

RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
_AROUND_S = 0.3  # a server collects garbage after it said that a version is unloaded
_SETTLED_AFTER = 5  # reloads, after which the allocator has seen two versions at once
_LINE = re.compile(
    r"^(\S+ \S+) . (?:loading model mlp version (\d+)|model mlp version (\d+) is unloaded)"
)


def under_load(kind: Kind, folder: Path, reloads: int) -> dict[str, float | int]:
    """Reloads at half of the top rate.

    A new version is renamed into place as a Pusher does it, while requests come at random times.

    Returns:
        `before_ms` and `during_ms`: the p99 of requests due while no version was swapped, and
        from when the server began to load one until it had unloaded the old one and 0.3 s after;
        `worst_ms`, during it; `failed`; `requests_during`; `swap_s`: how long a swap takes.
    """
    base = folder / f"reloads-{kind.key}"
    shutil.rmtree(base, ignore_errors=True)
    shutil.copytree(folder / "mlp" / "1", base / "1")
    samples = folder / "samples.npy"
    with running(kind, folder, base) as server:
        rate = load(server, folder, 2.0)["per_second"] / 2
        seconds = 3.0 + 3.0 * reloads
        process = start_load(server, folder, seconds, rate=rate, samples=samples)
        time.sleep(3.0)  # the generator's start, its warm-up, and what is measured before
        for version in range(2, reloads + 2):
            time.sleep(1.0)
            shutil.copytree(base / "1", base / f"tmp-{version}")
            (base / f"tmp-{version}").rename(base / str(version))
            _wait_for_swap(server, version - 1)
        figures = finish_load(process)
        swaps = _swaps(server.log)[-reloads:]
    due, latency_ms = np.load(samples)
    inside = np.zeros(len(due), bool)
    for start, end in swaps:
        inside |= (due >= start) & (due <= end + _AROUND_S)
    return {
        "rate": rate,
        "before_ms": float(np.percentile(latency_ms[~inside], 99)),
        "during_ms": float(np.percentile(latency_ms[inside], 99)),
        "worst_ms": float(latency_ms[inside].max()),
        "requests_during": int(inside.sum()),
        "failed": sum(figures["failed"].values()),
        "swap_s": statistics.median(end - start for start, end in swaps),
    }


def _wait_for_swap(server: Server, old: int) -> None:
    end = time.monotonic() + 20
    while f"version {old} is unloaded" not in server.log.read_text():
        if time.monotonic() > end:
            raise SystemExit(f"version {old} was not unloaded; see {server.log}")
        time.sleep(0.05)


def _swaps(log: Path) -> list[tuple[float, float]]:
    """When each swap began and ended, in seconds of the epoch, by the server's log."""
    found, started = [], 0.0
    for line in log.read_text().splitlines():
        match = _LINE.match(line)
        if match:
            at = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S,%f").timestamp()
            if match[2]:
                started = at
            else:
                found.append((started, at))
    return found


def memory(kind: Kind, folder: Path, reloads: int) -> dict[str, float]:
    """Reloads a model of 10 MB again and again; each version answers a request.

    Returns:
        MB of resident memory: `first` (one version, before any reload), `settled` (the median of
        the first five after five reloads), `last` (the median of the last five), `most`.
    """
    base = folder / "large"
    for version in range(2, reloads + 2):
        if not (base / str(version)).exists():
            # Each version is files of its own, but no bytes of its own.
            shutil.copytree(base / "1", base / str(version), copy_function=_link)
    payload = read_payloads(folder / "large.bin")[0]
    requests = read_payloads(folder / "reload.bin")
    with running(kind, folder, base) as server:
        pid = server.process.pid
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            reload = channel.unary_unary(RELOAD)
            reload(requests[0], timeout=30)
            sizes = [memory_bytes(pid)]
            for request in requests[1 : reloads + 1]:
                reload(request, timeout=30)
                if set(ask(server.port, PREDICT, payload)) != {"OK"}:
                    raise SystemExit("a version that was loaded does not answer")
                sizes.append(memory_bytes(pid))
    megabytes = [size / 1e6 for size in sizes]
    return {
        "first": megabytes[0],
        "settled": statistics.median(megabytes[_SETTLED_AFTER : _SETTLED_AFTER + 5]),
        "last": statistics.median(megabytes[-5:]),
        "most": max(megabytes),
    }


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
