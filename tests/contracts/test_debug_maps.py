from __future__ import annotations

from typing import Any

import pytest
import torch

from fssbench.contracts.debug_maps import collect_debug_maps
from fssbench.contracts.methods import Method
from fssbench.errors import PluginError


class Offering:
    """A method that offers given maps, and notes with how many supports it was asked."""

    card = type("Card", (), {"name": "mine", "reads": ()})
    shots = "joint"

    def __init__(self, maps: Any) -> None:
        self.maps = maps
        self.asked: list[int] = []

    def debug_maps(self, query: Any, support: Any, support_mask: torch.Tensor) -> Any:
        self.asked.append(support_mask.shape[1])
        return self.maps


def collect(maps: Any, shots: int = 1, rule: str = "joint") -> tuple[dict[str, torch.Tensor], list[int]]:
    method = Offering(maps)
    method.shots = rule
    support = {"tap": torch.zeros(1, shots, 2, 4, 4)}
    return collect_debug_maps(method, {}, support, torch.zeros(1, shots, 8, 8)), method.asked  # type: ignore[arg-type]


def test_maps_of_one_and_of_several_planes_have_one_form() -> None:
    maps, asked = collect({"a": torch.ones(1, 4, 5, dtype=torch.bool), "b": torch.zeros(1, 3, 4, 5)}, shots=3)
    assert {name: tuple(each.shape) for name, each in maps.items()} == {"a": (1, 4, 5), "b": (3, 4, 5)}
    assert all(each.dtype == torch.float32 for each in maps.values())
    assert asked == [3]


def test_a_voting_method_is_asked_once_per_support() -> None:
    maps, asked = collect({"a": torch.ones(1, 4, 5)}, shots=2, rule="vote")
    assert list(maps) == ["support 1: a", "support 2: a"]
    assert asked == [1, 1]


PLANES = torch.ones(1, 4, 5)
WRONG = [
    None,
    [PLANES],
    {"a": 3},
    {1: PLANES},
    {"a": PLANES[0]},
    {"a": torch.ones(2, 4, 5)},
    {"a": PLANES[:, :0]},
]


@pytest.mark.parametrize("maps", WRONG)
def test_anything_else_is_refused_with_the_name_of_the_method(maps: Any) -> None:
    with pytest.raises(PluginError, match=r"mine\.debug_maps"):
        collect(maps)


def test_by_default_a_method_offers_none() -> None:
    assert Method.debug_maps(None, None, None, torch.zeros(1, 1, 8, 8)) == {}  # type: ignore[arg-type]
