"""A runner that does what orchestrators do: a command a node, when its upstream has ended."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from tests.conformance.suite import DONE, FAILED, NOT_RUN, SKIPPED

SKIPPED_EXIT_CODE = 99
_NO_RETRY = (3, 4, 7)


@dataclass
class _Task:
    process: subprocess.Popen[bytes]
    tries: int


def run_commands(
    upstream: dict[str, set[str]],
    start: Callable[[str], subprocess.Popen[bytes]],
    *,
    retries: int = 1,
) -> dict[str, str]:
    """Runs a graph of commands, those that do not depend on each other at once.

    Args:
        upstream: Node to the nodes that it waits for.
        start: Starts a node's command.
        retries: More tries for a command that fails for a reason that can pass.

    Returns:
        DONE, FAILED, SKIPPED or NOT_RUN for each node.
    """
    states: dict[str, str] = {}
    running: dict[str, _Task] = {}
    while len(states) < len(upstream):
        for node in sorted(upstream.keys() - states.keys() - running.keys()):
            before = [states.get(name) for name in upstream[node]]
            if FAILED in before or NOT_RUN in before:
                states[node] = NOT_RUN
            elif None not in before:
                running[node] = _Task(start(node), 1)
        for node, task in list(running.items()):
            try:
                code = task.process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            if code not in (0, SKIPPED_EXIT_CODE, *_NO_RETRY) and task.tries <= retries:
                running[node] = _Task(start(node), task.tries + 1)
                continue
            del running[node]
            states[node] = {0: DONE, SKIPPED_EXIT_CODE: SKIPPED}.get(code, FAILED)
    return states
