"""Answers of a child process: whatever a plugin sends in their place is refused by name."""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path
from typing import Any

import pytest
from messages import error_names

from fssbench.errors import PluginError
from fssbench.plugins.child_process import ChildProcess, can_fork

pytestmark = pytest.mark.skipif(not can_fork(), reason="methods have processes of their own on Linux")


@pytest.mark.parametrize("text", ["null", "[1]", "no JSON", "[" * 100_000, '"' + "x" * (1 << 25) + '"'])
def test_an_answer_that_is_no_object_ends_the_process_by_name(text: str) -> None:
    def answer(_: Any, reply: Any) -> None:
        json.dumps = lambda *_, **__: text  # type: ignore[assignment]
        reply({})

    process = ChildProcess(answer, "method 'bad'")
    process.send({})
    with pytest.raises(PluginError) as caught:
        process.receive(20.0, "method 'bad', episode 3", "--episode-timeout")
    error_names(caught.value, "method 'bad', episode 3")
    assert "memory" not in str(caught.value)
    assert not process.is_alive


class Finalised:
    """An object in a cycle, which only the garbage collector finds; it notes the processes that finalise it."""

    def __init__(self, note: Path) -> None:
        self.note, self.itself = note, self

    def __del__(self) -> None:
        with self.note.open("a") as file:
            file.write(f"{os.getpid()}\n")


def collect_garbage(message: Any, reply: Any) -> None:
    gc.collect()
    reply({"collected": True})


def test_garbage_of_the_parent_is_not_finalised_in_the_child(tmp_path: Path) -> None:
    """Otherwise it happens at any moment of a plugin's call, and what it opens counts as opened by the plugin."""
    gc.collect()
    gc.disable()
    try:
        Finalised(tmp_path / "note")
        process = ChildProcess(collect_garbage, "method 'mine'")
        process.send({})
        assert process.receive(60.0, "", "") == {"collected": True}
        process.close()
        assert not (tmp_path / "note").exists()
    finally:
        gc.enable()
    gc.collect()
    assert (tmp_path / "note").read_text() == f"{os.getpid()}\n"


def test_a_forgotten_copy_in_a_fork_ends_no_process() -> None:
    def forget(message: Any, reply: Any) -> None:
        first.__del__()  # as if the fork had lost it
        reply({})

    first = ChildProcess(lambda message, reply: reply({"alive": True}), "method 'first'")
    second = ChildProcess(forget, "method 'second'")
    second.send({})
    assert second.receive(60.0, "", "") == {}
    first.send({})
    assert first.receive(60.0, "", "") == {"alive": True}
    first.close()
    second.close()
