"""Calls into plugins: an exception of a plugin becomes one error that names the line of the plugin.

One policy holds everywhere.  `KeyboardInterrupt` and `FssbenchError` are raised unchanged.  Every other exception, also
`SystemExit`, becomes a `PluginError`.
"""

from __future__ import annotations

import functools
import importlib.metadata
import linecache
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from types import FrameType, TracebackType

from fssbench.errors import FssbenchError, PluginError
from fssbench.plugins.execution import is_installed

GROUPS = ("fssbench.methods", "fssbench.datasets", "fssbench.reporters", "fssbench.backbones")
"""Entry point groups of plugins."""
LONGEST_MESSAGE = 500
"""Characters of a plugin's message that are shown."""
LONGEST_LINE = 100
"""Characters of a source line that are shown."""
LONGEST_TRACEBACK = 100_000
"""Characters of a traceback that are shown, half of them from its end."""
_BUILT_IN = ("fssbench.methods.", "fssbench.datasets.", "fssbench.reports.", "fssbench.backbones.")
_NO_MEMORY = (
    "out of memory",
    "DefaultCPUAllocator",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Fragments of messages by which a plain `RuntimeError` of torch shows that memory ran out."""

_DEBUGGED = "debugger_opened"
"""Attribute of an error for which the debugger was opened."""
Debugger = Callable[[BaseException, TracebackType, int], None]
_debugger: Debugger | None = None


def is_built_in(plugin: object) -> bool:
    """Return whether an object's class is one of fssbench's own plugins, not a subclass by somebody else."""
    return type(plugin).__module__.startswith(_BUILT_IN)


def says_itself(plugin: object, name: str) -> bool:
    """Return whether the class of a plugin itself sets an attribute to true, such as `replayable`.

    It may not hold for a class that derives from it, which has code of its own.
    """
    return vars(type(plugin)).get(name, False) is True


@contextmanager
def plugin_call(
    place: str,
    *,
    kind: type[PluginError] = PluginError,
    inside: str = "",
    passes: tuple[type[BaseException], ...] = (),
    hint: str = "",
    smaller: str = "",
) -> Iterator[None]:
    """Run a block that calls into a plugin.

    Args:
        place: beginning of the error text, before the type of the exception, such as
            `method 'x', episode 3: raised`; may be empty.
        kind: class of the error.
        inside: text that is put before the text of an `FssbenchError`, which then becomes an error of this kind.
        passes: further exceptions, which the caller handles.
        hint: end of the error text, such as the next command.
        smaller: options whose value should be smaller if memory runs out, such as `--size or --cache-mb`.

    Raises:
        FssbenchError: unchanged from the block, unless `inside` is given.
        PluginError: of the given kind, for every other exception of the block.
    """
    try:
        yield
    except BaseException as error:  # a plugin may raise anything, SystemExit included
        if isinstance(error, (KeyboardInterrupt, *passes)):
            raise
        if isinstance(error, FssbenchError):
            if isinstance(error, PluginError):  # such as logits that are not finite
                call_debugger(error)
            if inside:
                wrapped = kind(_join(f"{inside}: {error}", hint))
                wrapped.__dict__[_DEBUGGED] = True
                raise wrapped from error
            raise
        text = _join(f"{place} {explain_error(error)}".lstrip(), hint)
        if smaller and is_out_of_memory(error):
            text = _join(text, f"Next: choose a smaller {smaller}, or --device cpu")
        wrapped = kind(text)
        show_traceback(error, wrapped)
        call_debugger(error)
        wrapped.__dict__[_DEBUGGED] = True
        raise wrapped from error


def explain_error(error: BaseException) -> str:
    """Return type, message and place of a plugin's exception: `ValueError: no [mine.py:10 in helper: raise ...]`.

    The place is left out for an `FssbenchError`, which was raised on purpose.
    """
    message = shorten_message(error)
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    place = "" if isinstance(error, FssbenchError) else find_place(error)
    return f"{text} [{place}]" if place else text


def shorten_message(error: BaseException) -> str:
    """Return the message of an exception, shortened; a message that cannot be computed is replaced."""
    try:
        text = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException:  # a plugin's __str__ may raise too
        return "(its message cannot be printed)"
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]} ..."


def find_place(error: BaseException) -> str:
    """Return the place where a plugin failed: file name, line, function and source line.

    The place is the last frame in plugins of other authors, or else the last in our built-in plugins, or else the
    last of all.  For a syntax error it is the line that cannot be parsed.

    Returns:
        The place without any folder; empty if no frame is known.
    """
    if isinstance(error, SyntaxError) and error.filename and error.filename[0] != "<":
        return describe_place(error.filename, error.lineno or 0, "", error.text or "")
    frames = [*_walk_frames(error.__traceback__)]
    if not frames:
        return ""
    frame, number = frames[_choose_frame(frames)]
    code = frame.f_code
    linecache.checkcache(code.co_filename)
    line = linecache.getline(code.co_filename, number, frame.f_globals)
    return describe_place(code.co_filename, number, code.co_name, line)


def _choose_frame(frames: Sequence[tuple[FrameType, int]]) -> int:
    """Return the index of the frame at which a plugin failed, see `find_place`."""
    ranks = [_rank_frame(frame) for frame, _ in frames]
    return max(index for index, rank in enumerate(ranks) if rank == max(ranks))


def set_debugger(debugger: Debugger | None) -> None:
    """Choose what is called with each exception of a plugin.

    Args:
        debugger: called with the exception, its traceback, and how many frames above the last one the plugin's line is;
            None if nothing is called.
    """
    global _debugger
    _debugger = debugger


def has_debugger() -> bool:
    """Return whether a debugger opens at the failures of plugins."""
    return _debugger is not None


def call_debugger(error: BaseException) -> None:
    """Open the debugger at the line at which a plugin failed, if the user asked for it (`--pdb`); once per error."""
    trace = error.__traceback__
    if _debugger is None or trace is None or isinstance(error, SyntaxError) or error.__dict__.get(_DEBUGGED):
        return
    error.__dict__[_DEBUGGED] = True
    frames = [*_walk_frames(trace)]
    _debugger(error, trace, len(frames) - 1 - _choose_frame(frames))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory of the machine or of a device ran out."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in shorten_message(error) for words in _NO_MEMORY)


def is_debugging() -> bool:
    """Return whether the user asked for tracebacks."""
    return os.environ.get("FSSBENCH_DEBUG") == "1"


def show_traceback(error: BaseException, reported: BaseException | None = None) -> None:
    """Print the full traceback of a plugin's exception to standard error, if the user asked for tracebacks.

    Args:
        error: the exception of the plugin.
        reported: the error that is reported instead; `was_shown` then returns True for it.
    """
    if not is_debugging() or was_shown(error):
        return
    text = "".join(traceback.format_exception(error))
    if len(text) > LONGEST_TRACEBACK:
        half = LONGEST_TRACEBACK // 2
        text = f"{text[:half]}\n  ...\n{text[-half:]}"
    sys.stderr.write(text if text.endswith("\n") else f"{text}\n")
    sys.stderr.flush()
    if reported is not None:
        reported.__dict__["traceback_shown"] = True


def was_shown(error: BaseException | None) -> bool:
    """Return whether the traceback behind an error has been printed."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if error.__dict__.get("traceback_shown"):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _join(text: str, hint: str) -> str:
    return f"{text.removesuffix('.')}. {hint}" if hint else text


def _walk_frames(step: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    """Yield the frames from the caller to the place of the error, with their line numbers."""
    while step is not None:
        yield step.tb_frame, step.tb_lineno
        step = step.tb_next


def _rank_frame(frame: FrameType) -> int:
    """Return 2 for code of other authors' plugins, 1 for our built-in plugins, 0 for other code."""
    name, file = str(frame.f_globals.get("__name__", "")), frame.f_code.co_filename
    top = name.partition(".")[0]
    if top == "fssbench":
        return int(name.startswith(_BUILT_IN))
    if file.startswith("<"):  # generated code has no source line, except the cells of a notebook
        return 2 if name == "__main__" else 0
    return 2 if not is_installed(os.path.abspath(file)) or top in _list_plugin_packages() else 0  # noqa: PTH100


@functools.cache
def _list_plugin_packages() -> frozenset[str]:
    """Return the top-level packages of installed plugins."""
    points = [point for group in GROUPS for point in importlib.metadata.entry_points(group=group)]
    return frozenset(point.value.partition(":")[0].partition(".")[0].strip() for point in points) - {
        "fssbench"
    }


def describe_place(file: str, number: int, function: str, line: str) -> str:
    """Describe a place in a source file: `mine.py:10 in helper: raise ...`."""
    text = " ".join(line.split())
    text = text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]} ..."
    place = f"{PurePath(file.replace(chr(92), '/')).name}:{number}"
    place += f" in {function}" if function else ""
    return f"{place}: {text}" if text else place
