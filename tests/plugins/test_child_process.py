"""Answers of a child process: whatever a plugin sends in their place is refused by name."""

from __future__ import annotations

import json
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
