"""What a run says of itself in `manifest.json`: its identity, and the context in which it was made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from fssbench.contracts.ablations import default_ablation_label
from fssbench.contracts.companions import CompanionIdentity
from fssbench.contracts.marks import Mark
from fssbench.contracts.records import Items, StoredRecord
from fssbench.files.canonical_json import digest

Shard = Annotated[tuple[int, int], Field(strict=False)]
"""Part i of n, counted from 1."""


class Identity(StoredRecord):
    """Everything that can move a number of a run.  Two runs with equal identity are the same measurement."""

    benchmark: str
    """Benchmark id with its variant."""
    benchmark_version: int
    """Version of the benchmark's definition."""
    dataset: str
    """Data set that the episodes are drawn from."""
    dataset_variant: str | None
    """Classes or population with which the data set is opened, if it has any to choose."""
    split: str
    """Split of the data set that the episodes are drawn from."""
    lists: str
    """Where the lists of images came from, in words."""
    data_sha256: str
    """Hash of the bytes of all files that the plan reads, by item."""
    reader_sha256: str
    """Hash of the source of the data set plugin, whose mask rule moves numbers too."""
    fold: int
    """Fold of the benchmark."""
    shot: int
    """Supports per episode."""
    protocol: str
    """How episodes are drawn: protocol id and version, such as `published/1`."""
    seed: int
    """Seed of the episodes."""
    classes: Items[int]
    """Class ids of the fold: mIoU is the mean over them."""
    episodes: int
    """Episodes of the plan, before it is divided into shards."""
    episodes_sha256: str
    """Hash of the episodes: class, query and supports, in order."""
    size: int
    """Side of the square network input in pixels."""
    score_size: str
    """Size at which pixels are counted: `input` or `original`."""
    absent: str
    """What a class without pixels is worth in mIoU: `zero` or `exclude`."""
    engine: str
    """Version of the evaluation rules."""
    method: str
    """Id of the method."""
    method_version: str | None
    """Distribution and version that registers the method, or `file`."""
    source_sha256: str | None
    """Hash of the source of the method plugin."""
    distributions: dict[str, str]
    """Versions of the packages that method, backbone and data set import and fssbench itself does not need."""
    config: dict[str, Any]
    """Every setting of the method; in place of a path a hash of its content, in place of a secret a slow hash."""
    head_sha256: str
    """Hash of the method's own weights, without the backbone."""
    backbone: str | None
    """Id of the backbone; None for a method with its own encoder."""
    layout: str | None
    """Variant of the backbone's architecture."""
    weights_sha256: str | None
    """Hash of the backbone's weights."""
    batch: Annotated[int, Field(ge=1)]
    """Episodes that the method predicts together."""
    dtype: str
    """Number type of the computation."""
    device: str
    """Device type, such as `cpu`."""
    shard: Shard | None = None
    """The part of the plan that the run holds; absent for a whole plan."""
    support_sets: int | None = None
    """Support sets per query; absent if each query has one."""
    input_size: int | None = None
    """Side of the method's own input in pixels; absent if it is `size`."""
    backbone_source_sha256: str | None = None
    """Hash of the source of the backbone plugin; absent without a backbone, and in runs that were stored before
    backbones were plugins."""
    companions: dict[str, CompanionIdentity] | None = None
    """Networks that the method uses beside its backbone, by name; absent without any."""

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON: the identity of the run."""
        return digest(self.as_stored())

    @property
    def absent_rule(self) -> Literal["zero", "exclude"]:
        """What a class without pixels is worth in mIoU."""
        return "exclude" if self.absent == "exclude" else "zero"

    def whole(self) -> Identity:
        """Return the identity of the whole plan of which this run is a shard."""
        stored = self.as_stored()
        stored.pop("shard", None)
        return Identity.read_stored(stored)


class TrainingSummary(StoredRecord):
    """What a run records of the training of its weights: equal for the folds of one training."""

    sha256: str
    """Hash of all facts of the training manifest that the folds of one training share."""
    shot: int | None
    """Supports per episode in training; None if it is not recorded."""
    dataset: str | None = None
    """Data set of the training."""
    seed: int | None = None
    """Seed of the training."""
    size: int | None = None
    """Side of the square network input in training, in pixels."""
    steps_planned: int | None = None
    """Optimiser steps that were planned."""


class Context(StoredRecord):
    """Where and how a run was made.  It is never compared, and it names neither user nor host."""

    label: str
    """Name of the method with its ablations and settings, as reports print it."""
    marks: Items[Mark]
    """What keeps the figures from being benchmark figures, as far as it is known before the first episode."""
    folds: int
    """Folds of the benchmark."""
    ablations: Items[str]
    """Ablations that were asked for."""
    ablation_labels: Items[str] = ()
    """What reports call these ablations; absent in runs that an earlier version stored."""
    weights: str | None
    """Id of the backbone's weights; None for a method with its own encoder."""
    companion_weights: dict[str, str] = {}
    """Ids of the weights of the networks beside the backbone, by name; absent without any."""
    pretraining: dict[str, str] = {}
    """What each network saw in its pretraining, by name (`backbone`, `segmenter`, `own weights`); absent in runs that
    an earlier version stored."""
    learnable: int
    """Parameters that training would change."""
    parameters: int
    """All parameters, the backbone's included."""
    created_utc: str | None = None
    """When the run was begun, in UTC."""
    command: str | None = None
    """Id of the process that began the run."""
    arguments: Items[str] = ()
    """Command line, without secrets and folders."""
    title: str | None = None
    """Name of the method as papers print it."""
    kind: str | None = None
    """How the method compares support and query."""
    benchmark_title: str | None = None
    """Name of the benchmark as reports print it."""
    category: str | None = None
    """Group of benchmarks that it belongs to."""
    config_passed: dict[str, Any] = {}
    """Settings that were given, without secrets and folders."""
    sources: dict[str, str] = {}
    """Hash of each file of the method plugin."""
    checkpoint: str | None = None
    """Name of the checkpoint file; None without a checkpoint."""
    checkpoint_sha256: str | None = None
    """Hash of the checkpoint file."""
    training: TrainingSummary | None = None
    """What the checkpoint says about its training."""
    packages: dict[str, str | None] = {}
    """Versions of the packages that can move numbers; None for one that is not installed."""
    python: str | None = None
    """Version of Python."""
    system: str | None = None
    """Operating system, its release and the processor's architecture."""
    processors: int | None = None
    """Logical processors of the machine."""
    threads: int | None = None
    """Threads that torch used."""
    gpu: str | None = None
    """Model of the accelerator."""
    variables: dict[str, str] = {}
    """Environment variables that move speed or the order of sums."""
    merged: Items[str] = ()
    """Shards that the run was joined from; absent for a run in one piece."""

    @property
    def labels_of_ablations(self) -> tuple[str, ...]:
        """What reports call the ablations of the run, whichever version stored it."""
        if "ablation_labels" in self.model_fields_set:
            return self.ablation_labels
        return tuple(map(default_ablation_label, self.ablations))

    @property
    def loads_no_weights(self) -> bool:
        """Whether the run is known to have loaded no weights of the method; a run that records nothing is not."""
        return "checkpoint" in self.model_fields_set and self.checkpoint is None


class RunManifest(StoredRecord):
    """The content of `manifest.json`."""

    identity: str
    """sha256 of the canonical JSON of `block`."""
    block: Identity
    """Everything that can move a number."""
    context: Context
    """Where and how the run was made."""
    sealed: str | None = None
    """Hash over all that manifest and plan say; written with the file."""

    @classmethod
    def of(cls, identity: Identity, context: Context) -> RunManifest:
        """Make the manifest of a run that is about to begin."""
        return cls(identity=identity.sha256, block=identity, context=context)
