"""Notices a method whose weights are no longer those that its identity names.

A run's identity holds hashes of the weights, taken before the first episode.  A method that changes them
while it predicts (batch norm in training mode, running statistics, `.half()`, edits through `.data`) gives
figures that depend on the order of the episodes, and that nobody can compute again.  Versions and flags are
compared after each episode, in less than 0.1 ms on a ResNet-50; every byte is compared after the first
episode of a process, at the end, and in between as often as it costs one per cent of the time.
"""

from __future__ import annotations

import time

from torch import Tensor, nn

from fssbench.contracts.companions import list_networks
from fssbench.contracts.methods import FeatureMethod, Method
from fssbench.errors import PluginError
from fssbench.files.state_dicts import digest_state
from fssbench.plural import join_some

_SHARE = 0.01
"""Part of the time that comparing every byte may take."""
_NAMED = 3
"""Tensors or modules that a message names."""
_NEXT = (
    "Next: adapt in `adapt`, on new tensors or on copies of modules that are gone after the episode; caches are "
    "registered in `__init__` or with persistent=False"
)


class WeightsGuard:
    """Compares a method's weights, types and training flags with those that it began with.

    Args:
        method: as loaded and on its device, in eval mode.

    Raises:
        PluginError: if the method was changed by an earlier evaluation, if its backbone's weights are not
            those that were recorded when they were loaded, or if its backbone has forward hooks.
    """

    def __init__(self, method: Method) -> None:
        self.method = method
        self._name = f"method {method.card.name!r}"
        if (problem := method.provenance.weights_changed) is not None:
            raise PluginError(f"{problem} It is not evaluated again before it is loaded anew")
        self._note_versions()
        self._digests = self._hash_weights()
        self._check_backbone()
        self._due = 0.0  # the first episode is followed by a whole check

    def _check_backbone(self) -> None:
        for network in list_networks(self.method).values():
            if digest_state(network.state_dict()) != network.weights_sha256:
                raise PluginError(
                    f"{self._name}: the weights of its backbone {network.name!r} are not those that were recorded as "
                    f"{network.weights!r} when they were loaded: they were changed since, by its `__init__` or by "
                    "hand. Next: leave the backbone as it is, or call `backbone.record('NAME')` after a change of your "
                    "own, outside the plugin"
                )
        backbone = self.method.backbone
        if isinstance(self.method, FeatureMethod) and backbone is not None:
            for name, module in backbone.named_modules():
                if module._forward_hooks or module._forward_pre_hooks:
                    raise PluginError(
                        f"{self._name}: its backbone has a forward hook on {name or 'itself'!r}, which never runs: "
                        "the harness extracts features with a backbone of its own. Next: read taps, or derive from "
                        "ImageMethod with needs_backbone = True"
                    )

    def _note_versions(self) -> None:
        weights = self.method.state_dict(keep_vars=True).values()
        self._tensors: list[Tensor] = [t for t in weights if not t.is_inference()]  # others have no version
        self._versions = [t._version for t in self._tensors]
        self._modules: list[nn.Module] = list(self.method.modules())
        self._flags = [m.training for m in self._modules]

    def _hash_weights(self) -> dict[str, str]:
        began = time.monotonic()
        digests = {name: digest_state({"": t}) for name, t in self.method.state_dict().items()}
        self._cost = time.monotonic() - began
        return digests

    def check_episode(self) -> bool:
        """Compare after an episode.

        Returns:
            Whether every byte was compared, not the versions and flags alone.

        Raises:
            PluginError: if anything changed, with what.
        """
        if [m.training for m in self._modules] != self._flags:
            self._refuse(self._name_changed_flags())
        touched = [t._version for t in self._tensors] != self._versions
        if touched or time.monotonic() >= self._due:
            self.check_all()
            return True
        return False

    def check_all(self) -> None:
        """Compare every byte, type, name and flag.

        Raises:
            PluginError: if anything changed, with what.
        """
        before, flags, modules = self._digests, self._flags, self._modules
        now = self._hash_weights()
        changed = [n for n in before if n in now and now[n] != before[n]]
        other = sorted(before.keys() ^ now.keys())
        if changed or other:
            self._refuse(join_some(changed or other, _NAMED))
        self._note_versions()
        if [m.training for m in modules] != flags:
            self._refuse(self._name_changed_flags())
        self._due = time.monotonic() + self._cost / _SHARE

    def _name_changed_flags(self) -> str:
        pairs = zip(self._modules, self._flags, strict=True)
        odd = {id(m) for m, flag in pairs if m.training != flag}
        names = [n or "itself" for n, m in self.method.named_modules() if id(m) in odd]
        return f"the training mode of {join_some(names, _NAMED)}"

    def _refuse(self, what: str) -> None:
        text = (
            f"{self._name}: {what} changed while it predicted, so its figures would depend on the order of the "
            f"episodes and belong to no identity; they are not stored. {_NEXT}."
        )
        self.method.provenance = self.method.provenance.changed(weights_changed=text)
        raise PluginError(text)
