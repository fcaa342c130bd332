"""Makes identities, contexts and manifests with arbitrary values, for tests of the code that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fssbench.contracts.results import RunResult
from fssbench.contracts.run_manifest import Context, Identity, RunManifest

IDENTITY: dict[str, Any] = {
    "benchmark": "made-up",
    "benchmark_version": 1,
    "dataset": "none",
    "dataset_variant": None,
    "split": "test",
    "lists": "made up",
    "data_sha256": "0" * 64,
    "reader_sha256": "1" * 64,
    "fold": 0,
    "shot": 1,
    "protocol": "published/1",
    "seed": 0,
    "classes": (3, 5),
    "episodes": 12,
    "episodes_sha256": "2" * 64,
    "size": 8,
    "score_size": "input",
    "absent": "zero",
    "engine": "1",
    "method": "toy",
    "method_version": "file",
    "source_sha256": "3" * 64,
    "distributions": {},
    "config": {},
    "head_sha256": "4" * 64,
    "backbone": None,
    "layout": None,
    "weights_sha256": None,
    "batch": 1,
    "dtype": "float32",
    "device": "cpu",
}
CONTEXT: dict[str, Any] = {
    "label": "toy",
    "marks": (),
    "folds": 1,
    "ablations": (),
    "weights": None,
    "learnable": 0,
    "parameters": 0,
}


def make_identity(**fields: Any) -> Identity:
    """Make a complete identity; `fields` replace or add fields."""
    return Identity(**{**IDENTITY, **fields})


def record_marks(run: RunResult) -> RunResult:
    """Return the run with its marks in its context too, where a real run has those that are known at its start."""
    context = run.manifest.context.changed(marks=run.marks)
    return replace(run, manifest=run.manifest.changed(context=context))


def make_manifest(*, context: Mapping[str, Any] | None = None, **fields: Any) -> RunManifest:
    """Make the manifest of a toy method; `fields` are fields of its identity, `context` of its context.

    A context may have fields that this version does not know, as one from a file may.
    """
    return RunManifest.of(make_identity(**fields), Context.read_stored({**CONTEXT, **(context or {})}))
