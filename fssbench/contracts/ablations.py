"""Ablations: variants of a method, and what reports call them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fssbench.errors import PluginError


@dataclass(frozen=True)
class Ablation:
    """A variant of a method in which one part is switched off, or on."""

    settings: Mapping[str, Any]
    """The settings that make the variant, by field."""
    label: str
    """The variant's name in reports, such as `w/o background` or `with refinement`."""


def default_ablation_label(name: str) -> str:
    """Return the label of an ablation without a stored label, as in runs that store only names."""
    return f"w/o {name}"


def make_ablation(name: str, given: Any) -> Ablation:
    """Make an ablation of what a method's author wrote; plain settings get the default label.

    Raises:
        PluginError: if it is neither an ablation nor settings.
    """
    if isinstance(given, Ablation):
        return given
    if isinstance(given, Mapping):
        return Ablation(given, default_ablation_label(name))
    raise PluginError(
        f"ablation {name!r} is {given!r}, expected an Ablation. "
        f"Next: Ablation({{'FIELD': VALUE}}, label='w/o {name}')"
    )
