"""Measuring: counts by hand, memory of a fresh process, failures that name the method."""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import subprocess
import sys
from importlib.metadata import version
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fssbench.methods.layers.volume import CentrePivotConv4d
from places import BENCH_PLUGIN
from small_backbone import register_small_backbone
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from fssbench import backbones
from fssbench.api import Efficiency
from fssbench.efficiency.measure import BenchRequest, count_flops, measure, measure_in_subprocess
from fssbench.efficiency.memory import PeakMemory
from fssbench.episodes.synthetic import Synthetic
from fssbench.errors import DataError, PluginError, UsageError
from fssbench.loading.load import load_method
from fssbench.plugins.registry import METHODS

PLUGIN = BENCH_PLUGIN
SIDE = 64


@pytest.fixture(scope="module", autouse=True)
def _measuring_imported() -> None:
    """Import what a measurement imports, and tell the garbage collector to leave it alone.

    Otherwise the collections of each measurement walk through all of it.
    """
    importlib.import_module("torch._dynamo")
    gc.collect()
    gc.freeze()


def make_request(method: str, **changes) -> BenchRequest:
    return BenchRequest(**{"method": method, "repeats": 5, "plugins": (PLUGIN,), **changes})


def measure_steadily(method: str, **changes) -> Efficiency:
    """Measure by a clock by which all episodes take equally long, so that the fewest are computed."""
    ticks = count()
    return measure(make_request(method, **{"repeats": 2, **changes}), clock=lambda: float(next(ticks)))


def conv(inputs: int, outputs: int, kernel: int, side: int) -> int:
    """FLOPs of a convolution: two for each multiply-add, counted by hand."""
    return 2 * inputs * outputs * kernel**2 * side**2


def test_convolution_counted_by_hand():
    measurement = measure_steadily("one-convolution")
    assert (measurement.flops_backbone, measurement.flops_head) == (0, conv(3, 2, 3, SIDE))
    assert measurement.flops == measurement.flops_head
    assert (measurement.learnable, measurement.parameters) == (2 * 3 * 9, 2 * 3 * 9)
    assert (measurement.backbone, measurement.weights, measurement.head, measurement.size) == (
        "own",
        "own",
        None,
        SIDE,
    )
    larger = measure_steadily("one-convolution", size=96)
    assert larger.flops == conv(3, 2, 3, 96)


def test_steps_of_adaptation_are_counted():
    # forward and the weights' gradient, in each of two steps, besides the prediction
    measurement = measure_steadily("one-convolution", ablate=("two",))
    assert measurement.flops_head == (1 + 2 * 2) * conv(3, 2, 3, SIDE)
    assert measurement.label == "one-convolution (w/o two)"
    assert measure_steadily("one-convolution", config={"steps": "2"}).label == "one-convolution (steps=2)"


FRESH = """
import sys
from itertools import count

import torch
from fssbench.efficiency import memory as memories

memory = memories.PeakMemory(torch.device("cpu"))
held = torch.ones(100 << 18)
del held
memory.start()
before, kind = memory.read()
held = torch.ones(100 << 18)
print(kind, before, memory.read()[0], sep="|")
del held

from fssbench.efficiency import measure

def start(device):
    print(*sys.modules)
    return memories.PeakMemory(device)

measure.PeakMemory = start
request = measure.BenchRequest(method="hoard", repeats=2, plugins=(sys.argv[1],))
hoard = measure.measure(request, clock=map(float, count()).__next__)  # steady, so that few episodes are computed
print(hoard.memory_kind, hoard.memory_mb, sep="|")
"""


@pytest.fixture(scope="module")
def fresh() -> tuple[list[str], set[str], list[str]]:
    """What a fresh process tells: its peak after 100 MB, its code before a measurement, and that of `hoard`."""
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(PLUGIN)], capture_output=True, text=True, check=True
    )
    peak, modules, hoard = done.stdout.strip().splitlines()
    return peak.split("|"), set(modules.split()), hoard.split("|")


def test_the_code_of_every_backbone_is_loaded_before_memory_is_read(fresh):
    """Else the backbone that happens to be imported last would cost its code."""
    folder = Path(backbones.__file__).parent
    needed = {f"fssbench.backbones.{file.stem}" for file in folder.glob("*.py") if file.stem != "__init__"}
    assert needed | {"torch._dynamo"} <= fresh[1]


def test_backbone_and_head_apart():
    backbone = register_small_backbone()
    measurement = measure_steadily("linear", backbone=backbone)
    method = load_method("linear", backbone=backbone, weights="random")
    assert method.backbone is not None
    tap = method.backbone.taps[method.taps.query[0]]
    assert measurement.learnable == 2 * tap.channels
    assert measurement.parameters == sum(p.numel() for p in method.parameters())
    side = SIDE // tap.stride
    assert measurement.flops_head == conv(tap.channels, 2, 1, side)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        method.backbone(torch.zeros(1, 3, SIDE, SIDE), method.taps.query)
    assert measurement.flops_backbone == 2 * counter.get_total_flops()  # query and support
    assert (
        measure_steadily("linear", backbone=backbone, shot=5).flops_backbone == 6 * counter.get_total_flops()
    )
    assert measurement.head is not None


