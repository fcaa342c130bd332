"""Weight files of the authors and of transformers: translated by hand-written tables, back and forth."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fssbench.api import Backbone, DataError
from fssbench.backbones.vit.network import TimmBackbone
from fssbench.loading.backbones import build_backbone

timm = pytest.importorskip("timm")

State = dict[str, Tensor]


class _Tiny(TimmBackbone):
    """Two blocks of a network, so that a file of weights is small."""

    def __init__(self) -> None:
        Backbone.__init__(self)
        self.network = timm.create_model(
            self.timm_name, num_classes=0, depth=2, embed_dim=32, num_heads=2, img_size=28
        )

    @classmethod
    def make(cls, name: str) -> _Tiny:
        """Make one of a network of timm."""
        own = {"timm_name": name, "card": build_backbone_card(name)}
        return type("Tiny", (cls,), own)()


def build_backbone_card(name: str) -> object:
    from fssbench.plugins.registry import BACKBONES

    return BACKBONES.get(f"timm:{name}").card.model_copy(update={"name": name})


def fill(network: torch.nn.Module) -> State:
    """Give every tensor other values, and return them."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in network.state_dict().values():
            value.copy_(torch.randn(value.shape, generator=generator))
    return {name: value.clone() for name, value in network.state_dict().items()}


def split(state: State, rename: dict[str, tuple[str, str, str]]) -> State:
    """Replace entries that join queries, keys and values by three."""
    parts: State = {}
    for name, value in state.items():
        for ending, others in rename.items():
            if name.endswith(ending):
                parts |= dict(
                    zip((name.removesuffix(ending) + other for other in others), value.chunk(3), strict=True)
                )
                break
        else:
            parts[name] = value
    return parts


def replace(state: State, *pairs: tuple[str, str]) -> State:
    """Replace parts of names, in order."""

    def rename(name: str) -> str:
        for old, new in pairs:
            name = name.replace(old, new)
        return name

    return {rename(name): value for name, value in state.items()}


def to_dinov2_hub(state: State) -> State:
    return {**state, "mask_token": torch.zeros(1, 32)}


def to_registers_hub(state: State) -> State:
    position = torch.full((1, 1, 32), 0.25)
    hub = replace(state, ("reg_token", "register_tokens"))
    hub["cls_token"] = hub["cls_token"] - position
    hub["pos_embed"] = torch.cat([position, hub["pos_embed"]], dim=1)
    return {**hub, "mask_token": torch.zeros(1, 32)}


def to_dinov3_hub(state: State) -> State:
    hub = replace(state, ("reg_token", "storage_tokens"), ("gamma_1", "ls1.gamma"), ("gamma_2", "ls2.gamma"))
    for block in ("blocks.0", "blocks.1"):
        hub[f"{block}.attn.qkv.bias"] = torch.zeros(96)
        hub[f"{block}.attn.qkv.bias_mask"] = torch.ones(96)
    return {**hub, "mask_token": torch.zeros(1, 32), "rope_embed.periods": torch.ones(4)}


ON_DISK = {
    ".attn.qkv.weight": tuple(f".attention.attention.{part}.weight" for part in ("query", "key", "value")),
    ".attn.qkv.bias": tuple(f".attention.attention.{part}.bias" for part in ("query", "key", "value")),
}
IN_MEMORY = {
    ".attn.qkv.weight": tuple(f".attention.{part}_proj.weight" for part in "qkv"),
    ".attn.qkv.bias": tuple(f".attention.{part}_proj.bias" for part in "qkv"),
}
EMBEDDINGS = (
    ("pos_embed", "embeddings.position_embeddings"),
    ("cls_token", "embeddings.cls_token"),
    ("mask_token", "embeddings.mask_token"),
    ("register_tokens", "embeddings.register_tokens"),
    ("storage_tokens", "embeddings.register_tokens"),
)
SCALES = (("ls1.gamma", "layer_scale1.lambda1"), ("ls2.gamma", "layer_scale2.lambda1"))


