"""What the harness does on a GPU: agreement with the processor, episodes a second, memory, utilisation.

    python tests/gpu/measure.py --data DIR --splits DIR --out measured.json

Prints a table in Markdown and writes all figures as JSON.  `DIR` holds PASCAL VOC (a sample is enough: the figures
are of time, and of one device against another, not of any method).  ResNet-50 carries random weights, which
move no time; the precision of a figure of mIoU is judged with the checkpoints that fssbench ships.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fssbench.threads import let_threads_sleep

let_threads_sleep()

import numpy as np
import torch

import fssbench
from fssbench.api import Episode, Method, Plan
from fssbench.data.location import open_dataset
from fssbench.efficiency.plain import Counts, evaluate_plainly
from fssbench.episodes.synthetic import Synthetic
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.precision import exact_float32
from fssbench.evaluation.settings import Settings
from fssbench.metrics import score
from fssbench.runs.store import EpisodeRecord, read_run

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from reference_order import in_reference_order

SIZES = {"hsnet": 400, "pmnet": 384}
"""Side of the network input of each measured method, pixels."""
PRECISIONS = ("float32", "tf32", "bf16")
BATCHES = (1, 8, 32)
CHOICES = {
    "replays, float32": Settings(),
    "replays, bf16": Settings(precision="bf16"),
    "batch 32, float32": Settings(batch=32),
    "batch 32, bf16": Settings(batch=32, precision="bf16"),
}
"""Settings of an evaluation that are compared, the exact ones first."""
CACHE_MB = 24_000
Rows = Iterator[tuple[str, dict[str, Any]]]
"""Rows of a table, each with its title."""
_CALLS = {
    "cudaGraphLaunch",
    "cudaLaunchKernel",
    "cudaMemcpyAsync",
    "cudaEventSynchronize",
    "cudaStreamSynchronize",
    "cudaDeviceSynchronize",
    "cudaMalloc",
}
"""Calls of CUDA that the profile counts."""


def main() -> None:
    """Measure what was asked for, print it and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds VOC2012")
    parser.add_argument("--splits", type=Path, help="folder of reference lists")
    parser.add_argument("--out", type=Path, default=Path("measured.json"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--episodes", type=int, default=1000, help="of the harness at 1 shot; a quarter of them at 5 shots"
    )
    parser.add_argument(
        "--plain-share", type=int, default=16, help="the plain loop takes one episode in so many"
    )
    parser.add_argument(
        "--only", choices=("loops", "choices", "forwards", "precision"), help="one part alone"
    )
    parser.add_argument("--methods", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=10, help="of a timed forward")
    given = parser.parse_args()
    device = torch.device(given.device)
    figures: dict[str, Any] = {"machine": describe(device), "ceilings": measure_ceilings(device)}
    parts = {
        "loops": measure_loops,
        "choices": measure_choices,
        "forwards": measure_forwards,
    }
    for name in given.methods:
        figures[name] = {}
        for part, measure in parts.items():
            if given.only in (None, part):
                figures[name][part] = {}
                keep_rows(measure(name, given, device), figures[name][part], figures, given.out)
    if given.only in (None, "precision"):
        figures["precision"] = {}
        keep_rows(measure_precision(given, device), figures["precision"], figures, given.out)
    print(tabulate(figures))


def keep_rows(rows: Rows, kept: dict[str, Any], figures: dict[str, Any], path: Path) -> None:
    """Write each row when it was measured, so that a time limit loses nothing that is complete."""
    for title, row in rows:
        kept[title] = row
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def describe(device: torch.device) -> dict[str, str]:
    """Name the device and the library."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "processor"
    return {"device": name, "torch": torch.__version__, "fssbench": fssbench.__version__}


def measure_ceilings(device: torch.device) -> dict[str, float]:
    """TFLOP/s of a large matrix product in each precision, GB/s of a large copy."""
    side = 8192 if device.type == "cuda" else 512
    a, b = (torch.randn(side, side, device=device) for _ in range(2))
    rates = {}
    for precision in PRECISIONS:
        with computing_in(precision, device):
            seconds = median_seconds(lambda: a @ b, 10, device)
        rates[f"{precision} TFLOP/s"] = round(2 * side**3 / seconds / 1e12, 1)
    source, target = torch.empty(2, side * side * 4, device=device)
    seconds = median_seconds(lambda: target.copy_(source), 10, device)
    rates["copy GB/s"] = round(2 * source.numel() * 4 / seconds / 1e9, 1)
    return rates


def measure_loops(name: str, given: argparse.Namespace, device: torch.device) -> Rows:
    """Episodes a second of the plain loop and of the harness, at 1 and 5 shots, in exact float32.

    The plain loop computes in the order of the reference implementations, and once more with our operators.  The
    harness is measured with its work launched anew for each episode, and with replays (`Settings.replay`).
    """
    method = fssbench.load_method(name, backbone="resnet50", weights="random", device=str(device))
    for shot in (1, 5):
        plan = fssbench.plan(
            "pascal5i",
            fold=2,
            shot=shot,
            data=given.data,
            splits=given.splits,
            episodes=max(2, given.episodes // (1 if shot == 1 else 4)),
            size=SIZES[name],
        )
        few = plan.episodes[: max(2, len(plan) // given.plain_share)]
        with in_reference_order():
            counts, seconds = time_plain_loop(method, plan, few, device)
        plain = len(few) / seconds
        yield f"{shot}-shot, plain", {"episodes/s": round(plain, 2), "episodes": len(few)}
        _, seconds = time_plain_loop(method, plan, few, device)
        yield f"{shot}-shot, plain with our operators", {"episodes/s": round(len(few) / seconds, 2)}
        for replay in (False, True):
            part = plan if replay else plan.head(max(len(few), len(plan) // 3))
            records, seconds, seen = time_harness(method, part, device, Settings(replay=replay))
            rate = len(part) / seconds
            yield (
                f"{shot}-shot, {'replays' if replay else 'calls'}",
                {
                    "episodes/s": round(rate, 2),
                    "ratio": round(rate / plain, 2),
                    "episodes": len(part),
                    "images": len({item for e in part for item in (e.query, *e.supports)}),
                    "counts that differ, pixels": sum(
                        abs(x - y)
                        for i, (inter, union) in enumerate(counts)
                        for x, y in zip((*records[i].inter, *records[i].union), (*inter, *union), strict=True)
                    ),
                    **seen,
                },
            )
    if device.type == "cuda":
        yield "profile", profile(method, plan.head(min(20, len(plan))), device)


def measure_choices(name: str, given: argparse.Namespace, device: torch.device) -> Rows:
    """Episodes a second of the harness at 1 shot, by batch and precision; batches go call by call."""
    method = fssbench.load_method(name, backbone="resnet50", weights="random", device=str(device))
    draw = {"fold": 2, "data": given.data, "splits": given.splits, "size": SIZES[name]}
    plan = fssbench.plan("pascal5i", episodes=given.episodes, **draw)
    exact = {}
    for label, chosen in CHOICES.items():
        records, seconds, seen = time_harness(method, plan, device, chosen)
        exact = exact or records
        pairs = ((records[i], one) for i, one in exact.items())
        row = {
            "episodes/s": round(len(plan) / seconds, 2),
            "episodes": len(plan),
            "pixels counted otherwise": sum(
                abs(x - y) for a, b in pairs for x, y in zip(a.inter, b.inter, strict=True)
            ),
        }
        yield label, row | seen


def time_plain_loop(
    method: Method, plan: Plan, episodes: Sequence[Episode], device: torch.device
) -> tuple[list[Counts], float]:
    """Counts of some episodes by the plain loop, and its time in seconds; two episodes before are not timed."""
    dataset = open_dataset(plan.dataset, data=plan.data, splits=plan.splits)
    with exact_float32():
        list(evaluate_plainly(method, dataset, episodes[:2], plan.size, device))
        started = time.perf_counter()
        counts = list(evaluate_plainly(method, dataset, episodes, plan.size, device))
        return counts, time.perf_counter() - started


def time_harness(
    method: Method, plan: Plan, device: torch.device, chosen: Settings
) -> tuple[dict[int, EpisodeRecord], float, dict[str, Any]]:
    """Counts of a plan by the harness, its time in seconds, and what the program, the device and its memory did."""
    with TemporaryDirectory() as folder, watched(device) as seen:
        settings = replace(chosen, out=Path(folder), device=str(device), cache_mb=CACHE_MB, panels=0)
        started, worked = time.perf_counter(), time.process_time()
        done, failed = evaluate_all([method], plan, settings)
        seconds = time.perf_counter() - started
        seen["program, ms / episode"] = round((time.process_time() - worked) / len(plan) * 1000, 2)
        if failed:
            raise failed[0][1]
        return read_run(done[0].path).records, seconds, seen


def measure_forwards(name: str, given: argparse.Namespace, device: torch.device) -> Rows:
    """Episodes a second of forwards of B episodes, images to masks and from features on, with peak memory."""
    size, repeats = SIZES[name], given.repeats
    method = fssbench.load_method(name, backbone="resnet50", weights="random", device=str(device))
    for batch in BATCHES if device.type == "cuda" else BATCHES[:1]:
        episodes = Synthetic.make(batch, 1, size, size)
        query, support, mask = (t.to(device) for t in (episodes.query, episodes.support, episodes.mask))
        for precision in PRECISIONS:
            with computing_in(precision, device), torch.no_grad():
                reset_peak(device)
                whole = time_segmentation(method, (query, support, mask), repeats, device)
                head = time_segmentation(method, (*method.read(query, support), mask), repeats, device)
            row = {
                "images to masks, episodes/s": round(batch / whole, 1),
                "features to masks, episodes/s": round(batch / head, 1),
                "peak MiB": peak_mb(device),
            }
            yield f"batch {batch}, {precision}", row


def time_segmentation(
    method: Method, given: tuple[Any, Any, Any], repeats: int, device: torch.device
) -> float:
    """Seconds of one forward from images, or from features, to masks."""
    return median_seconds(lambda: method.segment(*given), repeats, device)


def measure_precision(given: argparse.Namespace, device: torch.device) -> Rows:
    """MIoU of the shipped checkpoints on the processor and, in each precision, on the device."""
    count = min(100, given.episodes)
    plan = fssbench.plan("pascal5i", fold=2, data=given.data, splits=given.splits, episodes=count, size=192)
    for name in SIZES:
        method = load_shipped(name, plan)
        on_processor = scored(method, plan, torch.device("cpu"), "float32")
        rows: dict[str, Any] = {"processor, float32": {"mIoU": round(on_processor[0], 4)}}
        for precision in PRECISIONS:
            miou, counts = scored(method, plan, device, precision)
            moved = int(np.abs(counts - on_processor[1]).sum()) // 2
            rows[f"device, {precision}"] = {
                "mIoU": round(miou, 4),
                "minus processor, points": round(miou - on_processor[0], 4),
                "pixels counted otherwise": moved,
                "pixels of the unions": int(counts[:, 2:].sum()),
            }
        yield name, rows


def load_shipped(name: str, plan: Plan) -> Method:
    """Load the checkpoint that comes with a method for one plan."""
    method = fssbench.load_method(name, backbone="efficientnet-lite0", plan=plan)
    if method.provenance.untrained:
        raise SystemExit(f"{name} has no shipped checkpoint for {plan.benchmark} fold {plan.fold}")
    return method


def scored(method: Method, plan: Plan, device: torch.device, precision: str) -> tuple[float, np.ndarray]:
    """MIoU in percent, and the counts (N, 4) of every episode: intersections, then unions."""
    dataset = open_dataset(plan.dataset, data=plan.data, splits=plan.splits)
    with computing_in(precision, device):
        loop = evaluate_plainly(method.to(device), dataset, plan, plan.size, device)
        counts = np.array([(*inter, *union) for inter, union in loop], dtype=np.int64)
    classes = [episode.class_id for episode in plan]
    return score(classes, counts[:, :2], counts[:, 2:], plan.classes, absent="exclude").miou, counts


@contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Compute in exact float32, with TF32 where a GPU has it, or in bfloat16 by autocast."""
    mixed = torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
    with exact_float32(), mixed:
        if precision == "tf32":
            torch.backends.cudnn.allow_tf32 = True
            torch.set_float32_matmul_precision("high")
        yield


def median_seconds(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median time of some work in seconds, after three runs that are not counted."""
    times = []
    for i in range(repeats + 3):
        synchronise(device)
        started = time.perf_counter()
        work()
        synchronise(device)
        if i >= 3:
            times.append(time.perf_counter() - started)
    return float(np.median(times))


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    """Begin to count the peak of allocated memory anew."""
    if device.type == "cuda":
        gc.collect()  # features of the loop before
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_mb(device: torch.device) -> int:
    """Most memory that was allocated on the device at once, MiB."""
    return torch.cuda.max_memory_allocated(device) >> 20 if device.type == "cuda" else 0


@contextmanager
def watched(device: torch.device) -> Iterator[dict[str, Any]]:
    """Fill in the device's mean utilisation and its peak memory while the block runs."""
    seen: dict[str, Any] = {}
    if device.type != "cuda":
        yield seen
        return
    reset_peak(device)
    over, shares = threading.Event(), []

    def look() -> None:
        while not over.wait(0.05):
            shares.append(torch.cuda.utilization(device))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()
        seen["utilisation, %"] = round(float(np.mean(shares)), 1) if shares else None
        seen["peak MiB"] = peak_mb(device)


def profile(method: Method, plan: Plan, device: torch.device) -> dict[str, Any]:
    """Where a GPU's time goes in the harness: calls an episode, and the dearest kernels."""
    from torch.profiler import ProfilerActivity, profile as profiler

    with TemporaryDirectory() as folder:
        settings = Settings(out=Path(folder), device=str(device), cache_mb=CACHE_MB, panels=0)
        with profiler(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
            evaluate_all([method], plan, settings)
    averages = profiled.key_averages()
    calls = {row.key: round(row.count / len(plan), 1) for row in averages if row.key in _CALLS}
    dearest = sorted(averages, key=lambda row: -row.self_device_time_total)[:12]
    return {
        "calls an episode": calls,
        "milliseconds an episode on the device": {
            row.key[:80]: round(row.self_device_time_total / 1000 / len(plan), 3) for row in dearest
        },
    }


def tabulate(figures: dict[str, Any]) -> str:
    """All figures as Markdown tables."""
    machine = figures["machine"]
    lines = [f"{machine['device']}, torch {machine['torch']}, fssbench {machine['fssbench']}", ""]
    lines += [f"- {what}: {value}" for what, value in figures["ceilings"].items()]
    for name, size in SIZES.items():
        if name not in figures:
            continue
        loops = dict(figures[name].get("loops", {}))
        profiled = loops.pop("profile", {})
        lines += ["", f"### {name}, ResNet-50, {size} px"]
        lines += ["", *_table("loop", loops)] if loops else []
        lines += ["", *_table("1-shot", figures[name]["choices"])] if "choices" in figures[name] else []
        lines += ["", *_table("forward", figures[name]["forwards"])] if "forwards" in figures[name] else []
        for what, rows in profiled.items():
            lines += ["", f"{what}:", *(f"- {key}: {value}" for key, value in rows.items())]
        if "precision" in figures:
            lines += ["", *_table(f"{name}, shipped, 192 px", figures["precision"][name])]
    return "\n".join(lines)


def _table(title: str, rows: dict[str, dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    head = [f"| {title} | {' | '.join(columns)} |", f"| --- |{' --- |' * len(columns)}"]
    return head + [
        f"| {key} | {' | '.join(str(row.get(c, '')) for c in columns)} |" for key, row in rows.items()
    ]


if __name__ == "__main__":
    main()
