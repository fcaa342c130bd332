"""A function as a method: it compares each pixel with the mean colours of background and object."""

from __future__ import annotations

from fssbench.api import wrap
from torch import Tensor


def predict(support_images: Tensor, support_masks: Tensor, query_image: Tensor) -> Tensor:
    """Return the probability of the object for each pixel of the query, (H, W).

    Args:
        support_images: images (K, 3, H, W) with values from 0 to 1.
        support_masks: masks (K, H, W), 0 or 1, float.
        query_image: image (3, H, W) with values from 0 to 1.
    """
    distances = []
    for mask in (1 - support_masks, support_masks):
        colour = (support_images * mask[:, None]).sum((0, 2, 3)) / mask.sum().clamp(min=1)
        distances.append((query_image - colour[:, None, None]).square().mean(0))
    background, foreground = distances
    return background / (background + foreground).clamp(min=1e-6)


Mine = wrap(
    predict,
    name="mine",
    title="Mine",
    pixels="unit",
    returns="probabilities",
)
