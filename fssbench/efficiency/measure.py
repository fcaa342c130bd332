"""What one episode of a method costs: parameters, FLOPs, time and memory, measured on this machine.

Inputs are made in memory, since the content of an image moves none of these, and neither do weights:
random ones are used where none are named.  Each measurement runs in a process of its own, in which
nothing else has been in memory (see `fssbench.efficiency.memory`).
"""

from __future__ import annotations

import hashlib
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

from fssbench.contracts.efficiency import Efficiency
from fssbench.contracts.methods import FeatureMethod, Method
from fssbench.efficiency.memory import PeakMemory
from fssbench.efficiency.timing import Clock, timed
from fssbench.episodes.synthetic import Synthetic
from fssbench.errors import DataError, PluginError
from fssbench.evaluation.isolation import generators_kept, isolated
from fssbench.files.cache import cache_folder
from fssbench.files.canonical_json import digest
from fssbench.loading.load import load_method
from fssbench.plugins.calls import plugin_call
from fssbench.plugins.registry import BACKBONES, METHODS, load_plugin
from fssbench.runs.identity import label, version

_OWN_SALT = secrets.token_hex(16)

_PACKAGES = ("fssbench", "torch", "numpy")


@dataclass(frozen=True)
class Wanted:
    """One measurement that was asked for."""

    method: str
    shot: int = 1
    size: int | None = None
    """Side of the square input; None for the method's own."""
    batch: int = 1
    device: str = "cpu"
    repeats: int = 15
    backbone: str | None = None
    weights: str | None = None
    """None for random ones, or what the checkpoint brings."""
    checkpoint: Path | None = None
    ablate: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()


def measure_apart(wanted: Wanted) -> Efficiency:
    """Measure in a fresh process.

    Raises:
        FssbenchError: as `measure` does there.
        DataError: if the process ended without an answer, as it does when memory runs out.
    """
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            return pool.submit(measure, wanted).result()
    except BrokenProcessPool:
        raise DataError(
            f"measuring {wanted.method} ({wanted.shot}-shot) ended without an answer; memory may have run out. "
            "Next: a smaller --size or --shot"
        ) from None


def measure(wanted: Wanted, *, clock: Clock = time.perf_counter) -> Efficiency:
    """Measure in this process; of memory that says little unless the process is fresh.

    Args:
        wanted: what.
        clock: seconds, of any origin.

    Raises:
        UsageError: for unknown methods, backbones or settings.
        DataError: for weights that cannot be read.
        PluginError: if the method fails.
    """
    for plugin in wanted.plugins:
        load_plugin(plugin)
    cls = METHODS.get(wanted.method)
    device = torch.device(wanted.device)
    takes_one = wanted.backbone is not None and cls.card.backbone in BACKBONES.names()
    uses_backbone = cls.needs_backbone or takes_one
    for name in BACKBONES.names():  # code is not the method's memory
        with suppress(PluginError):  # one that is used and does not load is an error of `load_method`
            BACKBONES.get(name)
    memory = PeakMemory(device)
    brought = wanted.weights is None and wanted.checkpoint is None and uses_backbone
    method = load_method(
        cls,
        backbone=wanted.backbone,
        weights="random" if brought else wanted.weights,
        checkpoint=wanted.checkpoint,
        ablate=wanted.ablate,
        device=wanted.device,
        untrained=wanted.checkpoint is None,  # times do not depend on what was learnt
        **wanted.config,
    )
    with (
        plugin_call(f"method {wanted.method!r}: raised", smaller="--size, --shot or --batch"),
        generators_kept(),
    ):
        return _measure(method, wanted, memory, device, clock)


