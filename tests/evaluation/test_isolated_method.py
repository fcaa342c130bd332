"""Methods in processes of their own: the same bytes as in this process, and no harm beyond themselves."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import null_harness
import PIL.Image
import pytest
import torch
from messages import error_names
from small_backbone import register_small_backbone

import fssbench
from fssbench.errors import PluginError
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.settings import Settings
from fssbench.plugins.child_process import can_fork
from fssbench.runs.store import read_run

pytestmark = pytest.mark.skipif(not can_fork(), reason="methods have processes of their own on Linux")


def harmful(harm: Callable[[], object]) -> Any:
    """Return a `logits` that does harm at its third call."""
    calls = []

    def logits(self: Any, query: Any, support: Any, support_mask: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            harm()
        return null_harness.right(query, support, support_mask)

    return logits


def raise_impostor() -> None:
    raise KeyboardInterrupt


def go_on_twice() -> None:
    if os.fork() == 0:
        return  # both processes go on
    os._exit(0)


def replace_process() -> None:
    os.execv(sys.executable, [sys.executable, "-c", "pass"])


def wait_for_itself() -> None:
    lock = threading.Lock()
    with lock, lock:
        pass


DEATHS: dict[str, tuple[Callable[[], object], str]] = {
    "exit": (lambda: os._exit(0), "exit code 0"),
    "native": (lambda: ctypes.CDLL(None)._exit(0), "exit code 0"),
    "crash": (lambda: ctypes.string_at(0), "SIGSEGV"),
    "killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"),
    "impostor": (raise_impostor, "KeyboardInterrupt"),
    "two processes": (go_on_twice, "exit code 0"),
    "sleeping": (lambda: time.sleep(1e6), "--episode-timeout"),
    "busy": (lambda: sum(range(10**12)), "--episode-timeout"),
    "deadlock": (wait_for_itself, "--episode-timeout"),
}
QUICK = {"exit", "crash", "busy"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in [*DEATHS]]
)
def test_a_method_that_ends_or_hangs_does_so_alone_and_by_name(null: Any, name: str) -> None:
    harm, said = DEATHS[name]
    plan = null.plan(6)
    (alone,) = null.run("alone", plan)
    bad = null.make_broken("bad", logits=harmful(harm))
    settings = Settings(
        out=null.folder / "runs",
        panels=0,
        repeated=0,
        isolate=True,
        episode_timeout=60.0 if said != "--episode-timeout" else 0.5,
    )
    (done,), ((method, error),) = evaluate_all([bad, null.method()], plan, settings)
    assert method is bad
    assert isinstance(error, PluginError)
    error_names(error, "bad", "episode 2", said)
    if name in {"crash", "sleeping", "busy", "deadlock"}:
        error_names(error, Path(__file__).name)  # the stack
    assert null.read_results(done.path) == null.read_results(alone.path)


def poison() -> None:
    os.environ["POISON"] = "1"
    os.chdir("/")
    torch.nn.functional.interpolate = torch.relu  # type: ignore[assignment]
    torch.sub = torch.add  # type: ignore[assignment]
    PIL.Image.open = print  # type: ignore[assignment]
    torch.autocast("cpu").__enter__()
    torch.nn.modules.module.register_module_forward_hook(lambda *_: torch.zeros(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("not for standard output")


def test_what_a_method_changes_in_its_process_is_not_changed_in_another(
    null: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = null.plan(6)
    (alone,) = null.run("alone", plan)
    bad = null.make_broken("bad", logits=harmful(poison))
    before = os.getcwd(), torch.sub, PIL.Image.open, signal.getsignal(signal.SIGINT)  # noqa: PTH109
    settings = Settings(out=null.folder / "runs", panels=0, repeated=0, isolate=True)
    done, failed = evaluate_all([bad, null.method()], plan, settings)
    assert not failed
    assert null.read_results(done[1].path) == null.read_results(alone.path)
    after = os.getcwd(), torch.sub, PIL.Image.open, signal.getsignal(signal.SIGINT)  # noqa: PTH109
    assert after == before
    assert "POISON" not in os.environ
    assert not torch.is_autocast_enabled("cpu")
    printed = capfd.readouterr()
    assert "not for standard output" not in printed.out
    assert "not for standard output" in printed.err


@pytest.mark.parametrize("shot", [1, 2])
def test_a_feature_method_gives_the_same_bytes_in_a_process_of_its_own(
    null: Any, mini: Path, shot: int
) -> None:
    plan = fssbench.plan("pascal-to-chestxray", shot=shot, data=mini, episodes=3, size=64)
    method = fssbench.load_method("panet", backbone=register_small_backbone(), weights="random")
    (here,) = null.run("here", plan, method)
    (apart,) = null.run("apart", plan, method, isolate=True)
    assert apart.identity == here.identity
    assert null.read_results(apart.path) == null.read_results(here.path)


@pytest.mark.slow
def test_threads_of_the_parent_keep_no_child_waiting(null: Any, mini: Path) -> None:
    """OpenMP hangs in a fork of a thread that has used it; the child is forked from a new one."""
    plan = fssbench.plan("pascal-to-chestxray", data=mini, episodes=3, size=128, shot=1)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        method = fssbench.load_method("panet", plan=plan)
        (here,) = null.run("here", plan, method)
        (apart,) = null.run("apart", plan, method, isolate=True)
    finally:
        torch.set_num_threads(threads)
    assert null.read_results(apart.path) == null.read_results(here.path)


def with_scale(null: Any) -> Callable[..., None]:
    """Return a constructor of a method that has a weight."""

    def init(self: Any, *arguments: Any) -> None:
        null.base.__init__(self, *arguments)
        self.scale = torch.nn.Parameter(torch.ones(1))

    return init


def test_weights_that_change_in_the_process_are_noticed(null: Any) -> None:
    def logits(self: Any, query: Any, support: Any, support_mask: Any) -> Any:
        self.scale.data.mul_(2)
        return null_harness.right(query, support, support_mask)

    bad = null.make_broken("bad", logits=logits, __init__=with_scale(null))
    with pytest.raises(PluginError) as caught:
        null.run("runs", null.plan(4), bad, isolate=True)
    error_names(caught.value, "bad", "scale")
    assert not read_run(null.find_run("runs")).records


def test_a_method_with_a_memory_is_noticed_in_its_process(null: Any) -> None:
    def logits(self: Any, query: Any, support: Any, support_mask: Any) -> Any:
        self.calls = getattr(self, "calls", 0) + 1
        return null_harness.right(query, support, support_mask) * (1 if self.calls < 4 else -1)

    with pytest.raises(PluginError) as caught:
        null.run("runs", null.plan(6), null.make_broken("memory", logits=logits), isolate=True, repeated=5)
    error_names(caught.value, "memory", "state")


def test_a_method_that_keeps_its_answer_of_a_query_is_noticed_in_a_process_that_has_seen_no_episode(
    null: Any,
) -> None:
    """In the process that computed the episodes it would give the kept answers again."""
    kept: dict[bytes, Any] = {}

    def logits(self: Any, query: Any, support: Any, support_mask: Any) -> Any:
        name = query.numpy().tobytes()
        return kept.setdefault(name, null_harness.right(query, support, support_mask) * (-1 if kept else 1))

    with pytest.raises(PluginError) as caught:
        null.run("runs", null.plan(6), null.make_broken("memory", logits=logits), isolate=True, repeated=5)
    error_names(caught.value, "memory", "state")
    assert not read_run(null.find_run("runs")).records


def test_weights_that_change_when_episodes_are_computed_again_are_noticed(null: Any) -> None:
    note = null.folder / "first process"

    def logits(self: Any, query: Any, support: Any, support_mask: Any) -> Any:
        if not note.exists():
            note.write_text(str(os.getpid()))
        if note.read_text() != str(os.getpid()):
            self.scale.data.mul_(2)
        return null_harness.right(query, support, support_mask)

    bad = null.make_broken("bad", logits=logits, __init__=with_scale(null))
    with pytest.raises(PluginError) as caught:
        null.run("runs", null.plan(4), bad, isolate=True, repeated=5)
    error_names(caught.value, "bad", "scale")


def test_a_slow_method_holds_nobody_back(null: Any) -> None:
    """The fast one is whole, with its summary, before the slow one has computed half of its episodes."""
    order: list[str] = []

    def watch(label: str, done: int, planned: int) -> None:
        order.append(label.partition(" ")[0])

    slow = null.make_broken("slow", logits=harmful(lambda: time.sleep(0.5)))
    settings = Settings(out=null.folder / "runs", panels=0, repeated=0, isolate=True)
    done, failed = evaluate_all([slow, null.method()], null.plan(6), settings, watch=watch)
    assert (len(done), failed) == (2, [])
    assert order.count("slow") == 6
    assert order[-3:] == ["slow"] * 3


def test_an_interrupt_ends_the_process_and_keeps_what_was_computed(null: Any) -> None:
    before = {*list_children()}  # of other tests
    children: set[int] = set()

    def watch(label: str, done: int, planned: int) -> None:
        if done == 3:
            children.update({*list_children()} - before)
            raise KeyboardInterrupt

    settings = Settings(out=null.folder / "runs", panels=0, isolate=True)
    with pytest.raises(KeyboardInterrupt):
        evaluate_all([null.method()], null.plan(6), settings, watch=watch)
    assert children
    assert not children & {*list_children()}
    assert len(read_run(null.find_run("runs")).records) == 3


def list_children() -> list[int]:
    """List the ids of the processes that this one has started and not yet waited for."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


@pytest.mark.slow
def test_a_killed_parent_takes_a_hanging_method_with_it(null: Any) -> None:
    note = null.folder / "pid"

    def note_and_hang() -> None:
        note.write_text(str(os.getpid()))
        sum(range(10**12))

    bad = null.make_broken("bad", logits=harmful(note_and_hang))
    parent = null.fork(lambda: null.run("runs", null.plan(6), bad, isolate=True))
    until = time.monotonic() + 30
    while not note.is_file() and time.monotonic() < until:
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    pid = int(note.read_text())
    while _is_running(pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert not _is_running(pid)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
