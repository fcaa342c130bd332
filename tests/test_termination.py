"""SIGTERM: a block is finished first, a second signal ends the process, and foreign handlers stay."""

from __future__ import annotations

import os
import signal

import pytest

from fssbench.termination import Terminated, finished_before_termination, handle_sigterm


def test_a_block_is_finished_before_the_signal_counts() -> None:
    steps = []

    def work() -> None:
        with handle_sigterm():
            for step in range(3):
                with finished_before_termination():
                    os.kill(os.getpid(), signal.SIGTERM)
                    steps.append(step)

    with pytest.raises(Terminated):
        work()
    assert steps == [0]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_outside_of_a_block_it_counts_at_once() -> None:
    def work() -> None:
        with handle_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("the signal was not heard")

    with pytest.raises(Terminated):
        work()


def test_an_error_of_the_block_is_raised_and_no_signal_is_left_over() -> None:
    def work() -> None:
        with handle_sigterm(), finished_before_termination():
            os.kill(os.getpid(), signal.SIGTERM)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work()
    with handle_sigterm(), finished_before_termination():
        pass


@pytest.mark.parametrize("forked", [False, True])
def test_a_second_signal_and_a_fork_end_at_once(forked: bool) -> None:
    def work() -> None:
        with finished_before_termination():
            os.kill(os.getpid(), signal.SIGTERM)
            if not forked:
                os.kill(os.getpid(), signal.SIGTERM)

    with handle_sigterm():
        if not forked:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        child = os.fork()
        if child == 0:
            if forked:
                work()
            else:
                with handle_sigterm():
                    work()
            os._exit(0)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM


def test_the_handler_of_a_launcher_stays() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with handle_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
