"""What `fssbench show` says of a file or folder: a run, a plan, or a file of weights.

Nothing in the file is executed.  Runs, plans and safetensors files are read without torch.
"""

from __future__ import annotations

import json
import math
import shlex
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fssbench.errors import DataError, UsageError
from fssbench.plural import describe_count

if TYPE_CHECKING:
    from fssbench.contracts.checkpoint import CheckpointHeader, TrainingManifest
    from fssbench.contracts.results import Estimate
    from fssbench.runs.store import StoredRun

Facts = dict[str, Any]

RUN, PLAN, CHECKPOINT = "run", "plan", "checkpoint"
_RUN_FILES = (
    "manifest.json",
    "plan.json",
    "episodes.jsonl",
    "summary.json",
    "sessions.jsonl",
    "panels.jsonl",
)
"""Files of a run folder; each of them stands for the run, except for `plan.json`, which is a plan."""
_PLAN_FORMAT = b'"format": "fssbench-plan/'
_WEIGHTS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")
_HEAD = 4096
"""Bytes at the beginning of a file by which its kind is recognised."""
_IN_COUNTS = ("image_ids", "content_ids")
"""Lists of a training manifest of which only the length is shown."""


def find_file_kind(name: str) -> str | None:
    """Find what a path leads to, by the content: `run`, `plan` or `checkpoint`; None if nothing is there.

    Raises:
        UsageError: for a folder or file of another kind, or a path to nothing.
    """
    path = Path(name)
    if (path / "manifest.json").is_file():
        return RUN
    if path.is_dir():
        if _find_checkpoint_of_training(path).is_file():
            return CHECKPOINT
        if any(path.glob("*/manifest.json")):
            listing = shlex.join(["fssbench", "list", "runs", name])
            raise UsageError(f"{name} holds runs. Next: `{listing}`, then show one of them")
        return None
    if not path.is_file():
        if len(path.parts) > 1 or path.suffix in (*_WEIGHTS, ".json", ".jsonl"):
            raise UsageError(f"{name} does not exist. Next: check the path")
        return None
    head = _read_head(path)
    if head.lstrip().startswith(b"{") and _PLAN_FORMAT in head:
        return PLAN
    if path.name in _RUN_FILES and (path.parent / "manifest.json").is_file():
        return RUN
    if path.suffix in _WEIGHTS or head[8:9] == b"{" or zipfile.is_zipfile(path):
        return CHECKPOINT
    return None


def _read_head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None


def _find_checkpoint_of_training(folder: Path) -> Path:
    return folder / "checkpoint.safetensors"  # `fssbench.training.trainer.CHECKPOINT`, which needs torch


def describe_plan(name: str) -> Facts:
    """Describe a plan: what it draws from, its classes with the number of their episodes, marks and hash.

    Raises:
        DataError: if it is not a plan, or was changed.
    """
    from fssbench.episodes.plan_file import collect_plan_facts, read_plan

    plan = read_plan(Path(name))
    facts = collect_plan_facts(plan)
    per_class = Counter(episode.class_id for episode in plan)
    del facts["classes"], facts["class_names"]
    return {
        "kind": PLAN,
        "name": name,
        **facts,
        "marks": list(map(str, plan.marks)),
        "classes": {
            f"{class_id} {title}": describe_count(per_class[class_id], "episode")
            for class_id, title in zip(plan.classes, plan.class_names, strict=True)
        },
        "episodes": len(plan),
        "queries": len({episode.query for episode in plan}),
        "images": len({item for episode in plan for item in (episode.query, *episode.supports)}),
        "sha256": plan.sha256,
    }


def describe_run(name: str) -> Facts:
    """Describe a run: method, training, backbone, figures with interval, marks and hashes, then its whole manifest.

    Raises:
        DataError: if it is not a run, or is damaged.
    """
    from fssbench.runs.store import read_run

    path = Path(name)
    run = read_run(path if path.is_dir() else path.parent)
    block, context = run.manifest.block, run.manifest.context
    training = context.training.as_stored() if context.training is not None else None
    return {
        "kind": RUN,
        "name": run.slug,
        "method": context.label,
        "benchmark": f"{block.benchmark}, fold {block.fold}, {block.shot}-shot, seed {block.seed}",
        "protocol": f"{block.protocol}, {block.size} px, counted at the {block.score_size} size",
        "status": run.status,
        "episodes": f"{run.done} of {run.planned}",
        **_describe_figures(run),
        "backbone": f"{block.backbone}, weights {context.weights}" if block.backbone else "its own",
        **({"pretraining": dict(context.pretraining)} if context.pretraining else {}),
        "checkpoint": context.checkpoint or "none",
        "trained": training or "no training is recorded",
        "hashes": {
            "identity": run.identity,
            "plan": run.plan.sha256,
            "data": block.data_sha256,
            "method": block.source_sha256,
            "head weights": block.head_sha256,
            "backbone weights": block.weights_sha256,
            "checkpoint": context.checkpoint_sha256,
        },
        **run.manifest.as_stored(),
    }


def _describe_figures(run: StoredRun) -> Facts:
    """Return scores with intervals and all marks; a shard, or a run without episodes, has no interval."""
    from fssbench.analysis.collect import collect
    from fssbench.runs.summary import score_run

    score = score_run(run)
    shown: Facts = {"marks": list(map(str, score.marks))}
    if not run.records:
        return {"mIoU": "none: no episode is stored", **shown}
    if run.manifest.block.shard:
        why = "(no interval: a shard; join the shards with `fssbench merge`)"
        return {"mIoU": f"{score.miou:.2f} {why}", "FB-IoU": f"{score.fb_iou:.2f} {why}", **shown}
    (result,) = collect([run.path]).runs
    return {"mIoU": _format_estimate(result.miou), "FB-IoU": _format_estimate(result.fb_iou), **shown}


