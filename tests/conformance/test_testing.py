from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fssbench_toys.discs import ToyDiscs
from fssbench_toys.methods import ToyColour, ToyPrototype
from fssbench_toys.text import ToyText
from torch import Tensor, nn

from fssbench.api import (
    Dataset,
    EncodingMethod,
    FeatureMethod,
    Features,
    Finding,
    ImageMethod,
    MethodConfig,
    Taps,
)
from fssbench.plugins.registry import DATASETS, METHODS
from fssbench.testing import check_dataset, check_method, check_reporter


def failing(results: list) -> dict[str, str]:
    return {r.check: r.reason for r in results if r.status == "fail"}


@pytest.mark.parametrize("cls", [ToyPrototype, ToyColour])
def test_toys_keep_the_contract_quickly(cls: type) -> None:
    started = time.monotonic()
    results = check_method(cls)
    assert failing(results) == {}
    assert len(results) >= 25
    assert all(r.contract.endswith(".") and "\n" not in r.contract for r in results)
    assert time.monotonic() - started < 60


def test_a_method_that_encodes_images_keeps_the_contract() -> None:
    results = {result.check: result for result in check_method(Encodes)}
    assert failing([*results.values()]) == {}
    assert results["encodes_images_alone"].status == "pass"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chestxray", "coco", "deepglobe", "fss1000", "isic2018", "pascal", "suim"])
def test_built_in_data_sets_keep_the_contract(name: str) -> None:
    assert failing(check_dataset(DATASETS.get(name))) == {}


class Base(ToyColour):
    """A correct image method for the broken ones below."""


class NaN(Base):
    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        return super().logits(query, support, support_mask) * float("nan")


class OneChannel(Base):
    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        return super().logits(query, support, support_mask)[:, :1]


class Integers(Base):
    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        return super().logits(query, support, support_mask).long()


