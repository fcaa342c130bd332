"""Companions: frozen networks that a method uses beside its backbone, such as a segmenter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fssbench.contracts.records import StoredRecord

if TYPE_CHECKING:
    from fssbench.contracts.backbones import Backbone


@dataclass(frozen=True, slots=True)
class Companion:
    """A registered backbone that a method asks for beside its own."""

    backbone: str
    """A registered backbone (`fssbench list backbones`), in its first layout."""
    weights: str = ""
    """A published id, `random`, or a file.  If it is empty, the published default weights are taken, or random ones if
    those of the method's backbone are random."""
    setting: str = ""
    """Setting of the method by which a user chooses these weights, for messages."""


class CompanionIdentity(StoredRecord):
    """Facts about a companion in the identity of a run."""

    backbone: str
    """Id of the network."""
    layout: str
    """Variant of its architecture."""
    weights_sha256: str
    """Hash of its weights."""
    source_sha256: str | None
    """Hash of the source of its plugin."""


class UsesNetworks(Protocol):
    """Object that uses networks of the harness: a method."""

    @property
    def backbone(self) -> Backbone | None:
        """Its backbone, if it uses one."""

    @property
    def companions(self) -> Mapping[str, Backbone]:
        """Its companions, by name."""


def list_networks(method: UsesNetworks) -> dict[str, Backbone]:
    """Return the networks of the harness that a method uses, by name: `backbone`, and its companions."""
    own = {"backbone": method.backbone} if method.backbone is not None else {}
    return {**own, **method.companions}