def _format_estimate(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        why = f" (no interval: {estimate.shortage})" if estimate.shortage else " (no interval)"
        return f"{estimate.value:.2f}{why}"
    return f"{estimate.value:.2f} (95 % interval {estimate.low:.2f} to {estimate.high:.2f})"


def describe_checkpoint(name: str) -> Facts:
    """Describe a file of weights: of fssbench with its training, or of another origin by its entries.

    Raises:
        DataError: if it is damaged, or holds something other than tensors.
    """
    from fssbench.files.hashing import hash_weights_file

    path = Path(name)
    path = _find_checkpoint_of_training(path) if path.is_dir() else path
    known = {"kind": CHECKPOINT, "name": str(path)}
    size = f"{path.stat().st_size / 2**20:.2f} MiB"
    facts = _describe_safetensors(path) if path.suffix == ".safetensors" else _describe_torch_file(path)
    return {**known, **facts, "size": size, "sha256": hash_weights_file(path)}


def _describe_safetensors(path: Path) -> Facts:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            shapes = {key: tuple(each.get_shape()) for key, each in slices.items()}
            types = sorted({each.get_dtype() for each in slices.values()})
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(
            f"{path} is not a complete safetensors file ({error}). Next: download or write it again"
        ) from None
    entries = _describe_entries(shapes, types)
    if "fssbench" in metadata:
        return {**_describe_header(path, metadata["fssbench"]), **entries}
    if "fssbench_training" in metadata:
        return {
            "what": "state of an unfinished training; `fssbench train` resumes it, and no run can load it",
            **entries,
        }
    return {
        "what": "weights of another origin, without a header of fssbench",
        "metadata": metadata,
        **entries,
    }


def _describe_header(path: Path, text: str) -> Facts:
    """Describe our own checkpoint by its header."""
    from fssbench.contracts.checkpoint import CheckpointHeader

    try:
        header = CheckpointHeader.read_stored(json.loads(text))
    except (ValueError, RecursionError):
        raise DataError(
            f"checkpoint {path} has a damaged fssbench header. Next: download it or train it again"
        ) from None
    manifest = header.manifest
    stage = f", stage {manifest.stage}" if manifest.stage else ""
    return {
        "what": f"checkpoint of fssbench, format {header.format}",
        "method": f"{header.method}{stage}",
        "backbone": _describe_backbone(header),
        "settings": header.config,
        "trained": _summarise_training(manifest),
        "marks": list(map(str, manifest.marks)),
        "training": _shorten_manifest(manifest),
        "to use it": _compose_use(path, header),
    }


def _compose_use(path: Path, header: CheckpointHeader) -> str:
    """Compose the command that uses a checkpoint: a run, or the training after its stage."""
    verb, option = ("run", "--checkpoint") if header.manifest.stage is None else ("train", "--start")
    words = ["fssbench", verb, "--method", str(header.method)]
    words += ["--backbone", header.backbone] if header.backbone else []
    benchmark = header.manifest.benchmark
    if benchmark is not None and "@" in benchmark:  # it was defined in a file
        benchmark = f"{benchmark.partition('@')[0]}.toml"
    words += ["--benchmark", benchmark] if benchmark else []
    return shlex.join([*words, option, str(path)])


def _describe_backbone(header: CheckpointHeader) -> str:
    if header.backbone is None:
        return "none: the method has its own encoder"
    weights = (
        f"weights {header.weights} ({(header.weights_sha256 or '')[:12]})"
        if header.weights
        else "in this file"
    )
    return f"{header.backbone}, layout {header.layout}, {weights}"


def _summarise_training(manifest: TrainingManifest) -> str:
    """Describe a training in one sentence; facts that the file lacks are left out."""
    facts = [
        f"for {manifest.benchmark} fold {manifest.fold}" if manifest.benchmark else "",
        f"{manifest.steps} of {manifest.steps_planned} steps" if manifest.steps is not None else "",
        f"{describe_count(manifest.images, 'image')} of {manifest.dataset}"
        if manifest.images is not None
        else "",
        describe_count(len(manifest.classes), "class", "classes") if manifest.classes else "",
        f"{manifest.size} px" if manifest.size is not None else "",
        f"{manifest.shot}-shot" if manifest.shot is not None else "",
        f"chosen by {manifest.selection}" if manifest.selection else "",
        f"validation mIoU {manifest.validation_miou:.2f}" if manifest.validation_miou is not None else "",
    ]
    return ", ".join(filter(None, facts)) or "nothing is recorded"


def _shorten_manifest(manifest: TrainingManifest) -> Facts:
    stored = manifest.as_stored()
    return {
        k: f"{len(v)} hashes" if k in _IN_COUNTS and isinstance(v, list) else v for k, v in stored.items()
    }


def _describe_torch_file(path: Path) -> Facts:
    """Describe a file of torch, which is read without unpickling code."""
    from fssbench.files.state_dicts import read_state_dict

    state = read_state_dict(path)
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    types = sorted({str(value.dtype).removeprefix("torch.") for value in state.values()})
    return {
        "what": "weights of another origin in a file of torch, read without executing code",
        **_describe_entries(shapes, types),
    }


def _describe_entries(shapes: dict[str, tuple[int, ...]], types: list[str]) -> Facts:
    parts = Counter(name.partition(".")[0] for name in shapes)
    return {
        "tensors": len(shapes),
        "values": sum(math.prod(shape) for shape in shapes.values()),
        "types": types,
        "parts": [f"{part} ({count})" for part, count in parts.items()],
    }