class Noisy(Base):
    """Its own generator goes on: the harness cannot seed it."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.generator = torch.Generator().manual_seed(0)

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        result = super().logits(query, support, support_mask)
        return result + torch.rand(result.shape, generator=self.generator)


class BatchCoupled(Base):
    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        result = super().logits(query, support, support_mask)
        return result - result.mean(dim=0, keepdim=True)


class Encodes(EncodingMethod, Base):
    """The same colours, each image scaled by itself."""

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        return {"scaled": images / (1 + images.abs().amax(dim=(1, 2, 3), keepdim=True))}

    def match(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        return Base.logits(self, query["scaled"], support["scaled"], support_mask)


class EncodesCoupled(Encodes):
    def encode(self, images: Tensor) -> dict[str, Tensor]:
        return {"scaled": images - images.mean(dim=0, keepdim=True)}


class EncodesLess(Encodes):
    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        return super().logits(query, support, support_mask) + (0 if isinstance(query, dict) else 1e-2)


class FirstSupport(Base):
    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        return super().logits(query, support[:, :1], support_mask[:, :1])


class WaivedFirstSupport(FirstSupport):
    waivers = {"support_order": "looks at the first support only"}


class Saliency(Base):
    """Segments what is bright, whatever the supports show."""

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        bright = query.mean(dim=1)
        return torch.stack([-bright, bright], dim=1)


class WaivedSaliency(Saliency):
    waivers = {"support_matters": "a lower bound"}


class InPlace(Base):
    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        return super().logits(query.mul_(1.0), support, support_mask)


class BatchNorm(Base):
    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.norm = nn.BatchNorm2d(3)

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        self.norm.train()
        self.norm(query)
        return super().logits(query, support, support_mask)


class Remembers(Base):
    seen: Tensor | None = None

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        result = super().logits(query, support, support_mask)
        before, self.seen = self.seen, query
        return result if before is None or before.shape != query.shape else result + before.mean()


class OutsideState(Base):
    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.weight = torch.rand(())

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        return super().logits(query, support, support_mask) * self.weight


class Gradient(Base):
    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        torch.set_grad_enabled(True)
        return super().logits(query, support, support_mask)


class Doubles(Base):
    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        torch.set_default_dtype(torch.float64)
        return super().logits(query, support, support_mask)


class Exits(Base):
    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        raise SystemExit(0)


class Peeks(Base):
    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor, truth: Tensor = None) -> Tensor:
        return super().logits(query, support, support_mask)


class DividesByMask(Base):
    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        area = support_mask.sum(dim=(1, 2, 3)).view(-1, 1, 1, 1)
        return super().logits(query, support, support_mask) / area


class NoTitle(Base):
    card = ToyColour.card.model_copy(update={"title": "", "name": "Bad Name"})


class NeedsSetting(Base):
    class Config(MethodConfig):
        given: int


class EmptyAblation(Base):
    class Config(MethodConfig):
        width: int = 3
        ablations = {"nothing": {"width": 3}}


class NoSuchTap(ToyPrototype):
    @property
    def taps(self) -> Taps:
        return Taps(("layer9.9",), ("layer9.9",))


class Thaws(ToyPrototype):
    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.backbone.requires_grad_(True)


BROKEN = [
    (NaN, "one_shot", "NaN or infinite"),
    (OneChannel, "one_shot", r"shape \(1, 1, 64, 64\), expected .*2, h, w"),
    (Integers, "one_shot", "torch.int64"),
    (Noisy, "same_twice", "logits differ by"),
    (BatchCoupled, "batch_equals_single", "batch of 3"),
    (EncodesCoupled, "encodes_images_alone", "beside another image"),
    (EncodesLess, "encodes_images_alone", "prediction from encoded images"),
    (FirstSupport, "support_order", "supports reversed"),
    (Saliency, "support_matters", "same for 3 episodes"),
    (InPlace, "inputs_untouched", "changed query in place"),
    (BatchNorm, "weights_untouched", "norm.running_mean"),
    (Remembers, "no_memory", "after another episode"),
    (OutsideState, "state_dict_round_trip", "reloaded"),
    (Gradient, "needs_no_gradient", "grad mode"),
    (Doubles, "settings_untouched", "default dtype"),
    (Exits, "five_shot", "SystemExit: 0"),
    (Peeks, "sees_no_answer", "truth"),
    (DividesByMask, "extreme_masks", "NaN or infinite"),
    (NoTitle, "card_is_complete", "Bad Name"),
    (NeedsSetting, "config_round_trip", "ValidationError"),
    (EmptyAblation, "ablations_apply", "'nothing' changes nothing"),
    (NoSuchTap, "taps_exist", "no tap layer9.9"),
    (Thaws, "backbone_is_frozen", "require a gradient"),
]


@pytest.fixture
def _settings_restored() -> Iterator[None]:
    dtype = torch.get_default_dtype()
    yield
    torch.set_default_dtype(dtype)
    torch.set_grad_enabled(True)


@pytest.mark.usefixtures("_settings_restored")
@pytest.mark.parametrize(("cls", "check", "reason"), BROKEN, ids=[c.__name__ for c, _, _ in BROKEN])
def test_a_broken_method_fails_the_check_that_names_it(cls: type, check: str, reason: str) -> None:
    result = failing(check_method(cls))
    assert check in result
    assert __import__("re").search(reason, result[check]), result[check]


def test_a_waived_check_is_skipped_with_its_reason() -> None:
    results = {r.check: r for r in check_method(WaivedFirstSupport)}
    assert results["support_order"].status == "skip"
    assert results["support_order"].reason.startswith("waived: looks at the first support only")


def test_a_lower_bound_that_ignores_its_supports_says_so() -> None:
    results = {r.check: r for r in check_method(WaivedSaliency)}
    assert results["support_matters"].status == "skip"
    assert {r.check for r in results.values() if r.status == "fail"} == set()


@pytest.mark.parametrize(("name", "status"), [("all-foreground", "skip"), ("copy-mask", "pass")])
def test_the_built_in_bounds_differ_in_what_they_read(name: str, status: str) -> None:
    results = {r.check: r.status for r in check_method(METHODS.get(name))}
    assert results["support_matters"] == status


def test_global_state_is_left_alone() -> None:
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    wanted = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    check_method(ToyColour)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == wanted


def test_an_unknown_backbone_is_told() -> None:
    result = failing(check_method(ToyPrototype, backbone="resnet5"))
    assert "Did you mean resnet50" in result["builds"]


def test_data_set_toy_keeps_the_contract() -> None:
    results = check_dataset(ToyDiscs)
    assert failing(results) == {}
    assert {r.status for r in results} == {"pass"}


class Writes(ToyDiscs):
    def image(self, item: str) -> object:
        (self.path("") / "cache.txt").write_text(item)
        return super().image(item)


class Shuffles(ToyDiscs):
    def pool(self, split: str) -> object:
        pool = super().pool(split)
        entries = list(pool.entries)
        random.shuffle(entries)
        return type(pool)(tuple(entries), pool.source)


class GreyMask(ToyDiscs):
    def mask(self, item: str, class_id: int) -> object:
        return super().mask(item, class_id) * 128


class Blind(ToyDiscs):
    def verify(self) -> object:
        report = super().verify()
        report.findings.clear()
        return report


class Trades(ToyDiscs):
    """Warns of its size, unless there is something worse."""

    def verify(self) -> object:
        report = super().verify()
        if not report.findings:
            report.findings.append(Finding("warning", "images", "fewer than published", "get the rest"))
        return report


class Recounts(Blind):
    """Says how many files there are, and nothing of damage."""

    def verify(self) -> object:
        report = super().verify()
        size = sum(path.stat().st_size for path in report.root.rglob("*") if path.is_file())
        report.findings.append(Finding("warning", "images", f"{size} bytes", "none"))
        return report


class AnySplit(ToyDiscs):
    def pool(self, split: str) -> object:
        return super().pool("test")


class Unseeded(ToyDiscs):
    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        super().miniature(data, random.randrange(10**9))


@pytest.mark.parametrize(
    ("cls", "check"),
    [
        (Writes, "reading_writes_nothing"),
        (Shuffles, "pools_are_stable"),
        (GreyMask, "images_and_masks_agree"),
        (Blind, "damage_is_found"),
        (Recounts, "damage_is_found"),
        (AnySplit, "unknown_split_is_refused"),
        (Unseeded, "miniature_is_seeded"),
    ],
)
def test_a_broken_data_set_fails_the_check_that_names_it(cls: type, check: str) -> None:
    assert check in failing(check_dataset(cls))


def test_an_error_in_place_of_a_warning_is_a_report_of_damage() -> None:
    assert failing(check_dataset(Trades)) == {}


def test_reporters() -> None:
    assert failing(check_reporter(ToyText)) == {}

    class Elsewhere(ToyText):
        def write(self, results: object, folder: Path) -> list[Path]:
            return [Path(__file__)]

    assert "writes_files" in failing(check_reporter(Elsewhere))


def test_feature_and_image_methods_are_both_covered() -> None:
    assert issubclass(ToyPrototype, FeatureMethod)
    assert issubclass(ToyColour, ImageMethod)


class WithoutMiniature(ToyDiscs):
    """A data set of private images: it has no miniature."""

    miniature = Dataset.miniature


class WithStub(ToyDiscs):
    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("cls", [WithoutMiniature, WithStub])
def test_a_data_set_without_miniature_is_checked_as_far_as_possible(cls: type, tmp_path: Path) -> None:
    results = check_dataset(cls)
    assert failing(results) == {}
    skipped = {r.check: r.reason for r in results if r.status == "skip"}
    assert {"files_verify", "images_and_masks_agree", "damage_is_found"} <= skipped.keys()
    assert all("--data DIR" in reason for reason in skipped.values())


def test_a_data_set_without_miniature_is_checked_on_real_files(tmp_path: Path) -> None:
    ToyDiscs.miniature(tmp_path, 0)
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    results = check_dataset(WithoutMiniature, data=tmp_path)
    assert failing(results) == {}
    assert {r.check for r in results if r.status == "skip"} == {"miniature_is_seeded"}
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_real_files_with_a_fault_fail(tmp_path: Path) -> None:
    ToyDiscs.miniature(tmp_path, 0)
    victim = next(path for path in sorted(tmp_path.rglob("*")) if path.is_file())
    victim.write_bytes(victim.read_bytes()[:20])
    assert "files_verify" in failing(check_dataset(WithoutMiniature, data=tmp_path))
