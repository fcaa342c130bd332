"""Translates weight files of the authors and of transformers into timm's names.

A file is recognised by its keys.  Files of transformers are first translated into the names of the authors' code, and
these into timm's.  Entries that timm leaves out (mask tokens, classifiers, text encoders, decoders) are dropped here;
everything else that is missing or unknown is refused by name when the weights are assigned.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from fssbench.api import DataError

State = dict[str, Tensor]
Rule = tuple[str, str]
"""A pattern of names, and what replaces it; an empty replacement of a whole name drops the entry."""


def translate_state(state: Mapping[str, Tensor], own: set[str], backbone: str) -> State:
    """Translate a state dict into the names of a network of timm.

    Args:
        state: tensors by name, in the layout of timm, of the authors (DINOv2, DINOv3, CLIP, SAM) or of transformers
            (DINOv2, DINOv3).
        own: the names of the network.
        backbone: the backbone's name, for messages.

    Raises:
        DataError: if the file holds biases that the network does not have.
    """
    for is_layout, translate in _LAYOUTS:
        if is_layout(state):
            return translate(dict(state), own, backbone)
    return _rename(dict(state), _TIMM)


def _rename(state: State, rules: Iterable[Rule]) -> State:
    """Apply the first rule whose pattern matches a name from its start; keep other names."""
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in compiled:
            if pattern.match(name):
                new_name = pattern.sub(replacement, name, count=1)
                break
        else:
            new_name = name
        if new_name:
            renamed[new_name] = value
    return renamed


def _drop(*patterns: str) -> tuple[Rule, ...]:
    return tuple((f"{pattern}.*", "") for pattern in patterns)


_TIMM = _drop(r"head\.(fc\.)?(weight|bias)$", r"fc_norm\.")


def _from_dinov2(state: State, own: set[str], backbone: str) -> State:
    """Translate the authors' DINOv2.  With registers, timm holds the class token with its position added."""
    renamed = _rename(
        state,
        (
            *_drop("mask_token"),
            ("register_tokens", "reg_token"),
            (r"(blocks\.\d+\.mlp\.)w12", r"\1fc1"),
            (r"(blocks\.\d+\.mlp\.)w3", r"\1fc2"),
        ),
    )
    if "reg_token" in renamed and {"cls_token", "pos_embed"} <= renamed.keys():
        table = renamed["pos_embed"]
        renamed["cls_token"] = renamed["cls_token"] + table[:, :1]
        renamed["pos_embed"] = table[:, 1:]
    return renamed


def _from_dinov3(state: State, own: set[str], backbone: str) -> State:
    """Translate the authors' DINOv3.  The bias of keys is masked there; plain networks of timm have no bias at all.

    Raises:
        DataError: if a bias of queries or values is not zero and the network has none.
    """
    renamed: State = {}
    rules = (
        *_drop("mask_token", r"rope_embed\.", r"local_cls_norm\.", r"blocks\.\d+\.attn\.qkv\.bias_mask"),
        ("storage_tokens", "reg_token"),
        (r"(blocks\.\d+\.)ls([12])\.gamma", r"\1gamma_\2"),
    )
    for name, value in _rename(state, rules).items():
        if not name.endswith("attn.qkv.bias"):
            renamed[name] = value
            continue
        queries, _, values = value.chunk(3)
        stem = name.removesuffix("qkv.bias")
        if f"{stem}q_bias" in own:
            renamed |= {f"{stem}q_bias": queries, f"{stem}v_bias": values}
        elif bool(queries.any()) or bool(values.any()):
            raise DataError(
                f"{name} of the weights of backbone {backbone!r} is not zero, but this network has no such bias. "
                "Next: use the network of timm whose name has `_qkvb`, with --backbone timm:NAME"
            )
    return renamed


def _from_clip(state: State, own: set[str], backbone: str) -> State:
    """Translate the image encoder of OpenAI's CLIP; its text encoder and projection are dropped."""
    image = {k.removeprefix("visual."): v.float() for k, v in state.items() if k.startswith("visual.")}
    renamed = _rename(
        image,
        (
            *_drop("proj$"),
            ("class_embedding", "cls_token"),
            ("positional_embedding", "pos_embed"),
            ("conv1", "patch_embed.proj"),
            ("ln_pre", "norm_pre"),
            ("ln_post", "norm"),
            (r"transformer\.resblocks\.(\d+)\.attn\.in_proj_", r"blocks.\1.attn.qkv."),
            (r"transformer\.resblocks\.(\d+)\.attn\.out_proj", r"blocks.\1.attn.proj"),
            (r"transformer\.resblocks\.(\d+)\.ln_", r"blocks.\1.norm"),
            (r"transformer\.resblocks\.(\d+)\.mlp\.c_fc", r"blocks.\1.mlp.fc1"),
            (r"transformer\.resblocks\.(\d+)\.mlp\.c_proj", r"blocks.\1.mlp.fc2"),
        ),
    )
    for name in renamed.keys() & {"cls_token", "pos_embed"}:
        renamed[name] = renamed[name].reshape(1, -1, renamed[name].shape[-1])
    return renamed


def _from_sam(state: State, own: set[str], backbone: str) -> State:
    """Translate the image encoder of SAM; its prompt encoder and mask decoder are dropped."""
    image = {k.removeprefix("image_encoder."): v for k, v in state.items() if k.startswith("image_encoder.")}
    return _rename(image, ((r"(blocks\.\d+\.mlp\.)lin", r"\1fc"),))


