"""SAM with its mask decoder: its parts, and files of the authors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fssbench.backbones.sam.decoder import CHANNELS, ClickDecoder
from fssbench.errors import DataError, UsageError


@pytest.fixture(scope="module")
def decoder() -> ClickDecoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = ClickDecoder().eval()
        made.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix.normal_()
    return made


@pytest.fixture
def embedding() -> Tensor:
    return torch.randn(CHANNELS, 4, 6, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_each_click_is_decoded_by_itself(decoder: ClickDecoder, embedding: Tensor) -> None:
    clicks = torch.tensor([[3, 5], [40, 2], [63, 63]])
    together = decoder(embedding, clicks, 64)
    assert together.shape == (3, 16, 24)
    alone = torch.cat([decoder(embedding, click[None], 64) for click in clicks])
    assert torch.allclose(together, alone, atol=1e-4 * float(together.abs().max()))
    assert not torch.allclose(together[0], together[1], atol=1e-2 * float(together.abs().max()))


@torch.no_grad()
def test_a_click_lies_where_the_cell_of_its_pixel_lies(decoder: ClickDecoder) -> None:
    encoder = decoder.prompt_encoder
    grid = encoder.encode_grid(8, 8)
    # pixel (3, 5) of 8 x 8 is cell (3, 5) of a grid of 8 x 8; x comes first
    points = encoder.encode_clicks(torch.tensor([[3, 5]]), 8)[0, 0] - encoder.point_embeddings["1"].weight[0]
    assert torch.allclose(points, grid[:, 5, 3], atol=1e-5)
    assert not torch.allclose(points, grid[:, 3, 5], atol=1e-2)


@pytest.fixture(scope="module")
def sam() -> Any:
    pytest.importorskip("timm")
    from fssbench.backbones.sam.models import SAMBasePromptable

    class Small(SAMBasePromptable):
        """SAM ViT-B for images of 224 px, which is the same network with smaller tables."""

        timm_name = "samvit_base_patch16_224"

    return Small()


def name_as_authors(sam: Any) -> dict[str, Tensor]:
    """A state dict as the authors' file holds it, with the parts that are not used here."""
    state = {}
    for name, value in sam.state_dict().items():
        part, _, rest = name.partition(".")
        if part == "network":
            rest = f"image_encoder.{rest}".replace("mlp.fc", "mlp.lin")
        state[rest] = value
    unused = {
        "prompt_encoder.point_embeddings.0.weight": torch.zeros(1, CHANNELS),
        "prompt_encoder.mask_downscaling.0.weight": torch.zeros(4, 1, 2, 2),
        "mask_decoder.output_hypernetworks_mlps.3.layers.0.bias": torch.zeros(CHANNELS),
        "mask_decoder.iou_prediction_head.layers.0.bias": torch.zeros(CHANNELS),
    }
    return state | unused


def test_a_file_of_the_authors_is_loaded_and_an_incomplete_one_refused_by_name(sam: Any) -> None:
    state = name_as_authors(sam)
    sam.load(state, "file:x")
    assert sam.weights == "file:x"
    del state["mask_decoder.mask_tokens.weight"]
    with pytest.raises(DataError, match=r"mask_decoder\.mask_tokens\.weight"):
        sam.load(state, "file:y")
    encoder_alone = {k: v for k, v in state.items() if k.startswith("image_encoder.")}
    with pytest.raises(DataError, match="mask_decoder"):
        sam.load(encoder_alone, "file:y")


def test_an_unknown_entry_of_the_decoder_is_refused_by_name(sam: Any) -> None:
    state = name_as_authors(sam) | {"mask_decoder.novel.weight": torch.zeros(1)}
    with pytest.raises((DataError, UsageError), match="novel"):
        sam.load(state, "file:z")


def test_weights_of_a_run_are_read_under_their_own_names(sam: Any) -> None:
    assert sam.own_names(sam.state_dict()).keys() == sam.state_dict().keys()