def _measure(
    method: Method, wanted: Wanted, memory: PeakMemory, device: torch.device, clock: Clock
) -> Efficiency:
    size = wanted.size or method.card.size
    episodes = Synthetic.make(wanted.batch, wanted.shot, size, size)
    given = episodes.query.to(device), episodes.support.to(device), episodes.mask.to(device)
    work = _segmenting(method, *given, device)
    threads = torch.get_num_threads()

    memory.start()
    whole, others = timed(work, repeats=wanted.repeats, clock=clock, threads=threads)
    peak, kind = memory.read()
    head = None
    if isinstance(method, FeatureMethod):
        with torch.no_grad():
            query, support = method.read(*given[:2])
        cached = _segmenting(method, query, support, given[2], device)
        head, _ = timed(cached, repeats=wanted.repeats, clock=clock, threads=threads)
    in_backbone, in_all = flops(method, work)
    provenance, machine = method.provenance, _machine(device)
    facts: dict[str, Any] = {
        "method": method.card.name,
        "label": label(method),
        "config": provenance.config,
        "backbone": method.backbone.name if method.backbone else "own",
        "weights": method.backbone.weights if method.backbone else "own",
        "checkpoint_sha256": provenance.checkpoint_sha256,
        "shot": wanted.shot,
        "size": size,
        "batch": wanted.batch,
        "device": str(device),
        "threads": threads,
        "dtype": "float32",
        **machine,
    }
    packages = {name: version(name) for name in _PACKAGES}
    names = ("method_version", "source_sha256", "backbone_source_sha256", "layout")
    source = {name: getattr(provenance, name) for name in names}
    return Efficiency(
        identity=digest({**facts, **source, "packages": packages}),
        learnable=provenance.learnable,
        parameters=provenance.parameters,
        flops_backbone=in_backbone // wanted.batch,
        flops_head=(in_all - in_backbone) // wanted.batch,
        milliseconds=_each(whole, wanted.batch),
        head=head and _each(head, wanted.batch),
        memory_mb=peak,
        memory_kind=kind,
        others=others,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        packages=packages,
        **facts,
    )


def _segmenting(
    method: Method, query: Any, support: Any, mask: Tensor, device: torch.device
) -> Callable[[], None]:
    """One forward of the episodes as the engine makes it, over when the device is done."""
    options: dict[str, Any] = {"seed": 0} if method.steps else {}

    def work() -> None:
        with isolated(0):
            method.segment(query, support, mask, **options)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    return work


def _each(timing: Any, batch: int) -> Any:
    """Times of one episode from those of a forward of several."""
    names = ("median", "low", "high", "mad", "fastest", "slowest")
    return timing.model_copy(update={name: getattr(timing, name) / batch for name in names})


def flops(method: Method, work: Callable[[], object]) -> tuple[int, int]:
    """FLOPs that some work of a method takes in its frozen backbone, and altogether.

    Matrix products and convolutions are counted, two for each multiply-add, backward passes of a
    test-time adaptation included.
    """
    with FlopCounterMode(display=False) as counter, _metered(method, counter) as spent:
        work()
    return spent[0], counter.get_total_flops()


@contextmanager
def _metered(method: Method, counter: FlopCounterMode) -> Iterator[list[int]]:
    """Sum up what is counted while the backbone is at work, however the method calls it."""
    spent, backbone, inside = [0], method.backbone, [False]
    if backbone is None:
        yield spent
        return

    def metered(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            if inside[0]:
                return function(*given, **named)
            inside[0], before = True, counter.get_total_flops()
            try:
                return function(*given, **named)
            finally:
                inside[0] = False
                spent[0] += counter.get_total_flops() - before

        return call

    doors = ("forward", "resume")
    for door in doors:
        backbone.__dict__[door] = metered(getattr(backbone, door))
    try:
        yield spent
    finally:
        for door in doors:
            del backbone.__dict__[door]


def _machine(device: torch.device) -> dict[str, str]:
    """The device's model, and a hash that tells machines apart and names none."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu()
    text = f"{_salt()}/{socket.gethostname()}/{name}/{os.cpu_count()}/{device.type}"
    return {"processor": name, "machine": hashlib.sha256(text.encode()).hexdigest()[:12]}


def _salt() -> str:
    """A random text of this machine's cache; without it a host name could be guessed from its hash."""
    path = cache_folder() / "machine-salt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError), path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(secrets.token_hex(16))
        return path.read_text(encoding="utf-8")
    except OSError:  # then this process is a machine of its own
        return _OWN_SALT


def _cpu() -> str:
    try:
        model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        model = None
    return model[1].strip() if model else platform.processor() or platform.machine()
