"""Measures what one episode of a method costs on this machine: parameters, FLOPs, time and memory.

Neither the content of an image nor the values of the weights change these figures.  So images are made in memory,
and weights are random if none are given.  Each measurement runs in a separate process whose memory holds nothing
else (see `fssbench.efficiency.memory`).
"""

from __future__ import annotations

import hashlib
import importlib
import multiprocessing
import os
import platform
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from fssbench.contracts.efficiency import Efficiency
from fssbench.contracts.methods import FeatureMethod, Method, reads_raw_pixels
from fssbench.efficiency.memory import PeakMemory
from fssbench.efficiency.products import FURTHER_PRODUCTS
from fssbench.efficiency.timing import Clock, time_work
from fssbench.episodes.synthetic import Synthetic
from fssbench.errors import DataError, PluginError
from fssbench.evaluation.isolation import generators_kept, isolated
from fssbench.files.cache import cache_folder
from fssbench.files.canonical_json import digest
from fssbench.installed import find_version
from fssbench.loading.load import load_method
from fssbench.plugins.calls import plugin_call
from fssbench.plugins.registry import BACKBONES, METHODS, load_plugin
from fssbench.runs.identity import make_label
from fssbench.runs.redaction import identify_value

_OWN_SALT = secrets.token_hex(16)

_PACKAGES = ("fssbench", "torch", "numpy")


@dataclass(frozen=True)
class BenchRequest:
    """One requested measurement."""

    method: str
    shot: int = 1
    size: int | None = None
    """Side of the square input in pixels; None for the default of the method."""
    batch: int = 1
    device: str = "cpu"
    repeats: int = 15
    backbone: str | None = None
    weights: str | None = None
    """Backbone weights; None for those of the checkpoint, or random ones without a checkpoint."""
    checkpoint: Path | None = None
    ablate: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()


def measure_in_subprocess(request: BenchRequest) -> Efficiency:
    """Measure in a fresh process.

    Raises:
        FssbenchError: if `measure` raises it in that process.
        DataError: if the process ended without a result, for example because memory ran out.
    """
    spawn = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    try:
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            try:
                return pool.submit(measure, request).result()
            except KeyboardInterrupt:  # SIGTERM reaches this process alone, and the pool waits for the other
                for child in set(multiprocessing.active_children()) - others:
                    child.terminate()
                raise
    except BrokenProcessPool:
        raise DataError(
            f"the measurement of {request.method} ({request.shot}-shot) ended without a result. "
            "Memory may have run out. Next: choose a smaller --size or --shot"
        ) from None


def measure(request: BenchRequest, *, clock: Clock = time.perf_counter) -> Efficiency:
    """Measure in this process.  The memory figure is only meaningful in a fresh process.

    Args:
        request: what to measure.
        clock: function that returns seconds since any fixed time.

    Raises:
        UsageError: for unknown methods, backbones or settings.
        DataError: for weights that cannot be read.
        PluginError: if the method fails.
    """
    for plugin in request.plugins:
        load_plugin(plugin)
    device = torch.device(request.device)
    for name in BACKBONES.names():  # code that is imported now is not counted as memory of the method
        with suppress(PluginError):  # `load_method` raises it if the method uses this backbone
            BACKBONES.get(name)
    importlib.import_module("torch._dynamo")  # an optimiser imports it at its first step
    memory = PeakMemory(device)
    method = load_for_measuring(request)
    with (
        plugin_call(f"method {request.method!r}: raised", smaller="--size, --shot or --batch"),
        generators_kept(),
    ):
        return _measure(method, request, memory, device, clock)


def load_for_measuring(request: BenchRequest) -> Method:
    """Load the method of a request; weights are random if none are given, as times do not depend on their values.

    Raises:
        UsageError: for unknown methods, backbones or settings.
        DataError: for weights that cannot be read.
    """
    cls = METHODS.get(request.method)
    takes_one = request.backbone is not None and cls.card.backbone in BACKBONES.names()
    use_random = request.weights is None and request.checkpoint is None and (cls.needs_backbone or takes_one)
    return load_method(
        cls,
        backbone=request.backbone,
        weights="random" if use_random else request.weights,
        checkpoint=request.checkpoint,
        ablate=request.ablate,
        device=request.device,
        untrained=request.checkpoint is None,
        **request.config,
    )


