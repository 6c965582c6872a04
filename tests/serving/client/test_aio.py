"""What only the asynchronous client can do, or could do wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from serving.client import AsyncClient, Client, RequestFailed


def test_many_tasks_share_one_client(endpoints: Any) -> None:
    async def ask() -> list[float]:
        async with AsyncClient(endpoints.grpc) as client:
            await client.signature("taxi", "dense")

            async def one(value: float) -> float:
                rows = [[value, 0.0, 0.0]]
                answer = await client.predict("taxi", rows, signature_name="dense")
                return float(answer["y"].item())

            return await asyncio.gather(*(one(float(n)) for n in range(50)))

    assert asyncio.run(ask()) == [2.0 * n for n in range(50)]


def test_unavailable_is_tried_again_without_holding_the_loop(
    stock: Any, stock_client: Client
) -> None:
    async def ask() -> tuple[list[float], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        ticking = asyncio.create_task(tick())
        async with AsyncClient(stock_client.address) as client:
            await client.signature("double")
            stock.fail_with = [grpc.StatusCode.UNAVAILABLE] * 2
            before = ticks
            answer = await client.predict("double", [1.0])
            ticking.cancel()
            return answer["y"].tolist(), ticks - before

    values, ticks = asyncio.run(ask())
    assert values == [2.0]
    assert ticks > 10  # two pauses are at least 0.15 s


def test_failures_and_a_client_never_used(stock: Any, stock_client: Client) -> None:
    async def ask() -> None:
        async with AsyncClient("127.0.0.1:1", timeout_s=0.5):
            pass
        async with AsyncClient("127.0.0.1:1", timeout_s=0.5) as client:
            with pytest.raises(RequestFailed) as caught:
                await client.predict("double", [1.0])
            assert caught.value.code == "UNAVAILABLE"
        stock.fail_with = [grpc.StatusCode.INTERNAL]
        async with AsyncClient(stock_client.address) as client:
            with pytest.raises(RequestFailed, match="INTERNAL: told to fail"):
                await client.status("double")

    asyncio.run(ask())
    assert len(stock.seen) == 1
