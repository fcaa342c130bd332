"""A child process for code of others: whatever it does to its process ends or changes that process alone.

The child is a fork, so it has the plugin and its objects as they are in memory, also those of a notebook.  It is forked
from a new thread: OpenMP keeps its pool per thread, and a fork of a thread that has a pool would wait for threads that
the child does not have.  That thread is the main thread of the child.

Both sides send lines of JSON.  The parent reads nothing that could execute code.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any

from fssbench.errors import FssbenchError, PluginError
from fssbench.plugins.calls import explain_error, set_debugger
from fssbench.plugins.crash_report import describe_stack

DUMP_SECONDS = 1.0
"""Time in which a process that does not answer may write its stack."""
LONGEST_MESSAGE = 1 << 24
"""Bytes of a message of the child that are read."""
Message = Mapping[str, Any]
Reply = Callable[[Message], None]


def can_fork() -> bool:
    """Return whether this system can fork a process that has used threads and torch."""
    return sys.platform == "linux"


class ChildProcess:
    """A fork of this process that answers messages.

    Args:
        answer: called in the child with each message and with a function that sends a message to the parent.
        name: what runs in the child, for errors, such as `method 'mine'`.
        log_prints: whether what the child prints goes to standard error; otherwise it is dropped.
    """

    def __init__(
        self, answer: Callable[[Message, Reply], None], name: str, *, log_prints: bool = True
    ) -> None:
        self.name = name
        self.busy = False
        """Whether an answer is expected."""
        self._dump = _open_memory("stack")
        self._channel, other = Pipe()
        self._parent = parent = os.getpid()
        self._pid: int | None = _fork(
            lambda: _serve(answer, parent, other, self._channel, self._dump, log_prints)
        )
        other.close()
        self._ended = os.pidfd_open(self._pid) if hasattr(os, "pidfd_open") else None

    @property
    def handles(self) -> list[Any]:
        """Handles that `wait` reports as ready when there is an answer or the process has ended."""
        return [self._channel, *([] if self._ended is None else [self._ended])]

    @property
    def is_alive(self) -> bool:
        """Whether the process can be given another message."""
        return self._pid is not None

    def send(self, message: Message) -> None:
        """Send a message to the child.

        Raises:
            PluginError: if the process has ended.
        """
        self.busy = True
        try:
            self._channel.send_bytes(json.dumps(message).encode())
        except OSError:
            raise self._describe_end("") from None

    def receive(self, seconds: float, where: str, option: str) -> Message:
        """Receive an answer of the child.

        Args:
            seconds: how long it may take from now on.
            where: what the child does, for errors.
            option: option that sets the time, for errors.

        Raises:
            PluginError: if the process has ended, or does not answer in time; it has ended then.
        """
        if not wait(self.handles, max(0.0, seconds)):
            raise self._describe_hang(where, option)
        try:
            if not self._channel.poll():  # it has ended, and another process holds its end of the channel
                raise EOFError
            data = self._channel.recv_bytes(LONGEST_MESSAGE)
        except EOFError:
            raise self._describe_end(where) from None
        except OSError:
            if self._ended is None or wait([self._ended], 0):
                raise self._describe_end(where) from None
            data = b""  # longer than an answer
        try:
            message = json.loads(data)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            self._end()
            raise PluginError(
                f"{where or self.name}: its process sent something that is no answer, and was ended"
            )
        return message

    def close(self, seconds: float = 0.0) -> None:
        """End the process and all that it started.

        Args:
            seconds: time that it may take to answer first.
        """
        if self._pid is None:
            return
        if self.busy and seconds:
            with suppress(PluginError):
                self.receive(seconds, "", "")
                self.busy = False
        self._end()

    def _end(self) -> tuple[int, int]:
        """End the process; return its exit status, negative for a signal, and its largest memory in KiB."""
        pid, self._pid, self.busy = self._pid, None, False
        assert pid is not None
        state = (0, 0)
        if self._ended is None or not wait([self._ended], 0):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            _, status, usage = os.wait4(pid, 0)
            state = os.waitstatus_to_exitcode(status), usage.ru_maxrss
        with suppress(OSError):  # processes that it has started
            os.killpg(pid, signal.SIGKILL)
        self._channel.close()
        if self._ended is not None:
            os.close(self._ended)
        return state

    def _describe_end(self, where: str) -> PluginError:
        if self._pid is None:
            return PluginError(f"{where or self.name}: its process has ended")
        if self._ended is not None:
            wait([self._ended], DUMP_SECONDS)
        status, memory = self._end()
        used = f"its largest memory was {memory / 1024:,.0f} MiB"
        if status == -signal.SIGKILL:
            how = f"was killed (SIGKILL), as the system does if memory runs out; {used}"
        elif status < 0:
            how = f"crashed ({_name_signal(-status)}); {used}"
        else:
            how = f"ended its process (exit code {status})"
        return PluginError(f"{where or self.name}: {how}{self._read_stack()}")

    def _describe_hang(self, where: str, option: str) -> PluginError:
        assert self._pid is not None
        os.ftruncate(self._dump, 0)
        with suppress(OSError):
            os.kill(self._pid, signal.SIGUSR1)
        until, size = time.monotonic() + DUMP_SECONDS, -1
        while time.monotonic() < until and not 0 < os.fstat(self._dump).st_size == size:
            size = os.fstat(self._dump).st_size
            time.sleep(0.05)
        text = f"{where}: did not answer in time and was ended ({option}){self._read_stack()}"
        self._end()
        return PluginError(text)

    def _read_stack(self) -> str:
        size = os.fstat(self._dump).st_size
        text = describe_stack(os.pread(self._dump, min(size, 1 << 20), 0).decode(errors="replace"))
        return f" {text}" if text else ""

    def __del__(self) -> None:
        with suppress(Exception):
            if os.getpid() != self._parent:  # a copy in a fork must not end the process of the original
                return
            self.close()
        with suppress(Exception):
            os.close(self._dump)


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _open_memory(name: str) -> int:
    """Open a file in memory, which a fork inherits."""
    return os.memfd_create(f"fssbench-{name}")


def _fork(work: Callable[[], None]) -> int:
    """Fork this process from a new thread, and run a function in the child.  Return the id of the child."""
    children: list[int] = []

    def fork() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
            child = os.fork()
        if child:
            children.append(child)
            return
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)

    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # it may be closed
            stream.flush()
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    # Linux would take the end of this thread for the end of the parent, see `_end_with_parent`
    while Path(f"/proc/self/task/{thread.native_id}").exists():
        time.sleep(0.0001)
    return children[0]


def _serve(
    answer: Callable[[Message, Reply], None],
    parent: int,
    channel: Connection,
    other: Connection,
    dump: int,
    log_prints: bool,
) -> None:
    """Answer messages in the child until the parent closes the channel."""
    gc.freeze()  # what the parent left to be collected is not finalised a second time, during a call of the plugin
    other.close()
    _detach(log_prints)
    faulthandler.enable(dump, all_threads=False)
    faulthandler.register(signal.SIGUSR1, dump, all_threads=True)
    process = os.getpid()

    def reply(message: Message) -> None:
        if os.getpid() != process:  # code of others has forked, and goes on in both processes
            os._exit(0)
        channel.send_bytes(json.dumps(message).encode())

    first = True
    while True:
        try:
            message = json.loads(channel.recv_bytes())
        except (EOFError, OSError):
            return
        # the thread that made this process has ended now, so the signal is of the parent's main thread
        if first:
            _end_with_parent(parent)
            first = False
        try:
            answer(message, reply)
        except BaseException as error:  # no signal raises KeyboardInterrupt here: code of others does
            with suppress(BaseException):
                reply({"error": str(error) if isinstance(error, FssbenchError) else explain_error(error)})


def _detach(log_prints: bool) -> None:
    """Take this process out of the terminal's signals and away from the streams of the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a batch system sends it to every process of a job
    with suppress(OSError):
        os.setsid()
    set_debugger(None)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    try:
        errors = os.dup(2) if log_prints else os.dup(nothing)
    except OSError:  # standard error is closed
        errors = os.dup(nothing)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = sys.stderr = open(  # noqa: SIM115
        2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", newline="\n", closefd=False
    )
    with suppress(OSError):  # if memory runs out, this process ends and not the parent
        Path("/proc/self/oom_score_adj").write_bytes(b"500")


def _end_with_parent(parent: int) -> None:
    """Ask Linux to end this process when the parent ends, even in a loop that never returns to Python."""
    with suppress(Exception):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