def to_dinov2_transformers(state: State, *, on_disk: bool, prefix: str = "") -> State:
    parts = split(to_dinov2_hub(state), ON_DISK if on_disk else IN_MEMORY)  # type: ignore[arg-type]
    first = {name for name in parts if name.startswith("norm.")}
    named = {(name.replace("norm.", "layernorm.") if name in first else name): v for name, v in parts.items()}
    renamed = replace(
        named,
        ("blocks.", "encoder.layer."),
        (".attn.proj", ".attention.output.dense" if on_disk else ".attention.o_proj"),
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        *EMBEDDINGS,
        *SCALES,
    )
    return {f"{prefix}{name}": value for name, value in renamed.items()}


def to_dinov3_transformers(state: State, *, in_memory: bool) -> State:
    hub = {k: v for k, v in to_dinov3_hub(state).items() if "bias_mask" not in k and "rope" not in k}
    parts = split(hub, IN_MEMORY)  # type: ignore[arg-type]
    return replace(
        {k: v for k, v in parts.items() if not k.endswith(".k_proj.bias")},
        ("blocks.", "model.layer." if in_memory else "layer."),
        (".attn.proj", ".attention.o_proj"),
        ("patch_embed.proj", "embeddings.patch_embeddings"),
        ("mlp.fc1", "mlp.up_proj"),
        ("mlp.fc2", "mlp.down_proj"),
        *EMBEDDINGS,
        *SCALES,
    )


DINOV2, REGISTERS = "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"
DINOV3, DINOV3_BIAS = "vit_small_patch16_dinov3", "vit_small_patch16_dinov3_qkvb"
CASES: dict[str, tuple[str, Callable[[State], State]]] = {
    "timm": (DINOV2, dict),
    "timm with a classifier": (DINOV2, lambda s: {**s, "head.weight": torch.zeros(9, 32)}),
    "authors' DINOv2": (DINOV2, to_dinov2_hub),
    "authors' DINOv2 with registers": (REGISTERS, to_registers_hub),
    "authors' DINOv3": (DINOV3, to_dinov3_hub),
    "transformers' DINOv2 on disk": (DINOV2, lambda s: to_dinov2_transformers(s, on_disk=True)),
    "transformers' DINOv2 in memory": (DINOV2, lambda s: to_dinov2_transformers(s, on_disk=False)),
    "a part of a model": (DINOV2, lambda s: to_dinov2_transformers(s, on_disk=True, prefix="dinov2.")),
    "transformers' DINOv3 on disk": (DINOV3, lambda s: to_dinov3_transformers(s, in_memory=False)),
    "transformers' DINOv3 in memory": (DINOV3, lambda s: to_dinov3_transformers(s, in_memory=True)),
}


@pytest.mark.parametrize("case", CASES)
def test_every_layout_gives_the_same_network(case: str) -> None:
    name, write = CASES[case]
    backbone = _Tiny.make(name)
    state = fill(backbone.network)
    file = write(state)
    fill_again = {k: torch.zeros_like(v) for k, v in state.items()}
    backbone.network.load_state_dict(fill_again)
    backbone.load(file, "file")
    for key, value in backbone.network.state_dict().items():
        torch.testing.assert_close(value, state[key], msg=key)


@pytest.mark.parametrize("case", CASES)
def test_a_missing_entry_is_named(case: str) -> None:
    name, write = CASES[case]
    backbone = _Tiny.make(name)
    file = write(fill(backbone.network))
    gone = next(key for key in file if "1.mlp.fc1.weight" in key or "1.mlp.up_proj.weight" in key)
    with pytest.raises(DataError, match=r"1 missing: network\.blocks\.1\.mlp\.fc1\.weight"):
        backbone.load({k: v for k, v in file.items() if k != gone}, "file")


def test_dinov3_with_a_bias_needs_the_network_that_has_one() -> None:
    plain, biased = _Tiny.make(DINOV3), _Tiny.make(DINOV3_BIAS)
    file = to_dinov3_hub(fill(plain.network))
    file["blocks.1.attn.qkv.bias"] = torch.arange(96.0)
    with pytest.raises(DataError, match="_qkvb"):
        plain.load(file, "file")
    biased.load(file, "file")
    attention = biased.network.blocks[1].attn
    assert torch.equal(attention.q_bias, torch.arange(32.0))
    assert torch.equal(attention.v_bias, torch.arange(64.0, 96.0))


def test_a_file_of_another_network_is_refused() -> None:
    backbone = build_backbone("timm:test_vit")
    with pytest.raises(DataError, match="missing"):
        backbone.load({"conv1.weight": torch.zeros(3)}, "file")