def _measure(
    method: Method, request: BenchRequest, memory: PeakMemory, device: torch.device, clock: Clock
) -> Efficiency:
    size = method.card.input_size or request.size or method.card.size
    episodes = Synthetic.make(request.batch, request.shot, size, size, raw=reads_raw_pixels(method))
    tensors = episodes.query.to(device), episodes.support.to(device), episodes.mask.to(device)
    work = _make_forward(method, *tensors, device)
    threads = torch.get_num_threads()

    memory.start()
    whole, others = time_work(work, repeats=request.repeats, clock=clock, threads=threads)
    peak, kind = memory.read()
    head = None
    if isinstance(method, FeatureMethod):
        with torch.no_grad():
            query, support = method.read(*tensors[:2])
        cached = _make_forward(method, query, support, tensors[2], device)
        head, _ = time_work(cached, repeats=request.repeats, clock=clock, threads=threads)
    in_backbone, in_all = count_flops(method, work)
    provenance, machine = method.provenance, _describe_machine(device)
    facts: dict[str, Any] = {
        "method": method.card.name,
        "label": make_label(method),
        "config": identify_value("", provenance.config),
        "backbone": method.backbone.name if method.backbone else "own",
        "weights": method.backbone.weights if method.backbone else "own",
        "checkpoint_sha256": provenance.checkpoint_sha256,
        "shot": request.shot,
        "size": size,
        "batch": request.batch,
        "device": str(device),
        "threads": threads,
        "dtype": "float32",
        **machine,
    }
    packages = {name: find_version(name) for name in _PACKAGES}
    names = ("method_version", "source_sha256", "backbone_source_sha256", "layout")
    source = {name: getattr(provenance, name) for name in names}
    return Efficiency(
        identity=digest({**facts, **source, "packages": packages}),
        learnable=provenance.learnable,
        parameters=provenance.parameters,
        flops_backbone=in_backbone // request.batch,
        flops_head=(in_all - in_backbone) // request.batch,
        milliseconds=_times_per_episode(whole, request.batch),
        head=head and _times_per_episode(head, request.batch),
        memory_mb=peak,
        memory_kind=kind,
        others=others,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        packages=packages,
        **facts,
    )


def _make_forward(
    method: Method, query: Any, support: Any, mask: Tensor, device: torch.device
) -> Callable[[], None]:
    """Make the function to be timed: one forward as in the engine, which returns when the device is done."""
    options: dict[str, Any] = {"seed": 0} if method.steps else {}

    def work() -> None:
        with isolated(0):
            method.segment(query, support, mask, **options)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    return work


def _times_per_episode(timing: Any, batch: int) -> Any:
    """Convert the times of one forward of several episodes to times per episode."""
    names = ("median", "low", "high", "mad", "fastest", "slowest")
    return timing.model_copy(update={name: getattr(timing, name) / batch for name in names})


def count_flops(method: Method, work: Callable[[], object]) -> tuple[int, int]:
    """Count the FLOPs of some work of a method, in its frozen backbone and in total.

    Matrix products and convolutions are counted, two FLOPs per multiply-add.  The backward passes of a
    test-time adaptation are included.

    Returns:
        FLOPs in the backbone, and FLOPs in total.
    """
    counter = FlopCounterMode(display=False, custom_mapping=FURTHER_PRODUCTS)
    counter.mod_tracker = _NoModules()
    with counter, _count_in_backbone(method, counter) as counted:
        work()
    return counted[0], counter.get_total_flops()


class _NoModules(ModuleTracker):
    """Tracks no modules, because only totals are read.

    The hooks of torch's tracker fail if a module is called with a parameter, such as a learned
    query of a transformer, in inference mode.
    """

    def __enter__(self) -> ModuleTracker:
        """Install no hooks."""
        return self

    def __exit__(self, *args: object) -> None:
        """Remove no hooks."""


@contextmanager
def _count_in_backbone(method: Method, counter: FlopCounterMode) -> Iterator[list[int]]:
    """Sum the FLOPs that are counted while any function of the backbone runs."""
    counted, backbone, inside = [0], method.backbone, [False]
    if backbone is None:
        yield counted
        return

    def count_calls(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            if inside[0]:
                return function(*given, **named)
            inside[0], before = True, counter.get_total_flops()
            try:
                return function(*given, **named)
            finally:
                inside[0] = False
                counted[0] += counter.get_total_flops() - before

        return call

    entries = ("forward", "resume")
    for entry in entries:
        backbone.__dict__[entry] = count_calls(getattr(backbone, entry))
    try:
        yield counted
    finally:
        for entry in entries:
            del backbone.__dict__[entry]


def _describe_machine(device: torch.device) -> dict[str, str]:
    """Return the device's model, and a hash that distinguishes machines without naming them."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _read_cpu_model()
    text = f"{_read_salt()}/{socket.gethostname()}/{name}/{os.cpu_count()}/{device.type}"
    return {"processor": name, "machine": hashlib.sha256(text.encode()).hexdigest()[:12]}


def _read_salt() -> str:
    """Return a random text from the cache of this machine.  Without it, a host name could be guessed from its hash."""
    path = cache_folder() / "machine-salt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError), path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(secrets.token_hex(16))
        return path.read_text(encoding="utf-8")
    except OSError:  # no cache: the measurements of this process count as those of a separate machine
        return _OWN_SALT


def _read_cpu_model() -> str:
    try:
        model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        model = None
    return model[1].strip() if model else platform.processor() or platform.machine()
