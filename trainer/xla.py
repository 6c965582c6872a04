"""What is said when XLA cannot compile the training step (`train.jit_compile`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import tensorflow as tf

from tfx_pipeline.errors import EnvironmentMismatch

if TYPE_CHECKING:
    from trainer.config import TrainConfig

_HINT = "Set train.jit_compile: false."


@contextmanager
def xla_errors(train: TrainConfig) -> Iterator[None]:
    """Turns XLA's refusal into an error that names the op; does nothing without `jit_compile`.

    Raises:
        EnvironmentMismatch: XLA cannot compile the step, or not under this strategy.
    """
    if not train.jit_compile:
        yield
        return
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        raise EnvironmentMismatch(
            "train.jit_compile does not go with several replicas: gradients are summed between "
            "them in the middle of the step, which XLA would have to compile as a whole",
            where="train.jit_compile",
            hint=f"{_HINT} Or train on one device (train.strategy: default).",
        )
    try:
        yield
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        said = str(error)
        if not re.search(r"XLA|compile-time constant|unsupported operations|tf2xla", said):
            raise
        ops = _ops(said)
        named = f": it does not know {', '.join(ops)}" if ops else ""
        raise EnvironmentMismatch(
            f"XLA cannot compile the training step{named}", where="train.jit_compile", hint=_HINT
        ) from error


def _ops(said: str) -> list[str]:
    """The ops that a message of XLA names."""
    listed = re.search(r"[Dd]etected unsupported operations[^:]*:\s*(.*)", said)
    found = re.findall(r"(\w+)\s*\(No registered", listed.group(1)) if listed else []
    found += re.findall(r"No registered '(\w+)' OpKernel", said)
    found += re.findall(r"\(op: '?(\w+)'?\)", said)
    found += re.findall(r"\{\{node ([^}]+)\}\}", said) if not found else []
    return list(dict.fromkeys(found))[:3]
