"""The queue before an engine that takes one call at a time."""

from __future__ import annotations

import asyncio
import threading

import pytest

from enginebay.errors import EngineError
from enginebay.gate import Gate


def test_one_at_a_time_and_all_get_in() -> None:
    gate, inside, most, done = Gate(), 0, 0, 0

    def work() -> None:
        nonlocal inside, most, done
        for _ in range(50):
            gate.acquire()
            inside += 1
            most = max(most, inside)
            inside -= 1
            done += 1
            gate.release()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (most, done) == (1, 400)


def test_first_come_first_served_across_threads_and_tasks() -> None:
    gate, order = Gate(), []

    async def task(name: str) -> None:
        await gate.aacquire()
        order.append(name)
        gate.release()

    def thread() -> None:
        gate.acquire()
        order.append("thread")
        gate.release()

    async def run() -> None:
        await gate.aacquire()
        first = asyncio.create_task(task("first"))
        await asyncio.sleep(0.01)
        worker = threading.Thread(target=thread)
        worker.start()
        await asyncio.sleep(0.05)
        last = asyncio.create_task(task("last"))
        await asyncio.sleep(0.01)
        gate.release()
        await asyncio.gather(first, last)
        worker.join()

    asyncio.run(run())
    assert order == ["first", "thread", "last"]


def test_a_cancelled_waiter_leaves_the_queue() -> None:
    gate = Gate()

    async def run() -> None:
        await gate.aacquire()
        waiter = asyncio.create_task(gate.aacquire())
        await asyncio.sleep(0.01)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        gate.release()
        await asyncio.wait_for(gate.aacquire(), 5)

    asyncio.run(run())


def test_waiting_for_oneself_is_an_error_not_a_hang() -> None:
    gate = Gate()
    gate.acquire()
    with pytest.raises(EngineError, match="one call at a time"):
        gate.acquire()
    gate.release()
    gate.acquire()
