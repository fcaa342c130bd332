"""Makes measurements as `fssbench bench` stores them, with arbitrary figures."""

from __future__ import annotations

from typing import Any

from fssbench.api import Efficiency, Timing

TIMING = Timing(median=12.5, low=12, high=13, mad=0.4, fastest=11, slowest=14, repeats=15, warmup=4)


def make_measurement(**changes: Any) -> Efficiency:
    """Make the measurement of a method on a CPU; `changes` replace fields."""
    facts = {
        "identity": "a" * 64,
        "method": "null",
        "label": "null",
        "config": {"sleep": 0.0},
        "backbone": "own",
        "weights": "own",
        "checkpoint_sha256": None,
        "shot": 1,
        "size": 16,
        "batch": 1,
        "learnable": 3,
        "parameters": 4,
        "flops_backbone": 0,
        "flops_head": 2**60,
        "milliseconds": TIMING,
        "head": None,
        "memory_mb": 1.25,
        "memory_kind": "resident",
        "machine": "0123456789ab",
        "processor": "a CPU",
        "device": "cpu",
        "threads": 1,
        "dtype": "float32",
        "others": None,
        "created_utc": "2026-01-01T00:00:00+00:00",
        "packages": {"torch": "2.13.0", "fssbench": None},
    }
    return Efficiency(**{**facts, **changes})
