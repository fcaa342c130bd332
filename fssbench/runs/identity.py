"""Makes the identity and the context of a run, with the marks that are known before its first episode.

The identity holds everything that can change a figure; two runs with equal identity are the same measurement.
The context records where and how the run was made, and is never compared.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from fssbench.benchmarks.catalogue import find_plan_benchmark
from fssbench.contracts.ablations import default_ablation_label
from fssbench.contracts.datasets import Dataset
from fssbench.contracts.episodes import Plan
from fssbench.contracts.precision import DTYPES, Precision
from fssbench.contracts.run_manifest import Context, Identity, RunManifest
from fssbench.data.data_files import DataFiles
from fssbench.data.picture_names import Pictures
from fssbench.files.plain_names import make_plain_name
from fssbench.installed import find_version
from fssbench.runs.early_marks import (
    make_copy_marks,
    make_method_marks,
    make_size_marks,
    make_support_marks,
    make_training_marks,
    read_plan_pictures,
)
from fssbench.runs.redaction import identify_value, redact, redact_value
from fssbench.runs.training_record import summarise_training

if TYPE_CHECKING:
    from fssbench.contracts.methods import Method

ENGINE = "1"
"""Version of the evaluation rules: resize, binarisation, decision, counting."""

COMMAND = uuid4().hex[:12]
"""Id of this process, so that the folds of one command can be distinguished from those of another."""
_PACKAGES = ("fssbench", "torch", "torchvision", "numpy", "pillow", "pydantic", "scipy", "timm")
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG")


def hash_plan_files(dataset: Dataset, plan: Plan) -> DataFiles:
    """Hash the files that a plan reads; `sha256` of the result covers their bytes by item.

    Raises:
        DataError: if files of the plan are missing, with their number.
    """
    return DataFiles(dataset, (i for e in plan for i in (e.query, *e.supports)), plan.benchmark)


def make_identity(
    plan: Plan,
    method: Method,
    *,
    data: str,
    reader: str,
    distributions: Mapping[str, str],
    absent: str,
    score_size: str,
    device: str,
    precision: Precision = "float32",
    batch: int = 1,
    shard: tuple[int, int] | None = None,
) -> Identity:
    """Collect everything that can change a figure of `method` on `plan`.

    Args:
        plan: the full plan, before sharding.
        method: the loaded method; its weights are hashed here.
        data: hash over the bytes of the data, see `hash_plan_files`.
        reader: hash over the source of the data set plugin.
        distributions: versions of the packages that method, backbone and data set import, but not fssbench.
            Packages that fssbench imports (torch, numpy, pillow, ...) are equal for all methods; they are in the
            context, so that a run can be resumed after an upgrade.
        absent: rule for classes without pixels in the mIoU.
        score_size: `input` or `original`.
        device: device type, such as `cpu`.
        precision: of products and convolutions.
        batch: episodes that the method predicts together.
        shard: part i of n (1-based) of the plan; None for the whole plan.
    """
    from fssbench.contracts.methods import (
        collect_method_weights,  # these import torch, which `merge` does without
    )
    from fssbench.files.state_dicts import digest_state

    provenance = method.provenance
    backbone = method.backbone
    # a run without these has no such fields, so its identity is the same as before they existed
    optional: dict[str, Any] = {"shard": shard} if shard else {}
    if plan.support_sets > 1:
        optional["support_sets"] = plan.support_sets
    if method.card.input_size not in (None, plan.size):
        optional["input_size"] = method.card.input_size
    if backbone:
        optional["backbone_source_sha256"] = provenance.backbone_source_sha256
    if provenance.companions:
        optional["companions"] = dict(provenance.companions)
    return Identity(
        benchmark=plan.benchmark,
        benchmark_version=plan.version,
        dataset=plan.dataset,
        dataset_variant=plan.dataset_variant,
        split=plan.split,
        lists=plan.lists,
        data_sha256=data,
        reader_sha256=reader,
        fold=plan.fold,
        shot=plan.shot,
        protocol=plan.protocol,
        seed=plan.seed,
        classes=plan.classes,
        episodes=len(plan),
        episodes_sha256=plan.sha256,
        size=plan.size,
        score_size=score_size,
        absent=absent,
        engine=ENGINE,
        method=method.card.name,
        method_version=provenance.method_version,
        source_sha256=provenance.source_sha256,
        distributions=dict(sorted(distributions.items())),
        config=identify_value("", method.config.model_dump(mode="json")),
        head_sha256=digest_state(collect_method_weights(method)),
        backbone=backbone.name if backbone else None,
        layout=backbone.layout if backbone else None,
        weights_sha256=backbone.weights_sha256 if backbone else None,
        batch=batch,
        dtype=DTYPES[precision],
        device=device,
        **optional,
    )


def make_context(method: Method, plan: Plan, pictures: Pictures | None = None) -> Context:
    """Record where and how a run is made: versions, machine, arguments.

    The record holds no user name, host name or secret, and only the last part of an absolute path.

    Args:
        method: the loaded method.
        plan: the plan that is measured.
        pictures: the pictures of the plan, if they were read before.
    """
    import torch

    from fssbench.loading.pretraining import list_pretraining

    pictures = read_plan_pictures(plan) if pictures is None else pictures
    resolved = find_plan_benchmark(plan)
    provenance = method.provenance
    optional: dict[str, Any] = {}
    if provenance.companions:
        optional["companion_weights"] = dict(provenance.companion_weights)
    return Context(
        created_utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
        command=COMMAND,
        arguments=tuple(redact(sys.argv[1:])),
        label=make_label(method),
        title=method.card.title,
        kind=method.card.kind,
        benchmark_title=resolved.title,
        category=resolved.benchmark.category,
        folds=len(resolved.folds),
        ablations=provenance.ablations,
        ablation_labels=list_ablation_labels(method),
        config_passed=redact_value("", provenance.config_passed),
        weights=backbone.weights if (backbone := method.backbone) else None,
        pretraining=list_pretraining(method),
        sources=provenance.sources,
        checkpoint=redact_value("", provenance.checkpoint),
        checkpoint_sha256=provenance.checkpoint_sha256,
        training=summarise_training(provenance.training),
        learnable=provenance.learnable,
        parameters=sum(p.numel() for p in method.parameters()),
        marks=(
            *plan.marks,
            *make_support_marks(plan, pictures),
            *make_copy_marks(plan, pictures),
            *make_method_marks(method),
            *make_size_marks(method, plan.size),
            *make_training_marks(method, plan, pictures),
        ),
        packages={name: find_version(name) for name in _PACKAGES},
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processors=os.cpu_count(),
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        variables={name: os.environ[name] for name in _VARIABLES if name in os.environ},
        **optional,
    )


def make_label(method: Method) -> str:
    """Return the name of a method with its ablations and the settings that were given."""
    provenance = method.provenance
    return compose_label(
        method.card.name,
        list_ablation_labels(method),
        redact_value("", provenance.config_passed),
    )


def list_ablation_labels(method: Method) -> tuple[str, ...]:
    """List the labels of the ablations with which a method was loaded."""
    ablations = type(method).Config.ablations
    return tuple(ablations[name].label for name in method.provenance.ablations)


def compose_label(name: str, labels: Iterable[str], passed: Mapping[str, Any]) -> str:
    """Compose the name of a method from the labels of its ablations and the given settings, as reports print it."""
    parts = [*labels]
    parts += [f"{key}={value}" for key, value in sorted(passed.items())]
    return name + (f" ({', '.join(parts)})" if parts else "")


def make_run_slug(manifest: RunManifest) -> str:
    """Make a readable folder name of a run; the beginning of its identity makes it unique.

    It contains the names of ablations and not their labels: a label may be reworded, and the folder must then be
    found again.
    """
    identity, context = manifest.block, manifest.context
    names = map(default_ablation_label, context.ablations)
    parts = [
        identity.benchmark,
        f"f{identity.fold}",
        f"{identity.shot}shot",
        compose_label(identity.method, names, context.config_passed),
        identity.backbone or "own",
    ]
    if identity.support_sets:
        parts.append(f"{identity.support_sets}sets")
    if identity.shard:
        parts.append("shard{}of{}".format(*identity.shard))
    name = make_plain_name("-".join(parts).lower(), keep="._").strip("-.")
    return f"{name[:120]}-{manifest.identity[:12]}"