def _from_convnext(state: State, own: set[str], backbone: str) -> State:
    """Translate the authors' ConvNeXt of DINOv3, which holds its last norm twice."""
    return _rename(
        state,
        (
            *_drop(r"norms\.\d+\.", r"head\."),
            (r"downsample_layers\.0\.", "stem."),
            (r"downsample_layers\.(\d+)\.", r"stages.\1.downsample."),
            (r"stages\.(\d+)\.(\d+)\.dwconv", r"stages.\1.blocks.\2.conv_dw"),
            (r"stages\.(\d+)\.(\d+)\.pwconv", r"stages.\1.blocks.\2.mlp.fc"),
            (r"stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
            (r"norm\.", "head.norm."),
        ),
    )


def _from_transformers_dinov2(state: State, own: set[str], backbone: str) -> State:
    """Translate DINOv2 of transformers, in memory or on disk."""
    renamed = _rename(
        _strip_prefix(state, "embeddings."),
        (
            *_drop("classifier"),
            (r"embeddings\.position_embeddings", "pos_embed"),
            (r"embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
            (r"embeddings\.", ""),
            (r"layernorm\.", "norm."),
            (r"encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
            (r"encoder\.layer\.(\d+)\.attention\.(output\.dense|o_proj)", r"blocks.\1.attn.proj"),
            (
                r"encoder\.layer\.(\d+)\.attention\.(attention\.)?([qkv])(uery|ey|alue|_proj)",
                r"blocks.\1.attn.\3",
            ),
            (r"encoder\.layer\.(\d+)\.mlp\.weights_in", r"blocks.\1.mlp.w12"),
            (r"encoder\.layer\.(\d+)\.mlp\.weights_out", r"blocks.\1.mlp.w3"),
            (r"encoder\.layer\.(\d+)\.", r"blocks.\1."),
        ),
    )
    return _from_dinov2(_join_projections(renamed), own, backbone)


def _from_transformers_dinov3(state: State, own: set[str], backbone: str) -> State:
    """Translate DINOv3 of transformers, in memory or on disk."""
    renamed = _rename(
        _strip_prefix(state, "embeddings."),
        (
            (r"embeddings\.register_tokens", "storage_tokens"),
            (r"embeddings\.patch_embeddings\.", "patch_embed.proj."),
            (r"embeddings\.", ""),
            (r"(?:model\.)?layer\.(\d+)\.layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
            (r"(?:model\.)?layer\.(\d+)\.attention\.o_proj", r"blocks.\1.attn.proj"),
            (r"(?:model\.)?layer\.(\d+)\.attention\.([qkv])_proj", r"blocks.\1.attn.\2"),
            (r"(?:model\.)?layer\.(\d+)\.mlp\.up_proj", r"blocks.\1.mlp.fc1"),
            (r"(?:model\.)?layer\.(\d+)\.mlp\.down_proj", r"blocks.\1.mlp.fc2"),
            (r"(?:model\.)?layer\.(\d+)\.", r"blocks.\1."),
        ),
    )
    return _from_dinov3(_join_projections(renamed), own, backbone)


def _strip_prefix(state: State, first: str) -> State:
    """Remove what stands before `first` in the names of a model that holds the network as a part."""
    prefix = next(name[: name.index(first)] for name in state if first in name)
    return {name.removeprefix(prefix): value for name, value in state.items()}


def _join_projections(state: State) -> State:
    """Join the projections of queries, keys and values; a missing bias (that of the keys) is zero.

    A projection without its partners keeps its name, so that it is refused by name.
    """
    joined = dict(state)
    for name in state:
        stem, dot, kind = name.rpartition(".")
        if not stem.endswith(".attn.q") or not dot:
            continue
        parts = [f"{stem[:-1]}{letter}.{kind}" for letter in "qkv"]
        present = [part for part in parts if part in state]
        if kind == "weight" and len(present) < len(parts):
            continue
        like = state[name]
        joined[f"{stem[:-1]}qkv.{kind}"] = torch.cat(
            [state.get(part, torch.zeros_like(like)) for part in parts]
        )
        for part in present:
            del joined[part]
    return joined


def _has(*parts: str) -> Callable[[Mapping[str, Tensor]], bool]:
    """Make a test whether each part occurs in some name."""
    return lambda state: all(any(part in name for name in state) for part in parts)


_Translate = Callable[[State, set[str], str], State]
_LAYOUTS: tuple[tuple[Callable[[Mapping[str, Tensor]], bool], _Translate], ...] = (
    (_has("image_encoder.patch_embed."), _from_sam),
    (_has("visual.class_embedding"), _from_clip),
    (_has("downsample_layers.", "dwconv"), _from_convnext),
    (_has("embeddings.patch_embeddings.projection", "encoder.layer."), _from_transformers_dinov2),
    (_has("embeddings.patch_embeddings.weight", "layer.0."), _from_transformers_dinov3),
    (_has("storage_tokens"), _from_dinov3),
    (_has("mask_token", "blocks.0.ls1.gamma"), _from_dinov2),
    (_has("register_tokens", "blocks.0.ls1.gamma"), _from_dinov2),
)
