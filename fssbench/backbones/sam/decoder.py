"""The parts of SAM that turn clicks into masks: the prompt encoder for single points, and the mask decoder.

Modules have the names of the authors' code, so that their files load.  Parts that a single click does not need (boxes,
mask prompts, the masks of multiple answers, predicted quality) are left out.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = 256
"""Channels of the image embedding, of prompts, and of the decoder's tokens."""
_HEADS, _LAYERS, _HIDDEN, _INNER = 8, 2, 2048, 128
_MASK_TOKENS = 4
_UPSCALED = 32


class ClickDecoder(nn.Module):
    """Turns clicks on an image into one mask each."""

    def __init__(self) -> None:
        super().__init__()
        self.prompt_encoder = _PromptEncoder()
        self.mask_decoder = _MaskDecoder()

    def forward(self, embedding: Tensor, clicks: Tensor, side: int) -> Tensor:
        """Compute the logits of one mask per click, at a quarter of the image's side.

        Args:
            embedding: the encoder's output for one image (256, h, w).
            clicks: x and y of each click in pixels (N, 2).
            side: side of the square image in pixels.

        Returns:
            Logits (N, 4 h, 4 w).
        """
        prompts = self.prompt_encoder.encode_clicks(clicks, side)
        positions = self.prompt_encoder.encode_grid(embedding.shape[-2], embedding.shape[-1])
        image = embedding + self.prompt_encoder.no_mask_embed.weight[0, :, None, None]
        logits: Tensor = self.mask_decoder(image, positions, prompts)
        return logits


class _Positions(nn.Module):
    """Random Fourier features of places in the image."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.empty(2, CHANNELS // 2))

    def forward(self, places: Tensor) -> Tensor:
        """Encode places (..., 2), x and y as shares of the side: (..., 256)."""
        angles = 2 * math.pi * ((2 * places - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class _PromptEncoder(nn.Module):
    """Encodes clicks on the object.  A click is one token, and a second token says that no further point follows."""

    def __init__(self) -> None:
        super().__init__()
        self.pe_layer = _Positions()
        self.point_embeddings = nn.ModuleDict({"1": nn.Embedding(1, CHANNELS)})  # 1: a point on the object
        self.not_a_point_embed = nn.Embedding(1, CHANNELS)
        self.no_mask_embed = nn.Embedding(1, CHANNELS)

    def encode_clicks(self, clicks: Tensor, side: int) -> Tensor:
        """Encode clicks (N, 2) in pixels, which are meant as the centres of their pixels: (N, 2, 256)."""
        embedding = self.point_embeddings["1"]
        assert isinstance(embedding, nn.Embedding)
        points = self.pe_layer((clicks.float() + 0.5) / side) + embedding.weight
        return torch.stack([points, self.not_a_point_embed.weight.expand_as(points)], dim=1)

    def encode_grid(self, rows: int, columns: int) -> Tensor:
        """Encode the centres of the cells of the embedding: (256, rows, columns)."""
        matrix = self.pe_layer.positional_encoding_gaussian_matrix
        y = (torch.arange(rows, device=matrix.device) + 0.5) / rows
        x = (torch.arange(columns, device=matrix.device) + 0.5) / columns
        places = torch.stack([x.expand(rows, -1), y[:, None].expand(-1, columns)], dim=-1)
        encoded: Tensor = self.pe_layer(places)
        return encoded.permute(2, 0, 1)


class _Attention(nn.Module):
    """Attention with eight heads, whose inner width may be smaller."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(CHANNELS, inner)
        self.k_proj = nn.Linear(CHANNELS, inner)
        self.v_proj = nn.Linear(CHANNELS, inner)
        self.out_proj = nn.Linear(inner, CHANNELS)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend from queries (N, Q, 256) to keys and values (N, K, 256)."""
        heads = [
            projected.unflatten(2, (_HEADS, -1)).transpose(1, 2)
            for projected in (self.q_proj(queries), self.k_proj(keys), self.v_proj(values))
        ]
        attended = functional.scaled_dot_product_attention(*heads)
        out: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return out


class _Perceptron(nn.Module):
    """Two linear layers with a ReLU between them."""

    def __init__(self) -> None:
        super().__init__()
        self.lin1 = nn.Linear(CHANNELS, _HIDDEN)
        self.lin2 = nn.Linear(_HIDDEN, CHANNELS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens (N, T, 256)."""
        out: Tensor = self.lin2(functional.relu(self.lin1(tokens)))
        return out


