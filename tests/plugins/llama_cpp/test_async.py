"""Both llama.cpp backends under the bay: threads, tasks, cancellation, one model."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from enginebay import Bay
from enginebay.errors import ContextLengthError

pytestmark = pytest.mark.model

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
GREEDY = {"temperature": 0, "max_tokens": 24}


@pytest.fixture(params=["llama_cpp", "xllamacpp"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_threads_and_tasks_at_once(backend: str, smollm2_path: Path) -> None:
    with Bay() as bay:
        system = "You are a helpful assistant."
        chat = bay.generator(str(smollm2_path), backend=backend, context_length=512, streams=4, system=system)
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _: chat.chat(QUESTION, **GREEDY).text, range(8))) == {ANSWER}

        async def ask_all() -> set[str]:
            return {
                result.text for result in await asyncio.gather(*(chat.achat(QUESTION, **GREEDY) for _ in range(16)))
            }

        assert asyncio.run(ask_all()) == {ANSWER}


def test_a_cancelled_task_frees_the_engine(backend: str, smollm2_path: Path) -> None:
    with Bay() as bay:
        chat = bay.generator(str(smollm2_path), backend=backend, context_length=1024)

        async def run() -> str:
            for _ in range(4):
                task = asyncio.create_task(chat.acomplete("Once upon a time", temperature=0, max_tokens=900))
                await asyncio.sleep(0.3)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            async with chat.astream_chat(QUESTION, **GREEDY) as stream:
                return "".join([text async for text in stream.texts()])

        assert asyncio.run(asyncio.wait_for(run(), 60))


def test_stops_n_and_batches_on_a_real_engine(backend: str, smollm2_path: Path) -> None:
    with Bay() as bay:
        system = "You are a helpful assistant."
        chat = bay.generator(str(smollm2_path), backend=backend, context_length=512, streams=2, system=system)
        stopped = chat.chat(QUESTION, stop=" is Par", **GREEDY)
        assert stopped.text == "The capital of France"
        assert stopped.usage.prompt_tokens == 27
        several = chat.chat(QUESTION, n=3, seed=1, temperature=1.5, max_tokens=8)
        assert len({output.text for output in several.outputs}) == 3
        batch = chat.chat_batch([QUESTION] * 5, **GREEDY)
        assert [result.text for result in batch] == [ANSWER] * 5
        with pytest.raises(ContextLengthError):
            chat.chat("x " * 2000)
