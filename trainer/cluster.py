"""The machines of TF_CONFIG: who trains together, and a bounded wait until all of them are there.

TensorFlow starts a server on a worker's own port and then waits for the others, in C++, where it
can be neither bounded nor interrupted. So the workers meet here first, on the same ports.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tfx_pipeline.errors import EnvironmentMismatch, NodeFailed

log = logging.getLogger(__name__)

_POLL_S = 0.2
_CONNECT_S = 2.0  # Of one attempt: an address that drops packets must not use up the whole wait.
# How long this worker still listens after it has seen the others, so that they see it, too.
_GRACE_S = 1.0
_TRAINING = ("chief", "worker")
_HINT = (
    "Set TF_CONFIG in every worker before it starts, for instance "
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}; or set `train.strategy: mirrored`.'
)


class WorkerLost(NodeFailed):
    """Raise when another worker ended while this one trained. This process cannot go on (what
    TensorFlow knows of the cluster is broken for good), but all of them together, started again,
    go on from the last checkpoint."""


@dataclass(frozen=True)
class Cluster:
    """TF_CONFIG.

    Attributes:
        tasks: Addresses (`host:port`) of those who train, by kind (`chief`, `worker`).
        kind: Of this process.
        index: Of this process, among those of its kind.
    """

    tasks: Mapping[str, Sequence[str]]
    kind: str
    index: int

    @property
    def addresses(self) -> dict[str, str]:
        """Every member's address by its name (`worker 1`)."""
        return {
            f"{kind} {index}": address
            for kind in _TRAINING
            for index, address in enumerate(self.tasks.get(kind, ()))
        }

    @property
    def own(self) -> str:
        """This process's name."""
        return f"{self.kind} {self.index}"


def read_cluster() -> Cluster:
    """The cluster that TF_CONFIG describes.

    Raises:
        EnvironmentMismatch: TF_CONFIG is not set, not what TensorFlow expects, or names a task
            that its cluster does not have.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text.strip():
        raise EnvironmentMismatch(
            "train.strategy is multi_worker, but TF_CONFIG is not set",
            where="TF_CONFIG",
            hint=_HINT,
        )
    try:
        config = json.loads(text)
        tasks = {kind: [str(a) for a in config["cluster"].get(kind, [])] for kind in _TRAINING}
        workers = config["cluster"]["worker"] if not tasks["chief"] else tasks["worker"]
        found = Cluster(tasks, config["task"]["type"], int(config["task"]["index"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EnvironmentMismatch(
            f"TF_CONFIG is not what TensorFlow expects ({type(error).__name__}: {error})",
            where="TF_CONFIG",
            hint=_HINT,
        ) from error
    if found.own not in found.addresses:
        raise EnvironmentMismatch(
            f"TF_CONFIG names task {found.own}, which its cluster of {len(workers)} workers "
            "does not have",
            where="TF_CONFIG",
            hint=_HINT,
        )
    return found


def join(cluster: Cluster, timeout_seconds: float) -> None:
    """Waits until every other worker listens on its address.

    Args:
        cluster: Who trains together.
        timeout_seconds: How long the others may take to start.

    Raises:
        EnvironmentMismatch: Some did not come in time (they are named), or this worker's own port
            is taken.
    """
    missing = {name: at for name, at in cluster.addresses.items() if name != cluster.own}
    if not missing:
        return
    deadline = time.monotonic() + timeout_seconds
    with _listening(cluster):
        log.info("%s waits for %s", cluster.own, _named(missing))
        while missing:
            missing = {name: at for name, at in missing.items() if not _answers(at)}
            if missing and time.monotonic() > deadline:
                raise EnvironmentMismatch(
                    f"{len(missing)} of {len(cluster.addresses)} workers did not join within "
                    f"{timeout_seconds:g} s: {_named(missing)}",
                    where="TF_CONFIG",
                    hint=f"Look at the logs there, and whether {cluster.own} can reach these "
                    "addresses. Start all workers together, or raise train.join_timeout_seconds.",
                )
            time.sleep(_POLL_S if missing else _GRACE_S)


def _named(members: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({address})" for name, address in members.items())


@contextmanager
def _listening(cluster: Cluster) -> Iterator[None]:
    address = cluster.addresses[cluster.own]
    port = _host_port(address)[1]
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    try:
        server = socket.create_server(
            ("", port), family=family, dualstack_ipv6=family == socket.AF_INET6
        )
    except OSError as error:
        raise EnvironmentMismatch(
            f"this worker ({cluster.own}) cannot listen on its own address {address}: "
            f"{error.strerror}",
            where="TF_CONFIG",
            hint="Another process (of an earlier start, perhaps) has the port: end it, or give the "
            "cluster other ports.",
        ) from error
    with server:
        yield


def _answers(address: str) -> bool:
    try:
        socket.create_connection(_host_port(address), timeout=_CONNECT_S).close()
    except OSError:
        return False
    return True


def _host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise EnvironmentMismatch(
            f"{address!r} in TF_CONFIG is not host:port", where="TF_CONFIG", hint=_HINT
        )
    return host.strip("[]"), int(port)
