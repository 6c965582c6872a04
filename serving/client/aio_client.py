"""The gRPC client for asyncio: the methods of `Client`, awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
import numpy as np

from serving.client import grpc_channel, readiness, steps
from serving.client.connection import Connection, Tls, pauses
from serving.client.examples import Kinds
from serving.client.grpc_codec import encode
from serving.client.inputs import Rows, to_examples
from serving.client.model_types import ClassScore, Signature, VersionStatus
from serving.client.operations import Arrays, Model, Operation


class AsyncClient:
    """A gRPC connection to a model server, for one event loop. An asynchronous context manager.

    Arguments, results and errors are those of `Client`; requests of many tasks share one
    connection. Rows are encoded in the event loop's thread.
    """

    def __init__(
        self,
        address: str,
        timeout_s: float = 10.0,
        *,
        tls: Tls | None = None,
        keepalive_s: float | None = None,
        max_message_bytes: int | None = None,
        headers: Mapping[str, str] | None = None,
        check_inputs: bool = True,
    ) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self._checks = check_inputs
        self._known = steps.KnownSignatures()
        self._connection = Connection(tls, keepalive_s, max_message_bytes, headers or {})
        self._headers = grpc_channel.headers(self._connection)
        self._channel: Any = None

    async def predict(
        self,
        model_name: str,
        rows: Rows,
        *,
        signature_name: str = "serving_default",
        version: int | None = None,
        label: str = "",
        kinds: Kinds | None = None,
        missing_values: Collection[str] = (),
        batch_size: int | None = None,
    ) -> Arrays:
        """`Client.predict`."""
        call = steps.predict(
            self._known if self._checks else None,
            Model(model_name, version, label),
            rows,
            signature_name=signature_name,
            kinds=kinds,
            missing_values=missing_values,
            batch_size=batch_size,
        )
        return await steps.run_async(call, self._perform)

    async def classify(
        self,
        model_name: str,
        rows: Rows,
        *,
        signature_name: str = "serving_default",
        version: int | None = None,
        label: str = "",
        kinds: Kinds | None = None,
        missing_values: Collection[str] = (),
        batch_size: int = steps.ROWS_A_REQUEST,
    ) -> list[list[ClassScore]]:
        """`Client.classify`."""
        examples = to_examples(rows, kinds, missing_values)
        model = Model(model_name, version, label)
        call = steps.classify(model, examples, signature_name, batch_size)
        return await steps.run_async(call, self._perform)

    async def regress(
        self,
        model_name: str,
        rows: Rows,
        *,
        signature_name: str = "serving_default",
        version: int | None = None,
        label: str = "",
        kinds: Kinds | None = None,
        missing_values: Collection[str] = (),
        batch_size: int = steps.ROWS_A_REQUEST,
    ) -> np.ndarray[Any, Any]:
        """`Client.regress`."""
        examples = to_examples(rows, kinds, missing_values)
        model = Model(model_name, version, label)
        call = steps.regress(model, examples, signature_name, batch_size)
        return await steps.run_async(call, self._perform)

    async def status(
        self, model_name: str, version: int | None = None, label: str = ""
    ) -> list[VersionStatus]:
        """`Client.status`."""
        call = steps.status(Model(model_name, version, label))
        return await steps.run_async(call, self._perform)

    async def metadata(
        self, model_name: str, version: int | None = None, label: str = ""
    ) -> dict[str, Signature]:
        """`Client.metadata`."""
        call = steps.metadata(Model(model_name, version, label))
        return await steps.run_async(call, self._perform)

    async def signature(
        self,
        model_name: str,
        signature_name: str = "serving_default",
        version: int | None = None,
        label: str = "",
    ) -> Signature:
        """`Client.signature`."""
        call = steps.signature(self._known, Model(model_name, version, label), signature_name)
        return await steps.run_async(call, self._perform)

    async def models(self) -> dict[str, list[VersionStatus]]:
        """`Client.models`."""
        return await steps.run_async(steps.models(), self._perform)

    async def wait_ready(
        self, model_name: str, timeout_s: float = 60.0, *, version: int | None = None
    ) -> None:
        """`Client.wait_ready`."""
        call = readiness.wait_ready(model_name, self.address, timeout_s, version)
        await steps.run_async(call, self._perform)

    async def close(self) -> None:
        """Closes the connection; requests under way end as CANCELLED."""
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _perform(self, operation: Operation) -> Any:
        if self._channel is None:  # here, for it belongs to the loop that runs
            self._channel = grpc_channel.open_channel(grpc.aio, self.address, self._connection)
        call = encode(operation)
        send = self._channel.unary_unary(call.method)
        deadline = time.monotonic() + self.timeout_s
        waits = pauses()
        while True:
            left = max(0.001, deadline - time.monotonic())
            try:
                data = await send(call.request, timeout=left, metadata=self._headers)
            except grpc.RpcError as error:
                pause = next(waits, None) if grpc_channel.is_unavailable(error) else None
                if pause is None or time.monotonic() + pause > deadline:
                    name = operation.model.name
                    raise grpc_channel.failure(error, self.address, name, self.timeout_s) from error
                await asyncio.sleep(pause)
            else:
                return grpc_channel.read_answer(call, data, self.address)
