"""Hybrid masking: its three rules, its host, and the laws of a method on pixels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from fssbench.methods.hm import HybridMasking, Masking, extract_object
from fssbench.methods.hsnet import HSNet
from torch import Tensor
from torch.nn import functional
from undrawn_weights import load_undrawn

import fssbench
from fssbench.api import DataError


def build(tiny: Any, **config: Any) -> HybridMasking:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return HybridMasking(HybridMasking.Config(**config), tiny()).eval()


def close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-4 * b.abs().max())


def test_parameter_count_is_the_hosts() -> None:
    method = load_undrawn("hm", backbone="resnet50", weights="random")
    assert method.provenance.learnable == 2_573_794
    assert method.provenance.parameters == 2_573_794 + 23_508_032


@torch.no_grad()
@pytest.mark.parametrize("masking", ["feature", "input", "hybrid"])
def test_rules_by_definition(tiny: Any, episodes: Any, masking: Masking) -> None:
    backbone = tiny()
    _, images, masks = episodes(batch=2)
    image, mask = images[:, 0], masks[:, 0]
    result = extract_object(backbone, ["2-1", "4-0"], image, mask, masking)
    for tap, maps in result.items():
        small = functional.interpolate(masks, maps.shape[-2:], mode="bilinear", align_corners=True)
        feature = backbone(image, [tap])[tap] * small
        blanked = torch.where(masks == 1, image, torch.zeros(()))
        inside = backbone(blanked, [tap])[tap]
        hybrid = feature.clone()
        hybrid[feature <= 0] = inside[feature <= 0]
        assert torch.allclose(
            maps, {"feature": feature, "input": inside, "hybrid": hybrid}[masking], atol=1e-6
        )


@torch.no_grad()
@pytest.mark.parametrize("shots", [1, 3])
def test_feature_masking_is_the_host_itself(tiny: Any, episodes: Any, shots: int) -> None:
    method = build(tiny, masking="feature")
    host = HSNet(HSNet.Config(), tiny()).eval()
    host.hpn_learner.load_state_dict(method.host.hpn_learner.state_dict())
    episode = episodes(batch=2, shots=shots)
    assert torch.allclose(method.predict(*episode), host.predict(*episode), rtol=0, atol=1e-6)
    assert torch.equal(method.segment(*episode), host.segment(*episode))


@torch.no_grad()
def test_ablations_change_the_output(tiny: Any, episodes: Any) -> None:
    full = build(tiny).predict(*episodes())
    for ablation in HybridMasking.Config.ablations.values():
        assert not close(build(tiny, **ablation.settings).predict(*episodes()), full)


@torch.no_grad()
@pytest.mark.parametrize("shots", [1, 2])
def test_a_batch_equals_its_episodes_one_by_one(tiny: Any, episodes: Any, shots: int) -> None:
    method = build(tiny)
    query, support, mask = episodes(batch=3, shots=shots)
    apart = [method.predict(query[b : b + 1], support[b : b + 1], mask[b : b + 1]) for b in range(3)]
    assert close(method.predict(query, support, mask), torch.cat(apart))


@torch.no_grad()
def test_order_of_supports_does_not_matter_and_masks_do(tiny: Any, episodes: Any) -> None:
    method = build(tiny)
    query, support, mask = episodes(shots=3, size=97)
    usual, order = method.predict(query, support, mask), [2, 0, 1]
    assert close(method.predict(query, support[:, order], mask[:, order]), usual)
    assert torch.equal(
        method.segment(query, support[:, order], mask[:, order]), method.segment(query, support, mask)
    )
    assert not close(method.predict(query, support, 1 - mask), usual)
    assert usual.shape == (1, 2, 97, 97)


def test_every_learnable_parameter_gets_a_gradient(tiny: Any, episodes: Any) -> None:
    method = build(tiny).train()
    method.predict(*episodes(batch=2)).square().mean().backward()
    learnable = [(n, p) for n, p in method.named_parameters() if p.requires_grad]
    assert [n for n, p in learnable if p.grad is None] == []
    assert not any("backbone" in n for n, _ in learnable)


def test_the_backbone_is_held_once(tiny: Any) -> None:
    names = {name.partition(".")[0] for name in build(tiny).state_dict() if "blocks" in name}
    assert names == {"backbone"}


def test_no_backbone_is_told() -> None:
    with pytest.raises(DataError, match="needs a backbone"):
        HybridMasking(HybridMasking.Config())


def test_the_authors_file_is_laid_out_as_the_hosts(tmp_path: Path) -> None:
    host = fssbench.load_method("hsnet", backbone="vgg16", weights="random", seed=1)
    torch.save({f"module.{k}": v for k, v in host.state_dict().items()}, tmp_path / "best_model.pt")
    method = load_undrawn("hm", backbone="vgg16", checkpoint=tmp_path / "best_model.pt", seed=2)
    for name, value in host.state_dict().items():
        own = name if name.startswith("backbone.") else f"host.{name}"
        assert torch.equal(method.state_dict()[own], value)


@pytest.mark.parametrize(("guidance", "learnable"), [("pascal", 3_180_954), ("coco", 3_006_490)])
def test_vat_may_be_the_host(guidance: str, learnable: int) -> None:
    method = load_undrawn("hm", weights="random", host="vat", guidance=guidance)
    assert method.provenance.learnable == learnable


@torch.no_grad()
def test_vat_is_masked_before_its_features_are_resized(tiny: Any, episodes: Any) -> None:
    method = build(tiny, host="vat", masking="feature")
    method.host._sides = {
        tap: side // 2 for tap, side in method.host._sides.items()
    }  # a quarter of the cells
    query, support, mask = episodes()
    cells, objects = tiny()(query, method.host.taps.query), tiny()(support[:, 0], method.host.taps.support)
    under = {
        tap: maps * functional.interpolate(mask, maps.shape[-2:], mode="bilinear", align_corners=True)
        for tap, maps in objects.items()
    }
    logits = method.logits(cells, support, mask)
    assert torch.allclose(logits, method.host.match(cells, under), atol=1e-6)


def test_an_open_host_is_that_of_the_authors_file(tmp_path: Path) -> None:
    vat = fssbench.load_method("hm", weights="random", host="vat", seed=1)
    state = {k.removeprefix("host.head."): v for k, v in vat.state_dict().items()}
    theirs = {k if k.startswith("backbone.") else _vat_name(k): v for k, v in state.items()}
    torch.save({"state_dict": theirs}, tmp_path / "best_model.pt")
    method = load_undrawn("hm", checkpoint=tmp_path / "best_model.pt", seed=2)
    assert all(torch.equal(v, vat.state_dict()[k]) for k, v in method.state_dict().items())
    assert method.provenance.config["host"] == "vat"
    assert method.provenance.learnable == 3_180_954
    with pytest.raises(DataError, match="do not fit"):
        fssbench.load_method("hm", checkpoint=tmp_path / "best_model.pt", host="hsnet")


def _vat_name(own: str) -> str:
    """A name of VAT's release, from its parts; the patterns themselves are tested with VAT."""
    inside = ".blocks." in own
    pairs = {
        r"^embed\.(\d)\.": r"encoders.\1.conv4d.",
        r"\.query\.": ".query_conv.",
        r"\.support\.": ".supp_conv.",
        r"^mix\.(\d)\.": r"transformer.\1.transformer." + ("layer." if inside else ""),
        r"^refine\.(\d)\.": r"swin_decoder.\1.0.transformer." + ("layers.0." if inside else ""),
        r"^reduce\.(\d)\.": r"swin_decoder.\1.1.",
        r"^decode\.": "decoder.",
        r"^guide\.": "proj_query_feat.",
    }
    for pattern, theirs in pairs.items():
        own = re.sub(pattern, theirs, own)
    return f"hpn_learner.ours.{own}"