def test_backbone_is_left_as_it_was():
    method = load_method("panet", backbone="efficientnet-lite0", weights="random")
    before = dict(method.backbone.__dict__)
    given = Synthetic.make()
    count_flops(method, lambda: method.segment(given.query, given.support, given.mask))
    assert method.backbone.__dict__ == before


def test_module_that_is_given_a_parameter_is_counted():
    """As a transformer with learned queries is, whose layers get a parameter in inference mode."""
    method = load_method("panet", backbone="efficientnet-lite0", weights="random")
    layer, queries = torch.nn.Linear(3, 5), torch.nn.Parameter(torch.zeros(7, 3))

    def work() -> None:
        with torch.inference_mode():
            layer(queries)

    assert count_flops(method, work) == (0, 2 * 7 * 3 * 5)


A, B, C = torch.zeros(4, 3, 5), torch.zeros(4, 5, 7), torch.zeros(4, 3, 7)
ATTENTION = torch.zeros(2, 3, 6, 4), torch.zeros(2, 3, 7, 4), torch.zeros(2, 3, 7, 8)
PRODUCTS = {
    "matrices": (lambda: A[0] @ B[0], 3 * 5 * 7),
    "matrices, added": (lambda: torch.addmm(C[0], A[0], B[0]), 3 * 5 * 7),
    "matrices, added in place": (lambda: C[0].addmm_(A[0], B[0]), 3 * 5 * 7),
    "batch": (lambda: torch.bmm(A, B, out=C), 4 * 3 * 5 * 7),
    "batch, added in place": (lambda: C.baddbmm_(A, B), 4 * 3 * 5 * 7),
    "batch, summed": (lambda: torch.addbmm(C[0], A, B), 4 * 3 * 5 * 7),
    "batch, summed in place": (lambda: C[0].addbmm_(A, B), 4 * 3 * 5 * 7),
    "vector": (lambda: A[0] @ B[0, :, 0], 3 * 5),
    "vector, added": (lambda: torch.addmv(C[0, :, 0], A[0], B[0, :, 0]), 3 * 5),
    "vector, added in place": (lambda: C[0, :, 0].addmv_(A[0], B[0, :, 0]), 3 * 5),
    "vectors": (lambda: A[0, 0] @ B[0, :, 0], 5),
    "attention": (lambda: functional.scaled_dot_product_attention(*ATTENTION), 2 * 3 * 6 * 7 * (4 + 8)),
    "attention with a mask": (
        lambda: functional.scaled_dot_product_attention(*ATTENTION, attn_mask=torch.zeros(6, 7)),
        2 * 3 * 6 * 7 * (4 + 8),
    ),
}


def count_work(work):
    """FLOPs of work that no method does, in a backbone and in total."""
    return count_flops(load_method("panet", backbone="efficientnet-lite0", weights="random"), work)


@pytest.mark.parametrize("name", PRODUCTS)
def test_every_product_is_counted(name):
    work, multiplications = PRODUCTS[name]
    assert count_work(work) == (0, 2 * multiplications)


def test_a_plane_that_is_multiplied_at_once_is_counted():
    """HSNet multiplies the four cells of a squeezed plane in place."""
    layer, volume = CentrePivotConv4d(3, 5, 3), torch.zeros(1, 3, 6, 4, 2, 2)
    with torch.no_grad():
        _, total = count_work(lambda: layer(volume))
    over_query, over_support = 6 * 4 * 4 * 3 * 5 * 9, 6 * 4 * (4 * 3) * (4 * 5)
    assert total == 2 * (over_query + over_support)


@pytest.mark.parametrize("name", ["hm", "hsnet", "pmnet"])
def test_built_in_methods_are_counted_whole(name):
    """Also where a method runs the backbone itself, or goes on from one of its taps."""
    backbone = register_small_backbone()
    measurement = measure_steadily(name, size=64, backbone=backbone, plugins=())
    method = load_method(name, backbone=backbone, weights="random")
    assert measurement.learnable == sum(p.numel() for p in method.parameters() if p.requires_grad)
    assert measurement.parameters == sum(p.numel() for p in method.parameters())
    assert measurement.flops_head > 0
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        method.backbone(torch.zeros(1, 3, 64, 64), list(method.backbone.taps))
    assert 0.9 * 2 * counter.get_total_flops() <= measurement.flops_backbone <= 3 * counter.get_total_flops()


def test_batch_is_one_episode_each():
    backbone = register_small_backbone()
    one, three = (measure_steadily("linear", backbone=backbone, batch=b) for b in (1, 3))
    assert (one.flops_head, one.flops_backbone) == (three.flops_head, three.flops_backbone)
    ticks = count()
    timed = measure(make_request("one-convolution", batch=4), clock=lambda: next(ticks) * 8.0)
    assert timed.milliseconds.median == 2000


