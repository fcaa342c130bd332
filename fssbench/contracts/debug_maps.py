"""Reads the maps that a method offers for an inspection, and checks their form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

from torch import Tensor

from fssbench.contracts.prediction import UNNAMED, select_support, tell_class_names
from fssbench.errors import PluginError


class InspectedMethod(Protocol):
    """Part of a method that an inspection uses."""

    card: ClassVar[Any]
    shots: ClassVar[Literal["joint", "vote"]]

    def debug_maps(self, query: Any, support: Any, support_mask: Tensor) -> Mapping[str, Tensor]:
        """Maps over the query by name, (1, h, w) or (1, N, h, w)."""


def collect_debug_maps(
    method: InspectedMethod,
    query: Any,
    support: Any,
    support_mask: Tensor,
    class_names: Sequence[str] = (UNNAMED,),
) -> dict[str, Tensor]:
    """Collect the maps of one episode.

    Args:
        method: the method.
        query: what `method.logits` reads of the query.
        support: what it reads of K supports.
        support_mask: binary masks (1, K, H, W), float.
        class_names: name of the class, for a method that reads it.

    Returns:
        Maps (N, h, w) by name, float32 on the CPU.  Names of a voting method begin with the number of the support,
        from 1, if there are several.

    Raises:
        PluginError: if the method returns anything but maps of the right shape.
    """
    shots, told = support_mask.shape[1], tell_class_names(method, class_names)
    compute: Callable[..., Mapping[str, Tensor]] = method.debug_maps
    if method.shots == "joint" or shots == 1:
        return _check_maps(compute(query, support, support_mask, **told), method.card.name)
    maps: dict[str, Tensor] = {}
    for k in range(shots):
        one = compute(query, select_support(support, k), support_mask[:, k : k + 1], **told)
        maps |= {
            f"support {k + 1}: {name}": each for name, each in _check_maps(one, method.card.name).items()
        }
    return maps


def _check_maps(maps: Any, name: str) -> dict[str, Tensor]:
    expected = "a dictionary from names to tensors (1, h, w) or (1, N, h, w)"
    if not isinstance(maps, Mapping):
        raise PluginError(f"{name}.debug_maps returned {type(maps).__name__}, expected {expected}")
    checked = {}
    for title, each in maps.items():
        if not isinstance(title, str) or not isinstance(each, Tensor):
            raise PluginError(
                f"{name}.debug_maps returned {type(each).__name__} for {title!r}, expected {expected}"
            )
        if each.ndim not in (3, 4) or each.shape[0] != 1 or not each.numel():
            raise PluginError(
                f"{name}.debug_maps returned shape {tuple(each.shape)} for {title!r}, expected {expected}"
            )
        checked[title] = each.detach().float().cpu().reshape(-1, *each.shape[-2:])
    return checked
