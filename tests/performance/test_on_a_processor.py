"""What packed convolutions and bfloat16 save on this processor, in CPU time of one thread.

pytest tests/performance/test_on_a_processor.py -m slow -s

prints the ratios.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fssbench.contracts.precision import Precision
from fssbench.efficiency.measure import BenchRequest, load_for_measuring
from fssbench.errors import UsageError
from fssbench.evaluation import extraction
from fssbench.evaluation.extraction import Extractor
from fssbench.evaluation.packed_convolutions import can_pack
from fssbench.evaluation.precision import computing_in, require_precision
from fssbench.loading.backbones import build_backbone

pytestmark = pytest.mark.usefixtures("one_thread")

NOISE = 0.85
"""Share of a measured ratio that must be there; times vary with the machine."""
PACKED = 1.3
"""How many times as fast packed convolutions extract at 192 px, as measured, rounded down."""
BFLOAT16 = 1.6
"""How many times as fast HSNet is in bfloat16, as measured, rounded down; docs/performance.md says what is aimed at."""
IMAGES_PER_EPISODE = 0.346
"""New images of an episode, in 1,000 episodes of a fold with 346 images."""


def time_each(works: list[Callable[[], object]], repeats: int = 7) -> list[float]:
    """Return the shortest CPU seconds of each, which take turns."""
    shortest = [float("inf")] * len(works)
    for _ in range(1 + repeats):
        for i, work in enumerate(works):
            began = time.process_time()
            work()
            shortest[i] = min(shortest[i], time.process_time() - began)
    return shortest


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_packed_convolutions_extract_small_images_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_backbone("resnet50")
    if not can_pack(network):
        pytest.skip("convolutions are packed on x86 processors with oneDNN only")
    packed = Extractor(network)
    monkeypatch.setattr(extraction, "can_pack", lambda _network: False)
    plain = Extractor(network)
    image = torch.randn(1, 3, 192, 192)
    slow, fast = time_each(
        [lambda each=each: each.extract(image, ["layer4.2"], "an image") for each in (plain, packed)]
    )
    print(f"packed: {slow / fast:.2f} times")
    assert slow / fast >= NOISE * PACKED


@pytest.mark.slow
@pytest.mark.timeout(600)
@torch.no_grad()
def test_hsnet_is_faster_in_bfloat16() -> None:
    try:
        require_precision("bf16", "cpu")
    except UsageError as error:
        pytest.skip(str(error))
    method = load_for_measuring(BenchRequest(method="hsnet", shot=1, backbone="resnet50")).eval()
    assert method.backbone is not None
    taps = method.taps.query
    image = torch.randn(1, 3, 400, 400)
    mask = torch.zeros(1, 1, 400, 400)
    mask[..., 90:310, 105:295] = 1

    def prepare(precision: Precision) -> list[Callable[[], object]]:
        extractor = Extractor(method.backbone, precision)
        maps = extractor.extract(image, taps, "an image")
        support = {tap: features[:, None] for tap, features in maps.items()}

        def predict() -> Tensor:
            with computing_in(precision, torch.device("cpu")):
                return method.logits(maps, support, mask)

        return [lambda: extractor.extract(image, taps, "an image"), predict]

    image_single, head_single, image_half, head_half = time_each([*prepare("float32"), *prepare("bf16")])
    ratio = (IMAGES_PER_EPISODE * image_single + head_single) / (IMAGES_PER_EPISODE * image_half + head_half)
    print(
        f"bfloat16: {image_single / image_half:.2f} and {head_single / head_half:.2f}, together {ratio:.2f} times"
    )
    assert ratio >= NOISE * BFLOAT16