def test_noisy_clock_makes_the_measurement_unstable():
    noise = torch.Generator().manual_seed(0)
    now = [0.0]

    def clock() -> float:
        now[0] += float(torch.rand((), generator=noise)) ** 4
        return now[0]

    measurement = measure(make_request("one-convolution", repeats=12), clock=clock)
    assert any("of the mean" in reason for reason in measurement.unstable)
    ticks = count()
    assert (
        measure(make_request("one-convolution"), clock=lambda: float(next(ticks))).milliseconds.unstable == ()
    )


def test_same_thing_has_one_identity_and_another_its_own():
    first, again = measure_steadily("one-convolution"), measure_steadily("one-convolution")
    assert first.identity == again.identity
    others = [{"shot": 2}, {"size": 96}, {"batch": 2}]
    assert len({first.identity, *(measure_steadily("one-convolution", **o).identity for o in others)}) == 4
    steps = [measure_steadily("one-convolution", config={"steps": n}).identity for n in ("0", "1")]
    assert steps[0] != steps[1]
    assert Efficiency.model_validate_json(first.model_dump_json()) == first


def test_machine_is_told_apart_without_naming_its_host(monkeypatch):
    import socket

    here = measure_steadily("one-convolution")
    monkeypatch.setattr(socket, "gethostname", lambda: "a-secret-name")
    there = measure_steadily("one-convolution")
    assert here.machine != there.machine
    assert here.identity != there.identity
    assert "a-secret-name" not in there.model_dump_json()
    assert there.processor
    assert there.threads == torch.get_num_threads()
    assert there.packages["torch"] == version("torch")


def test_peak_memory_of_a_fresh_process_sees_what_a_forward_held(fresh):
    kind, megabytes = fresh[2]
    if kind == "none":
        pytest.skip("this system does not tell what a process held")
    assert 200 <= float(megabytes) < 260  # what torch and the method weigh is not in it


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_peak_memory_is_measured_in_a_process_of_its_own():
    threads = torch.get_num_threads()
    hoard = measure_in_subprocess(make_request("hoard", repeats=2))
    if hoard.memory_kind == "none":
        pytest.skip("this system does not tell what a process held")
    assert 200 <= hoard.memory_mb < 260
    assert torch.get_num_threads() == threads


def test_peak_is_reset_where_the_system_can(fresh):
    """In a process of its own, as it is meant to be: one that has run for long may give memory back meanwhile."""
    kind, before, after = fresh[0]
    if kind != "resident":
        pytest.skip("this system does not reset a peak")
    assert float(before) < 50
    assert 95 < float(after) < 160


def test_where_the_peak_cannot_be_reset_it_says_so(monkeypatch):
    import fssbench.efficiency.memory as module

    real = module.Path

    class Closed(type(real())):
        def write_text(self, *_, **__):
            raise PermissionError

    monkeypatch.setattr(module, "Path", Closed)
    memory = PeakMemory(torch.device("cpu"))
    memory.start()
    assert memory.read()[1] == "resident, loading included"


@pytest.mark.parametrize("system", ["windows", "macos", "linux without the mark"])
def test_the_peak_is_known_on_other_systems(monkeypatch, system):
    import resource

    import fssbench.efficiency.memory as module

    monkeypatch.setattr(module, "_read_linux_peak_mb", lambda: None)
    known = {"rss": 100 << 20} | ({"peak_wset": 300 << 20} if system == "windows" else {})
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(**known))
    monkeypatch.setattr(module.psutil, "Process", lambda: process)
    monkeypatch.setattr(module.sys, "platform", "darwin" if system == "macos" else "linux")
    unit = 1 if system == "macos" else 1024
    most = SimpleNamespace(ru_maxrss=(300 << 20) // unit)
    monkeypatch.setattr(resource, "getrusage", lambda _: most)
    memory = PeakMemory(torch.device("cpu"))
    assert memory.read() == (200.0, "resident, loading included")


def test_failures_name_the_method():
    with pytest.raises(PluginError, match=r"'fails'.*ValueError: not today"):
        measure_steadily("fails")
    with pytest.raises(UsageError, match="unknown method 'pmnot'"):
        measure_steadily("pmnot")
    with pytest.raises(UsageError, match="unknown setting"):
        measure_steadily("linear", config={"nothing": "1"})
    assert "fails" in METHODS.names()


def test_results_and_errors_cross_the_process_and_a_dead_one_is_told(monkeypatch):
    fork = multiprocessing.get_context("fork")  # a fresh process would end the same, after importing torch
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: fork)
    threads = torch.get_num_threads()
    crossed = measure_in_subprocess(make_request("one-convolution", repeats=2))
    assert crossed.flops_head == conv(3, 2, 3, SIDE)
    assert torch.get_num_threads() == threads
    with pytest.raises(PluginError, match="not today"):
        measure_in_subprocess(make_request("fails"))
    with pytest.raises(DataError, match=r"measurement of dies \(1-shot\) ended without a result"):
        measure_in_subprocess(make_request("dies"))
