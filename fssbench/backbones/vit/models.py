"""Networks that recent methods use, under short names: DINOv2, DINOv3, CLIP, SAM, and an ImageNet ViT.

Positions follow the authors' code (`positions=hub`) where timm computes others: in DINOv2 without registers, and in
DINOv3's transformers.  Under timm's names (`timm:NAME`) they follow timm.
"""

from __future__ import annotations

from fssbench.api import BackboneCard, PublishedWeights
from fssbench.backbones.vit.network import TimmBackbone

_DINOV3_LICENCE = "DINOv3 licence (Meta): read it before use; it restricts some uses and asks for attribution"
_ANY_MULTIPLE = (
    "sides that {patch} does not divide are resized to the nearest multiple, bilinearly with antialias"
)


class _HubPositions(TimmBackbone):
    """A network whose positions follow the authors' code."""

    positions = "hub"


def _make_card(
    name: str,
    title: str,
    repository: str,
    *,
    tag: str,
    licence: str,
    pretraining: str,
    patch: int | None = None,
    notes: tuple[str, ...] = (),
) -> BackboneCard:
    """Make the card of a network whose weights timm publishes.

    Args:
        name: id that `--backbone` takes.
        title: name as papers print it.
        repository: repository of timm's weights, without the tag.
        tag: tag of the weights, which is their id.
        licence: licence of the weights.
        pretraining: data that the weights were trained on.
        patch: side of the patches; None if every size is taken as it is.
        notes: what a reader of figures should know.
    """
    return BackboneCard(
        name=name,
        title=title,
        licence="Apache-2.0 (timm)",
        weights=(
            PublishedWeights(
                id=tag,
                file="model.safetensors",
                sha256="",
                licence=licence,
                source=f"{pretraining}, weights as timm publishes them",
                origin="hub",
                key=f"timm/{repository}.{tag}",
            ),
        ),
        pretraining=pretraining,
        input=_ANY_MULTIPLE.format(patch=patch) if patch else "images are taken in their size",
        notes=notes,
    )


_HUB_TABLE = (
    "positions=hub: the position table is resampled by the rule of DINOv2's code (bicubic, without antialias, scale "
    "(n + 0.1) / 37). timm's rule moves features by 1 to 3 % at 224 to 406 px; at 518 px both agree. "
    "`timm:vit_{size}_patch14_dinov2.lvd142m` follows timm",
)
_HUB_PERIODS = (
    "positions=hub: rotary periods are rounded to bfloat16, as the released files hold them. timm computes them in "
    "float32, which moves features by 0.1 %. `timm:vit_{size}_patch16_dinov3.lvd1689m` follows timm",
)


def _make_dinov2(size: str, *, registers: bool) -> BackboneCard:
    suffix, title = ("-reg", " with registers") if registers else ("", "")
    return _make_card(
        f"dinov2-{size[0]}{suffix}",
        f"DINOv2 ViT-{size[0].upper()}/14{title}",
        f"vit_{size}_patch14_{'reg4_' if registers else ''}dinov2",
        tag="lvd142m",
        licence="Apache-2.0",
        pretraining="LVD-142M",
        patch=14,
        notes=() if registers else tuple(note.format(size=size) for note in _HUB_TABLE),
    )


def _make_dinov3(size: str) -> BackboneCard:
    return _make_card(
        f"dinov3-{size[0]}",
        f"DINOv3 ViT-{size[0].upper()}/16",
        f"vit_{size}_patch16_dinov3",
        tag="lvd1689m",
        licence=_DINOV3_LICENCE,
        pretraining="LVD-1689M",
        patch=16,
        notes=tuple(note.format(size=size) for note in _HUB_PERIODS),
    )


def _make_dinov3_convnext(size: str) -> BackboneCard:
    return _make_card(
        f"dinov3-convnext-{size[0]}",
        f"DINOv3 ConvNeXt-{size.title()}",
        f"convnext_{size}",
        tag="dinov3_lvd1689m",
        licence=_DINOV3_LICENCE,
        pretraining="LVD-1689M",
    )


def _make_sam(size: str) -> BackboneCard:
    return _make_card(
        f"sam-{size[0]}",
        f"SAM ViT-{size[0].upper()}/16",
        f"samvit_{size}_patch16",
        tag="sa1b",
        licence="Apache-2.0",
        pretraining="SA-1B",
        patch=16,
        notes=(
            "SAM was trained at 1,024 px with the longest side resized and the rest padded; here its position tables "
            "are resampled to the input's size",
            "`blockN.norm` is the neck applied to a block: 256 channels",
        ),
    )


