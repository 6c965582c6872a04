"""Runs the nodes of a graph in the order their inputs allow, several at once where memory does."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import psutil

from tfx_pipeline.runners.ir import Node
from tfx_pipeline.runners.node import Outcome, State

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How much may run at once, and how often a passing fault is tried again."""

    max_parallel_nodes: int = 2
    memory_per_node_mb: int = 2000
    retries: int = 2
    retry_wait_seconds: float = 1.0


class Watcher(Protocol):
    """Is told what happens, from the thread that called `run_all`."""

    def node_started(self, node_id: str) -> None: ...

    def node_retried(self, node_id: str, outcome: Outcome) -> None: ...

    def node_ended(self, outcome: Outcome) -> None: ...


def run_all(
    nodes: list[Node], run: Callable[[str], Outcome], limits: Limits, watcher: Watcher
) -> dict[str, Outcome]:
    """Runs every node once; after a failure, those that do not depend on it still end.

    Args:
        nodes: In topological order.
        run: Runs one node; called in a thread of its own.
        limits: Parallelism and retries.
        watcher: Told of each start, retry and end.

    Returns:
        Outcome of every node, in the order they ended. Nodes behind a failed one are `NOT_RUN`.

    Raises:
        KeyboardInterrupt: Ctrl-C. Running nodes cannot be stopped from here: they run in daemon
            threads, and the caller ends the process.
    """
    waiting = {node.id: node for node in nodes}
    known = set(waiting)
    outcomes: dict[str, Outcome] = {}
    running: set[str] = set()
    ended: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()

    while waiting or running:
        for node in list(waiting.values()):
            upstream = node.upstream & known
            if any(outcomes[u].state in _BLOCKING for u in upstream if u in outcomes):
                del waiting[node.id]
                outcomes[node.id] = Outcome(node.id, State.NOT_RUN)
                watcher.node_ended(outcomes[node.id])
            elif upstream <= outcomes.keys() and _has_room(len(running), limits):
                del waiting[node.id]
                running.add(node.id)
                watcher.node_started(node.id)
                _start(node.id, run, ended)
        if not running:
            continue
        result = _next(ended)
        if isinstance(result, BaseException):
            raise result
        if _try_again(result, limits):
            watcher.node_retried(result.node_id, result)
            wait = limits.retry_wait_seconds * 2 ** (result.tries - 1)
            _start(result.node_id, run, ended, tries=result.tries + 1, wait_seconds=wait)
            continue
        running.discard(result.node_id)
        outcomes[result.node_id] = result
        watcher.node_ended(result)
    return outcomes


_BLOCKING = (State.FAILED, State.NOT_RUN)


def _has_room(running: int, limits: Limits) -> bool:
    if running == 0:
        return True
    free_mb = psutil.virtual_memory().available / 1e6
    return running < limits.max_parallel_nodes and free_mb > limits.memory_per_node_mb


def _start(
    node_id: str,
    run: Callable[[str], Outcome],
    ended: queue.SimpleQueue[Outcome | BaseException],
    tries: int = 1,
    wait_seconds: float = 0.0,
) -> None:
    def target() -> None:
        time.sleep(wait_seconds)
        try:
            ended.put(replace(run(node_id), tries=tries))
        except BaseException as error:  # noqa: BLE001  A defect of ours: raised by run_all.
            ended.put(error)

    threading.Thread(target=target, name=node_id, daemon=True).start()


def _next(ended: queue.SimpleQueue[Outcome | BaseException]) -> Outcome | BaseException:
    # A wait without a bound would not see Ctrl-C on every platform.
    while True:
        try:
            return ended.get(timeout=0.2)
        except queue.Empty:
            continue


def _try_again(outcome: Outcome, limits: Limits) -> bool:
    return outcome.error is not None and outcome.error.retryable and outcome.tries <= limits.retries
