"""Freed memory that stays with the process while it evaluates or compares."""

from __future__ import annotations

import platform
import subprocess
import sys
from typing import Any

import pytest
from command import run_command

from fssbench import kept_memory
from fssbench.kept_memory import freed_memory_kept

PROGRAM = """
import resource
from fssbench.kept_memory import freed_memory_kept

def count_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [bytearray(b"x") * (24 << 20) for _ in range(6)]
    del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with freed_memory_kept():
    print(count_faults(), count_faults())
print(count_faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the C library of Linux")
def test_memory_that_was_freed_is_not_faulted_in_again() -> None:
    shown = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    first, again, after = map(int, shown.stdout.split())
    assert again < 0.2 * first
    assert after > 0.8 * first  # it went back to the system at the end


def test_what_a_user_has_chosen_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(
        kept_memory, "_find_function", lambda name: lambda *given: calls.append((name, given))
    )
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    with freed_memory_kept():
        assert not calls
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    with freed_memory_kept():
        assert len(calls) == 2
    assert len(calls) == 4  # put back, and trimmed


def test_verbs_that_draw_keep_it_until_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(
        kept_memory, "_find_function", lambda name: lambda *given: calls.append((name, given))
    )
    assert run_command("env").exit_code == 0
    assert not calls
    assert run_command("list", "reporters").exit_code == 0
    assert [name for name, _ in calls] == ["mallopt", "mallopt", "mallopt", "malloc_trim"]