class DINOv2Small(_HubPositions):
    """DINOv2 ViT-S/14."""

    timm_name = "vit_small_patch14_dinov2"
    card = _make_dinov2("small", registers=False)


class DINOv2Base(_HubPositions):
    """DINOv2 ViT-B/14."""

    timm_name = "vit_base_patch14_dinov2"
    card = _make_dinov2("base", registers=False)


class DINOv2Large(_HubPositions):
    """DINOv2 ViT-L/14."""

    timm_name = "vit_large_patch14_dinov2"
    card = _make_dinov2("large", registers=False)


class DINOv2SmallRegisters(TimmBackbone):
    """DINOv2 ViT-S/14 with registers."""

    timm_name = "vit_small_patch14_reg4_dinov2"
    card = _make_dinov2("small", registers=True)


class DINOv2BaseRegisters(TimmBackbone):
    """DINOv2 ViT-B/14 with registers."""

    timm_name = "vit_base_patch14_reg4_dinov2"
    card = _make_dinov2("base", registers=True)


class DINOv2LargeRegisters(TimmBackbone):
    """DINOv2 ViT-L/14 with registers."""

    timm_name = "vit_large_patch14_reg4_dinov2"
    card = _make_dinov2("large", registers=True)


class DINOv3Small(_HubPositions):
    """DINOv3 ViT-S/16."""

    timm_name = "vit_small_patch16_dinov3"
    card = _make_dinov3("small")


class DINOv3Base(_HubPositions):
    """DINOv3 ViT-B/16."""

    timm_name = "vit_base_patch16_dinov3"
    card = _make_dinov3("base")


class DINOv3Large(_HubPositions):
    """DINOv3 ViT-L/16."""

    timm_name = "vit_large_patch16_dinov3"
    card = _make_dinov3("large")


class DINOv3ConvNeXtTiny(TimmBackbone):
    """ConvNeXt-Tiny of DINOv3."""

    timm_name = "convnext_tiny.dinov3_lvd1689m"
    card = _make_dinov3_convnext("tiny")


class DINOv3ConvNeXtBase(TimmBackbone):
    """ConvNeXt-Base of DINOv3."""

    timm_name = "convnext_base.dinov3_lvd1689m"
    card = _make_dinov3_convnext("base")


class SAMBase(TimmBackbone):
    """The image encoder of SAM ViT-B."""

    timm_name = "samvit_base_patch16"
    card = _make_sam("base")


class SAMLarge(TimmBackbone):
    """The image encoder of SAM ViT-L."""

    timm_name = "samvit_large_patch16"
    card = _make_sam("large")


_CLIP_LICENCE = "MIT (OpenAI's code and weights), Apache-2.0 (timm's repository)"
_QUICK = ("the activation is QuickGELU, as in OpenAI's weights; plain GELU moves features by 0.7 %",)


class CLIPBase16(TimmBackbone):
    """The image encoder of OpenAI's CLIP ViT-B/16."""

    timm_name = "vit_base_patch16_clip_quickgelu_224.openai"
    card = _make_card(
        "clip-b16",
        "CLIP ViT-B/16",
        "vit_base_patch16_clip_224",
        tag="openai",
        licence=_CLIP_LICENCE,
        pretraining="WIT-400M (OpenAI's image-text pairs)",
        patch=16,
        notes=_QUICK,
    )


class CLIPLarge14(TimmBackbone):
    """The image encoder of OpenAI's CLIP ViT-L/14."""

    timm_name = "vit_large_patch14_clip_quickgelu_224.openai"
    card = _make_card(
        "clip-l14",
        "CLIP ViT-L/14",
        "vit_large_patch14_clip_224",
        tag="openai",
        licence=_CLIP_LICENCE,
        pretraining="WIT-400M (OpenAI's image-text pairs)",
        patch=14,
        notes=_QUICK,
    )


class AugRegBase16(TimmBackbone):
    """ViT-B/16 of 'How to train your ViT?', trained on ImageNet-21k."""

    timm_name = "vit_base_patch16_224"
    card = _make_card(
        "vit-b16-augreg",
        "ViT-B/16 (AugReg)",
        "vit_base_patch16_224",
        tag="augreg_in21k",
        licence="Apache-2.0",
        pretraining="ImageNet-21k",
        patch=16,
    )
