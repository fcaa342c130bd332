"""What must hold for every built-in method, whatever its weights."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fssbench.methods.aaformer import AAFormer
from fssbench.methods.abcnet import ABCNet
from fssbench.methods.asgnet import ASGNet
from fssbench.methods.bam import BAM
from fssbench.methods.cyctr import CyCTR
from fssbench.methods.dcama import DCAMA
from fssbench.methods.fecanet import FECANet
from fssbench.methods.fssdino import FSSDINO
from fssbench.methods.hsnet import HSNet
from fssbench.methods.ifa import IFA
from fssbench.methods.insid3 import INSID3
from fssbench.methods.ipmt import IPMT
from fssbench.methods.linear_probe import LinearProbe
from fssbench.methods.ntrenet import NTRENet
from fssbench.methods.panet import PANet
from fssbench.methods.patnet import PATNet
from fssbench.methods.pfenet import PFENet
from fssbench.methods.pmms import PMMs
from fssbench.methods.pmnet import PMNet
from fssbench.methods.rtd import RTD
from fssbench.methods.scl import SCL
from fssbench.methods.ssp import SSP
from fssbench.methods.vat import VAT
from torch import nn

from fssbench.api import DataError, FeatureMethod, Method
from fssbench.plugins import registry

CASES: dict[str, tuple[type[FeatureMethod], dict[str, Any]]] = {
    "abcnet": (ABCNet, {"heads": 4, "buoys": 3}),
    "fecanet": (FECANet, {"enhance": False}),
    "fssdino": (FSSDINO, {"clusters": 3}),
    "insid3": (INSID3, {"components": 2}),
    "linear-probe": (LinearProbe, {}),
    "rtd": (RTD, {"slots": 3}),
    "dcama": (DCAMA, {"heads": 4}),
    "hsnet": (HSNet, {}),
    "ifa": (IFA, {}),
    "panet": (PANet, {}),
    "patnet": (PATNet, {}),
    "asgnet": (ASGNet, {"ppm_scales": (6, 3), "area": 2}),
    "asgnet-aspp": (ASGNet, {"context": "aspp", "area": 2}),
    "asgnet-average": (ASGNet, {"ppm_scales": (6, 3), "superpixels": 1}),
    "bam": (BAM, {"classes": 3}),
    "ntrenet": (NTRENet, {"ppm_scales": (6, 3)}),
    "aaformer": (AAFormer, {"reduce_dim": 24}),
    "cyctr": (CyCTR, {"reduce_dim": 24}),
    "ipmt": (IPMT, {"reduce_dim": 24}),
    "pfenet": (PFENet, {"ppm_scales": (6, 3)}),
    "pfenet-shares": (PFENet, {"ppm_scales": (1, 0.5)}),
    "rpmms": (PMMs, {}),
    "pmms": (PMMs, {"variant": "pmms"}),
    "pmnet-paper": (PMNet, {}),
    "pmnet-released": (PMNet, {"variant": "released"}),
    "pmnet-onehead-cosine": (PMNet, {"variant": "onehead", "affinity": "cosine"}),
    "pmnet-bare": (PMNet, {"b3dconv": False}),
    "pmnet-foreground": (PMNet, {"background": False}),
    "scl": (SCL, {"ppm_scales": (6, 3)}),
    "vat": (VAT, {"grid": 64}),
    "ssp": (SSP, {}),
    "ssp-refined": (SSP, {"refine": True}),
}

METHODS = tuple(dict.fromkeys(cls for cls, _ in CASES.values()))
ELSEWHERE = {
    "abcdfss": "it learns from each episode's support",
    "all-foreground": "it reads nothing",
    "copy-mask": "it reads no query",
    "dr-adapter": "it reads pixels, because its whole network learns",
    "gf-sam": "it reads images, and chooses points and masks",
    "hera-hls": "it reads pixels, because it changes those of a single support",
    "hm": "it reads masked images besides features",
    "repri": "it learns from each episode's support",
}
"""Methods for which these laws are not written, and why; their own tests say what holds for them."""
_SUPPORT_HEAD = r"(addtional_proj|pred_supp_qry_proj|supp_(init_merge|beta_conv|cls))\..*"
IDLE = {
    "patnet": r"reference_layer\d\.bias",
    "asgnet": r"enrich\.inner_cls\..*|context\.cls_aux\..*",
    "bam": r"kshot_rw\..*",
    "ntrenet": r"enrich\.inner_cls\..*|elimination\.inital_inner_cls\..*|background\.(down_bg|bg_res1|bg_cls)\..*",
    "aaformer": rf"{_SUPPORT_HEAD}|transformer\.supp_level_embed",
    "cyctr": _SUPPORT_HEAD,
    "ipmt": r"(merge_res|ini_cls)\..*|transformer\.(mask_embed|decoder_norm|(decoder_)?cross\w+\.4|ffns\.(4|1\d)|"
    r"layer_norms\.(8|9|2\d))\..*",
    "pfenet": r"enrich\.inner_cls\..*",
    "scl": r"enrich\.inner_cls\..*|supp_init_merge\..*",
    "vat": r"head\.(mix\.\d\.norm|guide\.0\.0)\.(weight|bias)",
}
"""Parameters that the reference has and never uses, or that only other terms of the loss reach (each method's own
test shows that they do)."""
SCALED = {"scl"}
"""Logits of K supports are those of one times a positive number, as the card says."""
SUMMED = {"asgnet", "pmms"}
"""What is added up counts a support given twice twice, as the card says."""
POOLED = {"aaformer", "cyctr"}
"""Tokens of all supports are listed one after the other, and the list is cut, as the card says."""
ACTIVATED = {"aaformer", "asgnet", "bam", "cyctr", "ipmt", "ntrenet", "pfenet", "pmms", "rtd", "scl"}
"""The reference reads features after their activation."""
BOTH = {"fecanet"}
"""The reference reads features before and after their activation."""
TRAINED_ONLY = {("rtd", "contrast")}
"""Ablations of the loss, which change what is learned and not how it predicts."""


SLOW = {"vat": pytest.mark.slow}
"""Too dear for every law in every run; quick ones are in its own file."""


@pytest.fixture(scope="module")
def built() -> dict[str, FeatureMethod]:
    """The methods that the laws have met; each is built once, which takes longer than most laws."""
    return {}


@pytest.fixture(params=[pytest.param(name, marks=SLOW.get(name, ())) for name in CASES])
def method(
    request: pytest.FixtureRequest, tiny: Callable[..., Any], built: dict[str, FeatureMethod]
) -> Method:
    """A method in evaluation mode, which a law must leave as it is."""
    if request.param not in built:
        cls, config = CASES[request.param]
        built[request.param] = build(cls, tiny, **config)
    assert not built[request.param].training
    return built[request.param]


def build(cls: type[FeatureMethod], tiny: Callable[..., Any], **config: Any) -> FeatureMethod:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        method = cls(cls.Config(**config), tiny()).eval()
    if isinstance(method, AAFormer):
        # else its agents are equal to the last bit, and which of them is nearest is noise
        with torch.no_grad():
            method.supp_merge_feat[0].weight.mul_(30)
    return method


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-4 * b.abs().max())


def test_every_built_in_method_has_a_case_or_a_reason() -> None:
    assert {cls.card.name for cls in METHODS} | ELSEWHERE.keys() == set(registry.METHODS.names())


@torch.no_grad()
@pytest.mark.parametrize(("size", "shots"), [(64, 3), (97, 1)])
def test_logits_have_the_input_size(method: Method, episodes: Any, size: int, shots: int) -> None:
    logits = method.predict(*episodes(batch=2, shots=shots, size=size))
    assert logits.shape == (2, 2, size, size)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()
    assert logits.std() > 0


@torch.no_grad()
def test_one_instance_serves_several_sizes(method: Method, episodes: Any) -> None:
    first = method.predict(*episodes(size=64))
    method.predict(*episodes(size=97))
    assert torch.equal(method.predict(*episodes(size=64)), first)


@torch.no_grad()
def test_order_of_supports_does_not_matter(method: Method, episodes: Any) -> None:
    if method.card.name in POOLED:
        pytest.skip("the tokens of all supports are cut from one list, as published")
    query, support, mask = episodes(shots=3)
    order = [2, 0, 1]
    assert close(
        method.predict(query, support[:, order], mask[:, order]), method.predict(query, support, mask)
    )
    assert torch.equal(
        method.segment(query, support[:, order], mask[:, order]), method.segment(query, support, mask)
    )


@torch.no_grad()
def test_the_same_support_twice_is_one_support(method: Method, episodes: Any) -> None:
    if method.card.name in SUMMED | POOLED:
        pytest.skip("likeness or probabilities are summed over supports, or tokens pooled, as published")
    query, support, mask = episodes()
    twice = method.predict(query, support.repeat(1, 2, 1, 1, 1), mask.repeat(1, 2, 1, 1))
    once = method.predict(query, support, mask)
    scale = float((twice * once).sum() / once.square().sum()) if method.card.name in SCALED else 1
    assert scale > 0
    assert close(twice, scale * once)


@torch.no_grad()
@pytest.mark.parametrize("shots", [1, 2])
def test_a_batch_equals_its_episodes_one_by_one(method: Method, episodes: Any, shots: int) -> None:
    query, support, mask = episodes(batch=2, shots=shots)
    together = method.predict(query, support, mask)
    apart = [method.predict(query[b : b + 1], support[b : b + 1], mask[b : b + 1]) for b in range(2)]
    assert close(together, torch.cat(apart))


@torch.no_grad()
def test_features_and_pixels_give_the_same(method: Method, episodes: Any) -> None:
    query, support, mask = episodes(batch=2, shots=2)
    features = method.read(query, support)
    assert torch.equal(method.predict(*features, mask), method.predict(query, support, mask))


@torch.no_grad()
def test_features_and_masks_are_left_alone_and_results_repeat(method: Method, episodes: Any) -> None:
    query, support, mask = episodes(shots=2)
    cells, objects = method.read(query, support)
    before = (
        {t: f.clone() for t, f in cells.items()},
        {t: f.clone() for t, f in objects.items()},
        mask.clone(),
    )
    state = {k: v.clone() for k, v in method.state_dict().items()}
    first = method.predict(cells, objects, mask)
    assert torch.equal(method.predict(cells, objects, mask), first)
    assert all(torch.equal(cells[t], before[0][t]) for t in cells)
    assert all(torch.equal(objects[t], before[1][t]) for t in objects)
    assert torch.equal(mask, before[2])
    assert all(torch.equal(v, state[k]) for k, v in method.state_dict().items())


@torch.no_grad()
def test_no_random_number_is_drawn(method: Method, episodes: Any) -> None:
    inputs = episodes(shots=2)
    before = torch.get_rng_state()
    method.predict(*inputs)
    assert torch.equal(torch.get_rng_state(), before)


@torch.no_grad()
def test_support_and_mask_matter(method: Method, episodes: Any) -> None:
    query, support, mask = episodes(size=97)
    usual = method.predict(query, support, mask)
    assert not close(method.predict(query, support, 1 - mask), usual)
    assert not close(method.predict(query, support.flip(-1), mask), usual)


@torch.no_grad()
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_masks_of_one_value_give_numbers(method: Method, episodes: Any, value: float) -> None:
    query, support, mask = episodes(shots=2)
    assert method.predict(query, support, torch.full_like(mask, value)).isfinite().all()


def test_every_learnable_parameter_gets_a_gradient(method: Method, episodes: Any) -> None:
    if not any(parameter.requires_grad for parameter in method.parameters()):
        assert not method.card.trained
        return
    query, support, mask = episodes(batch=2)
    method = copy.deepcopy(method).train()
    learnable = {n: p for n, p in method.named_parameters() if p.requires_grad}
    logits = method.predict(query, support, mask)
    nn.functional.cross_entropy(logits, mask[:, 0].long()).backward()
    idle = re.compile(IDLE.get(method.card.name, "(?!)"))
    without = [n for n, p in learnable.items() if p.grad is None or not p.grad.isfinite().all()]
    assert [n for n in without if not idle.fullmatch(n)] == []
    assert not any(n.startswith("backbone.") for n in learnable)


@pytest.mark.parametrize("name", list(CASES))
def test_taps_are_before_the_activation_or_all_after_it(
    name: str, tiny: Callable[..., Any], built: dict[str, FeatureMethod]
) -> None:
    cls, config = CASES[name]
    taps = (built[name] if name in built else build(cls, tiny, **config)).taps
    if name in BOTH:
        assert {tap.endswith(".relu") for tap in taps.union} == {True, False}
        return
    after = cls.card.name in ACTIVATED
    assert set(taps.union) <= {t for t in tiny().taps if t.endswith(".relu") == after and t != "stem"}


@torch.no_grad()
@pytest.mark.parametrize("cls", METHODS)
def test_ablations_change_the_output(
    cls: type[FeatureMethod], tiny: Callable[..., Any], episodes: Any
) -> None:
    # ASGNet: a support has superpixels to lose where its object has 150 cells of stride 16
    inputs = episodes(size=513 if cls is ASGNet else 97)
    usual = {} if cls in {ASGNet, FECANet} else next(c for each, c in CASES.values() if each is cls)
    full = stir(build(cls, tiny, **usual)).predict(*inputs)
    for name, ablation in cls.Config.ablations.items():
        result = stir(build(cls, tiny, **usual | ablation.settings)).predict(*inputs)
        assert close(result, full) is ((cls.card.name, name) in TRAINED_ONLY)


def stir(method: Method) -> Method:
    """Move the parameters that start at zero, as a training does; without that they switch their part off."""
    with torch.no_grad():
        for parameter in method.parameters():
            if not parameter.any():
                parameter.fill_(0.3)
    return method


@pytest.mark.parametrize("cls", METHODS)
def test_cards_are_complete(cls: type[FeatureMethod]) -> None:
    card = cls.card
    assert all([card.name, card.title, card.paper, card.reference, card.licence, card.training, card.notes])
    assert 2015 < card.year < 2027
    assert set(cls.Config.model_fields) >= {k for v in cls.Config.ablations.values() for k in v.settings}


@pytest.mark.parametrize(
    ("cls", "stages"),
    [
        *((cls, 2) for cls in (HSNet, PATNet, PMMs, SSP)),
        *((cls, 3) for cls in (AAFormer, ASGNet, CyCTR, DCAMA, IPMT, NTRENet, PFENet, PMNet, SCL, VAT)),
    ],
)
def test_too_few_stages_is_told(cls: type[FeatureMethod], stages: int, tiny: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=rf"'tiny'.* taps in {stages} stages.*needs {stages + 1}"):
        cls(cls.Config(), tiny(stages))


@pytest.mark.parametrize("cls", METHODS)
def test_no_backbone_is_told(cls: type[FeatureMethod]) -> None:
    with pytest.raises(DataError, match="needs a backbone"):
        cls(cls.Config())
