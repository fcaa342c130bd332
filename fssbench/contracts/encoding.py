"""Methods that compute something of each image alone, which is then done once per image and not once per episode."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, TypeGuard

import torch
from torch import Tensor

from fssbench.contracts.encoded import Encoded
from fssbench.contracts.methods import Features, Method
from fssbench.contracts.prediction import change_each, select_episodes


class EncodingMethod(Method):
    """A method that encodes each image by itself, for example with trained stages on the features of a backbone.

    Derive from it and from `FeatureMethod` or `ImageMethod`, in this order, and write `encode` and `match` in place of
    `logits`.  An evaluation in the process of fssbench then encodes an image once, whatever the number of its episodes.
    Training is as for other methods.  A method with `steps` encodes in each episode, because `adapt` may change what
    encodes.
    """

    @abstractmethod
    def encode(self, images: Any) -> Mapping[str, Tensor]:
        """Encode N images, each by itself.

        Args:
            images: normalised images (N, 3, H, W), or for a feature method the features (N, C, h, w) of its taps, which
                must be the same for query and supports.

        Returns:
            What `match` reads, by name, each (N, C, h, w).
        """

    @abstractmethod
    def match(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Return logits (B, 2, h, w) at any resolution, from all K supports jointly.

        Args:
            query: what `encode` returned of the queries, each (B, C, h, w).
            support: what it returned of the supports, each (B, K, C, h, w).
            support_mask: binary masks (B, K, H, W), float.
        """

    def logits(self, query: Any, support: Any, support_mask: Tensor) -> Tensor:
        """Encode the images of B episodes, if they are not encoded, and match them."""
        if not isinstance(query, Encoded):
            query, support = self.encode_all(query, support, support_mask.shape[1])
        return self.match(query, support, support_mask)

    def encode_all(self, query: Any, support: Any, shots: int) -> tuple[Encoded, Encoded]:
        """Encode the queries of B episodes and their B times `shots` supports, each given as for `logits`.

        The images are encoded one by one, as in an evaluation, so that the bits are the same.
        """
        encoded = self._encode_each(change_each(support, lambda tensor: tensor.flatten(0, 1)))
        return self._encode_each(query), change_each(encoded, lambda maps: maps.unflatten(0, (-1, shots)))

    def _encode_each(self, images: Any) -> Encoded:
        """Encode N images, each alone."""
        number = len(images) if isinstance(images, Tensor) else len(next(iter(images.values())))
        each = [self.encode(select_episodes(images, slice(n, n + 1))) for n in range(number)]
        return Encoded({name: torch.cat([maps[name] for maps in each]) for name in each[0]})


def encodes_once(method: Method) -> TypeGuard[EncodingMethod]:
    """Return whether an evaluation may encode each image once for this method."""
    return isinstance(method, EncodingMethod) and not method.steps