class _TwoWayLayer(nn.Module):
    """Tokens attend to themselves and to the image, and the image attends to the tokens."""

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = _Attention(CHANNELS)
        self.norm1 = nn.LayerNorm(CHANNELS)
        self.cross_attn_token_to_image = _Attention(_INNER)
        self.norm2 = nn.LayerNorm(CHANNELS)
        self.mlp = _Perceptron()
        self.norm3 = nn.LayerNorm(CHANNELS)
        self.norm4 = nn.LayerNorm(CHANNELS)
        self.cross_attn_image_to_token = _Attention(_INNER)

    def forward(
        self, tokens: Tensor, image: Tensor, prompts: Tensor, places: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Transform tokens (N, T, 256) and image cells (N, P, 256); `prompts` and `places` are their positions."""
        if self.first:  # its input is its own position, which is not added again
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            tokens = tokens + self.self_attn(tokens + prompts, tokens + prompts, tokens)
        tokens = self.norm1(tokens)
        tokens = tokens + self.cross_attn_token_to_image(tokens + prompts, image + places, image)
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = image + self.cross_attn_image_to_token(image + places, tokens + prompts, tokens)
        return tokens, self.norm4(image)


class _TwoWayTransformer(nn.Module):
    """Two such layers, and a last attention from the tokens to the image."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_TwoWayLayer(first=index == 0) for index in range(_LAYERS)])
        self.final_attn_token_to_image = _Attention(_INNER)
        self.norm_final_attn = nn.LayerNorm(CHANNELS)

    def forward(self, image: Tensor, places: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Transform prompts (N, T, 256) and image cells (N, P, 256) with their positions (P, 256)."""
        tokens = prompts
        for layer in self.layers:
            tokens, image = layer(tokens, image, prompts, places)
        tokens = tokens + self.final_attn_token_to_image(tokens + prompts, image + places, image)
        return self.norm_final_attn(tokens), image


class _ChannelNorm(nn.Module):
    """Layer norm over the channels of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise maps (N, C, h, w)."""
        last = maps.permute(0, 2, 3, 1)
        normed = functional.layer_norm(last, self.weight.shape, self.weight, self.bias, eps=1e-6)
        return normed.permute(0, 3, 1, 2)


class _Layers(nn.Module):
    """Three linear layers with ReLUs between them, which turn a token into a filter."""

    def __init__(self) -> None:
        super().__init__()
        widths = [CHANNELS, CHANNELS, CHANNELS, _UPSCALED]
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(widths)])

    def forward(self, token: Tensor) -> Tensor:
        """Transform tokens (N, 256) into filters (N, 32)."""
        first, second, third = self.layers
        out: Tensor = third(functional.relu(second(functional.relu(first(token)))))
        return out


class _MaskDecoder(nn.Module):
    """Decodes the first of SAM's masks, the one for prompts that ask for a single answer."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = _TwoWayTransformer()
        self.iou_token = nn.Embedding(1, CHANNELS)
        self.mask_tokens = nn.Embedding(_MASK_TOKENS, CHANNELS)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(CHANNELS, 2 * _UPSCALED, 2, 2),
            _ChannelNorm(2 * _UPSCALED),
            nn.GELU(),
            nn.ConvTranspose2d(2 * _UPSCALED, _UPSCALED, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList([_Layers()])

    def forward(self, image: Tensor, positions: Tensor, prompts: Tensor) -> Tensor:
        """Decode prompts (N, T, 256) on an image (256, h, w) with positions (256, h, w): logits (N, 4 h, 4 w)."""
        count = len(prompts)
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(count, -1, -1)
        cells = image.flatten(1).T.expand(count, -1, -1)
        tokens, cells = self.transformer(cells, positions.flatten(1).T, torch.cat([own, prompts], dim=1))
        maps = self.output_upscaling(cells.transpose(1, 2).unflatten(2, tuple(image.shape[-2:])))
        filters = self.output_hypernetworks_mlps[0](tokens[:, 1])  # token 0 predicts the quality
        return torch.einsum("nc,nchw->nhw", filters, maps)
