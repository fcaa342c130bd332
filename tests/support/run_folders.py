"""Writes run folders as the harness does, with synthetic counts, in milliseconds and without image or network."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fssbench.api import Episode, Plan
from fssbench.benchmarks.catalogue import find_benchmark
from fssbench.episodes.plan_file import write_plan
from fssbench.files.canonical_json import digest
from fssbench.runs.store import SCHEMA, EpisodeRecord

SKILL = {"pmnet": 0.62, "hsnet": 0.58, "panet": 0.45}
VALID = 160_000
"""Number of pixels of an image that count."""


def make_plan(benchmark: str, fold: int, shot: int, episodes: int) -> Plan:
    """Make a plan of a known benchmark with invented items; some queries are asked more than once."""
    resolved = find_benchmark(benchmark)
    classes = resolved.folds[fold]
    draw = np.random.default_rng([zlib.crc32(resolved.id.encode()), fold, shot])
    rows = []
    for i in range(episodes):
        c = int(classes[i % len(classes)])
        query = f"{c}/{draw.integers(0, max(4, episodes // 3)):05d}"
        rows.append(Episode(i, c, query, tuple(f"{c}/s{draw.integers(0, 99):02d}" for _ in range(shot))))
    return Plan(
        benchmark=resolved.id,
        version=resolved.benchmark.version,
        dataset=resolved.benchmark.target,
        dataset_variant=resolved.dataset_variant,
        split=resolved.benchmark.split,
        fold=fold,
        shot=shot,
        protocol="published/1",
        seed=0,
        size=400,
        classes=tuple(classes),
        class_names=tuple(f"class {c}" for c in classes),
        lists="files on disk: made up",
        episodes=tuple(rows),
    )


def write_run(
    root: Path,
    plan: Plan,
    method: str,
    *,
    ablations: tuple[str, ...] = (),
    marks: tuple[str, ...] = (),
    block: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
) -> Path:
    """Write one complete run.  Its counts depend on the plan, the method, and the changed fields.

    Args:
        block: changed fields of the identity block.
        context: changed fields of the context block.
    """
    other, around = dict(block or {}), dict(context or {})
    resolved = find_benchmark(plan.benchmark)
    label = method + (f" (w/o {', '.join(ablations)})" if ablations else "")
    block = {
        "benchmark": plan.benchmark,
        "benchmark_version": plan.version,
        "dataset": plan.dataset,
        "dataset_variant": plan.dataset_variant,
        "split": plan.split,
        "reader_sha256": "1" * 64,
        "method_version": "file",
        "source_sha256": "2" * 64,
        "distributions": {},
        "head_sha256": "3" * 64,
        "layout": "standard",
        "weights_sha256": "4" * 64,
        "batch": 1,
        "dtype": "float32",
        "device": "cpu",
        "data_sha256": "0" * 64,
        "lists": plan.lists,
        "fold": plan.fold,
        "shot": plan.shot,
        "protocol": plan.protocol,
        "seed": plan.seed,
        "classes": list(plan.classes),
        "episodes": len(plan),
        "episodes_sha256": plan.sha256,
        "size": plan.size,
        "score_size": "input",
        "absent": resolved.benchmark.absent,
        "engine": "1",
        "method": method,
        "config": dict.fromkeys(ablations, False),
        "backbone": "resnet50",
        **other,
    }
    context = {
        "label": label,
        "title": method,
        "folds": len(resolved.folds),
        "ablations": list(ablations),
        "weights": "v1",
        "learnable": 675_362,
        "parameters": 24_183_394,
        "marks": [*plan.marks, *marks],
        "checkpoint": f"{method}.safetensors",
        "checkpoint_sha256": "ab" * 32,
        "created_utc": "2026-01-02T03:04:05+00:00",
        "python": "3.11.7",
        "packages": {"torch": "2.13.0"},
        **around,
    }
    identity = digest(block)
    place = f"{plan.benchmark}-f{plan.fold}-{plan.shot}shot-{label}".translate(
        str.maketrans(":() /,", "------")
    )
    folder = root / f"{place}-{identity[:12]}"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(
        json.dumps({"schema": SCHEMA, "identity": identity, "block": block, "context": context})
    )
    write_plan(plan, folder / "plan.json")
    skill = f"{label} {sorted(other.items())}" if other else label
    (folder / "episodes.jsonl").write_bytes(b"".join(record.line() for record in make_records(plan, skill)))
    (folder / "sessions.jsonl").write_text(
        json.dumps(
            {"episodes": len(plan), "seconds": 0.05 * len(plan), "prediction_seconds": 0.04 * len(plan)}
        )
        + "\n"
    )
    return folder


def make_records(plan: Plan, label: str) -> list[EpisodeRecord]:
    """Make counts for objects of every size; the truth is the same for every method."""
    draw = np.random.default_rng(int(plan.sha256[:8], 16))
    mine = np.random.default_rng([int(plan.sha256[:8], 16), zlib.crc32(label.encode())])
    n = len(plan)
    target = np.maximum(1, VALID * draw.beta(0.6, 2.2, n)).astype(int)
    hard = draw.normal(0, 0.12, n)
    skill = SKILL.get(label.split()[0], 0.5) - 0.1 * ("w/o" in label) + 0.03 * plan.shot
    hit = (target * np.clip(skill + hard + mine.normal(0, 0.06, n), 0, 1)).astype(int)
    extra = ((VALID - target) * np.clip(0.05 + mine.normal(0, 0.03, n), 0, 0.5)).astype(int)
    return [
        EpisodeRecord(
            e.index,
            e.class_id,
            (int(VALID - target[i] - extra[i]), int(hit[i])),
            (int(VALID - hit[i]), int(target[i] + extra[i])),
            int(target[i]),
        )
        for i, e in enumerate(plan)
    ]
