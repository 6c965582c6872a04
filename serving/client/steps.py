"""The steps of each call, the same for every transport.

A call is a generator: it yields what is to be done (`operations`), is sent the answers (or has
`RequestFailed` raised where it waits), and returns the result. `run` drives one on a transport that
blocks, `run_async` on one that awaits; there is no other difference between the clients.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Generator, Iterator
from typing import Any, TypeVar

import numpy as np

from serving.client import batches
from serving.client.checks import did_you_mean
from serving.client.errors import RequestFailed
from serving.client.examples import Kinds
from serving.client.inputs import Rows, to_inputs
from serving.client.model_types import ClassScore, Signature, VersionStatus
from serving.client.operations import (
    Arrays,
    Classify,
    GetMetadata,
    GetStatus,
    ListModels,
    Model,
    Operation,
    Pause,
    Predict,
    Regress,
)
from tfx_pipeline.errors import DataError

_Result = TypeVar("_Result")
Steps = Generator[Operation | Pause, Any, _Result]

_NO_MODEL = "Servable not found"
ROWS_A_REQUEST = 1024
"""Rows that become Examples are sent so many at a time, unless the caller says otherwise."""


def run(steps: Steps[_Result], perform: Callable[[Operation], Any]) -> _Result:
    """Drives a call to its end: `perform` does one operation and returns its answer."""
    try:
        operation = next(steps)
        while True:
            try:
                answer = None
                if isinstance(operation, Pause):
                    time.sleep(operation.seconds)
                else:
                    answer = perform(operation)
            except RequestFailed as error:
                operation = steps.throw(error)
            else:
                operation = steps.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def run_async(
    steps: Steps[_Result], perform: Callable[[Operation], Awaitable[Any]]
) -> _Result:
    """`run` for a `perform` that is awaited."""
    try:
        operation = next(steps)
        while True:
            try:
                answer = None
                if isinstance(operation, Pause):
                    await asyncio.sleep(operation.seconds)
                else:
                    answer = await perform(operation)
            except RequestFailed as error:
                operation = steps.throw(error)
            else:
                operation = steps.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


class KnownSignatures:
    """The signatures of the models that a client has asked for: fetched once for each."""

    def __init__(self) -> None:
        self._known: dict[Model, dict[str, Signature]] = {}

    def find(
        self, model: Model, *, again: bool = False
    ) -> Steps[tuple[dict[str, Signature], bool]]:
        """The signatures of a model, and whether they were fetched just now.

        None are known ({}) where the endpoint does not tell; the request itself will then say
        what is wrong.

        Raises:
            RequestFailed: The server was not reached, or not in time, or has no such model.
        """
        if model in self._known and not again:
            return self._known[model], False
        try:
            found: dict[str, Signature] = yield GetMetadata(model)
        except RequestFailed as error:
            is_away = error.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
            if is_away or _NO_MODEL in error.message:  # and not a proxy that lets only :predict by
                raise
            if error.code != "UNIMPLEMENTED":
                return {}, True
            found = {}  # and never will tell
        self._known[model] = found
        return found, True


def predict(
    known: KnownSignatures | None,
    model: Model,
    rows: Rows,
    *,
    signature_name: str,
    kinds: Kinds | None,
    missing_values: Collection[str],
    batch_size: int | None,
) -> Steps[Arrays]:
    """Sends rows in one or several Predict requests.

    A signature that was fetched earlier may be that of an older version: on any fault it is
    fetched again, and if it has changed, so is the request made again.

    Args:
        known: Where signatures are kept; None sends inputs unchecked.
        model: The model.
        rows: As `to_inputs` takes them.
        signature_name: The signature to run.
        kinds: As in `encode_examples`.
        missing_values: As in `encode_examples`.
        batch_size: Rows a request; None sends arrays whole, and other rows 1024 at a time.
    """
    if isinstance(rows, Iterator):  # for it may be needed twice
        rows = list(rows)
    signatures: dict[str, Signature] = {}
    fresh = True
    if known is not None:
        try:
            signatures, fresh = yield from known.find(model)
        except RequestFailed as error:
            raise (yield from _explained(error, model, signature_name, {})) from error.__cause__
    while True:
        signature = signatures.get(signature_name)
        try:
            inputs = to_inputs(rows, signature, kinds, missing_values)
            return (yield from _send(model, signature_name, signature, inputs, batch_size))
        except (DataError, RequestFailed) as error:
            if fresh or known is None or not _may_be_outdated(error):
                raise (
                    yield from _explained(error, model, signature_name, signatures)
                ) from error.__cause__
            old = signatures
            signatures, fresh = yield from known.find(model, again=True)
            if signatures.get(signature_name) == old.get(signature_name):
                raise (
                    yield from _explained(error, model, signature_name, signatures)
                ) from error.__cause__


def classify(
    model: Model, examples: list[bytes], signature_name: str, batch_size: int
) -> Steps[list[list[ClassScore]]]:
    """Sends Examples in one or several Classify requests."""
    answer: list[list[ClassScore]] = []
    for start in range(0, max(len(examples), 1), batch_size):
        part = Classify(model, signature_name, examples[start : start + batch_size])
        answer += yield from _or_explained(part)
    return answer


def regress(
    model: Model, examples: list[bytes], signature_name: str, batch_size: int
) -> Steps[np.ndarray[Any, Any]]:
    """Sends Examples in one or several Regress requests."""
    parts = []
    for start in range(0, max(len(examples), 1), batch_size):
        part = Regress(model, signature_name, examples[start : start + batch_size])
        parts.append((yield from _or_explained(part)))
    return np.concatenate(parts)


def status(model: Model) -> Steps[list[VersionStatus]]:
    """Asks for the versions of a model."""
    return (yield GetStatus(model))


def metadata(model: Model) -> Steps[dict[str, Signature]]:
    """Asks for the signatures of a model."""
    return (yield GetMetadata(model))


def signature(known: KnownSignatures, model: Model, name: str) -> Steps[Signature]:
    """One signature, from what is known or fetched.

    Raises:
        DataError: The model has none of that name.
    """
    signatures, fresh = yield from known.find(model)
    if name not in signatures and not fresh:
        signatures, fresh = yield from known.find(model, again=True)
    if not signatures:  # the request itself says why
        signatures = yield GetMetadata(model)
    if name not in signatures:
        raise DataError(
            f"the model has no signature {name}", hint=_signatures_hint(name, signatures)
        )
    return signatures[name]


def models() -> Steps[dict[str, list[VersionStatus]]]:
    """Asks for all models of the endpoint."""
    return (yield ListModels())


def _send(
    model: Model,
    signature_name: str,
    signature: Signature | None,
    inputs: Arrays,
    batch_size: int | None,
) -> Steps[Arrays]:
    if batch_size is None and signature is not None and signature.examples_input:
        batch_size = ROWS_A_REQUEST
    parts, sizes = [], []
    for part in batches.split(inputs, batch_size):
        parts.append((yield Predict(model, signature_name, part, signature)))
        sizes.append(next((len(array) for array in part.values() if array.ndim), 1))
    return batches.join(parts, sizes)


def _or_explained(operation: Classify | Regress) -> Steps[Any]:
    try:
        return (yield operation)
    except RequestFailed as error:
        raise (yield from _explained(error, operation.model, "", {})) from error.__cause__


def _may_be_outdated(error: DataError | RequestFailed) -> bool:
    codes = ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
    return not isinstance(error, RequestFailed) or error.code in codes


def _explained(
    error: DataError | RequestFailed, model: Model, signature_name: str, known: dict[str, Signature]
) -> Steps[DataError | RequestFailed]:
    """The error with a better hint: the models, versions or signatures that there are."""
    if isinstance(error, DataError):
        if known and error.where.startswith("input "):
            error.where = f"{error.where} of model {model.name}, signature {signature_name}"
    elif error.code == "NOT_FOUND":
        error.hint = (yield from _there_are(model)) or error.hint
    elif known and signature_name not in known:
        error.hint = _signatures_hint(signature_name, known)
    return error


def _there_are(model: Model) -> Steps[str]:
    try:
        if model.version is not None or model.label:
            found: list[VersionStatus] = yield GetStatus(Model(model.name))
            return "Versions: " + ", ".join(f"{v.version} ({v.state})" for v in found) + "."
    except RequestFailed:
        pass
    try:
        names = list((yield ListModels()))
    except RequestFailed:
        return ""
    near = did_you_mean(model.name, names)
    meant = f"Did you mean {near}? " if near and near != model.name else ""
    return f"{meant}The server has: {', '.join(sorted(names)) or 'no model'}."


def _signatures_hint(name: str, signatures: dict[str, Signature]) -> str:
    near = did_you_mean(name, signatures)
    meant = f"Did you mean {near}? " if near else ""
    # TensorFlow's own, __saved_model_init_op, is nobody's to call.
    known = sorted(name for name in signatures if not name.startswith("__"))
    return f"{meant}The model has: {', '.join(known)}."
