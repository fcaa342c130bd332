"""Describes the stack that `faulthandler` has written: the line of the plugin, and the calls that led to it."""

from __future__ import annotations

import linecache
import re
from pathlib import PurePath

from fssbench.plugins.calls import describe_place
from fssbench.plugins.execution import CORE_FOLDER, is_installed

FRAMES = 8
"""Frames of a stack that are shown."""
_FRAME = re.compile(r'^\s+File "(.*)", line (\d+) in (.*)$', re.MULTILINE)
_THREAD = re.compile(r"^(?:Current thread|Thread|Stack) .*$", re.MULTILINE)


def describe_stack(text: str) -> str:
    """Describe the stack of the thread that crashed or, if the process hangs, of its main thread.

    Args:
        text: what `faulthandler` has written.

    Returns:
        The line of the plugin in brackets, then the innermost frames; empty if the text has no frame.
    """
    threads = [part for part in _THREAD.split(text)[1:] if _FRAME.search(part)]
    if not threads:
        return ""
    frames = [(file, int(number), function) for file, number, function in _FRAME.findall(threads[-1])]
    own = [frame for frame in frames if not is_installed(frame[0]) and not frame[0].startswith(CORE_FOLDER)]
    file, number, function = own[0] if own else frames[0]
    place = describe_place(file, number, function, linecache.getline(file, number))
    calls = ", ".join(
        f"{PurePath(file).name}:{number} in {function}" for file, number, function in frames[:FRAMES]
    )
    return f"[{place}]. Its stack, innermost call first: {calls}"
