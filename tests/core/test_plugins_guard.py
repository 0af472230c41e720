"""A stranger's code under guard: its output held back, its time limited, everybody else undisturbed."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress

import pytest

from enginebay.plugins.guard import call_guarded


def test_value_error_and_time_are_told() -> None:
    assert call_guarded(lambda: 7, 5.0).result == 7
    outcome = call_guarded(lambda: 1 / 0, 5.0)
    assert isinstance(outcome.error, ZeroDivisionError)
    assert not outcome.hung
    assert outcome.seconds > 0


def test_only_the_guarded_thread_is_diverted(capsys: pytest.CaptureFixture[str]) -> None:
    inside, told = threading.Event(), threading.Event()

    def host() -> None:
        inside.wait(5)
        print("the host goes on printing")
        told.set()

    def plugin() -> None:
        print("plugin")
        sys.stdout.writelines(["more\n"])
        sys.stdout.buffer.write(b"bytes\n")
        sys.stdout.flush()
        inside.set()
        told.wait(5)
        print("last")

    bystander = threading.Thread(target=host)
    bystander.start()
    outcome = call_guarded(plugin, 5.0)
    bystander.join()
    assert outcome.printed == "plugin\nmore\nbytes\nlast\n"
    assert capsys.readouterr().out == "the host goes on printing\n"


def test_flood_of_output_is_bounded() -> None:
    outcome = call_guarded(lambda: [print("x" * 1000) for _ in range(1000)], 5.0)
    assert len(outcome.printed) == 4096


def test_stdout_is_given_back_even_when_it_was_replaced() -> None:
    before = sys.stdout

    def replace() -> None:
        sys.stdout = None  # type: ignore[assignment]

    assert not call_guarded(lambda: None, 5.0).replaced_stdout
    assert call_guarded(replace, 5.0).replaced_stdout
    assert sys.stdout is before


def test_spinning_thread_is_stopped() -> None:
    before = threading.active_count()

    def spin() -> None:
        while True:
            with suppress(Exception):
                time.sleep(0)

    assert call_guarded(spin, 0.1).hung
    assert threading.active_count() == before


def test_thread_that_cannot_be_stopped_stays_diverted(capsys: pytest.CaptureFixture[str]) -> None:
    go_on, ended = threading.Event(), threading.Event()

    def sleep_in_native_code() -> None:
        go_on.wait(30)
        print("too late")

    def clinging() -> None:
        while not ended.is_set():
            try:
                sleep_in_native_code()
            except BaseException:  # noqa: BLE001 - what a plugin may write
                continue
            ended.set()

    outer = sys.stdout
    try:
        assert call_guarded(clinging, 0.1).hung
        print("the host's own")
        go_on.set()
        assert ended.wait(5)
        assert capsys.readouterr().out == "the host's own\n"
        assert call_guarded(lambda: print("next"), 5.0).printed == "next\n"
    finally:
        sys.stdout = outer


def test_calls_from_many_threads_do_not_mix() -> None:
    printed: dict[int, str] = {}

    def one(number: int) -> None:
        def plugin() -> None:
            for _ in range(5):
                print(number)
                time.sleep(0.001)

        printed[number] = call_guarded(plugin, 10.0).printed

    before = sys.stdout
    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert printed == {number: f"{number}\n" * 5 for number in range(8)}
    assert sys.stdout is before
