"""Feature cache with Belady eviction: the order of requests is known in advance.

A plan is fixed before the first image is opened, so the order in which images will be asked for is
known.  The cache can therefore evict by Belady's rule: it drops what is needed last, or never again.  No
rule without that knowledge is better.  Features that no plan needs again stay while there is room, because
the next plan (more shots, another fold) often needs the same images.

Features are computed image by image, so neither the cache nor its budget can change a number.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fssbench.errors import PluginError
from fssbench.evaluation.feature_store import FeatureStore, Maps

if TYPE_CHECKING:
    from fssbench.data.reader import ImageFacts

_NEVER = float("inf")


@dataclass
class _Held:
    maps: Maps
    size: int
    versions: tuple[int, ...]


def _versions(maps: Maps) -> tuple[int, ...]:
    return tuple(t._version for t in maps.values())


class FeatureCache:
    """Feature maps by key, within a budget of bytes.

    Args:
        budget: bytes that may be held; 0 keeps nothing.
        store: files of features, which are asked before features are computed; None for none.

    Attributes:
        hits: requests answered from the cache.
        misses: requests that were computed.
        held: bytes held now.
        store: files of features.
        facts: what reading an image has told, see `fssbench.data.reader`; kept when its features are dropped.
    """

    def __init__(self, budget: int, store: FeatureStore | None = None) -> None:
        self.budget = budget
        self.store = store
        self.hits = 0
        self.misses = 0
        self.held = 0
        self.facts: dict[Hashable, ImageFacts] = {}
        self._cached: dict[Hashable, _Held] = {}
        self._future: defaultdict[Hashable, deque[int]] = defaultdict(deque)
        self._planned = 0
        self._clock = 0

    def plan(self, keys: Iterable[Hashable]) -> None:
        """Announce the next requests, in order, after those announced before."""
        for key in keys:
            self._future[key].append(self._planned)
            self._planned += 1

    def holds(self, key: Hashable) -> bool:
        """Return whether the maps of `key` are in memory."""
        return key in self._cached

    def awaits(self, key: Hashable) -> bool:
        """Whether another request of `key` was announced."""
        return self._next_use(key) != _NEVER

    def _next_use(self, key: Hashable) -> float:
        uses = self._future.get(key)
        while uses and uses[0] < self._clock:  # announced and never asked for: its method broke
            uses.popleft()
        return uses[0] if uses else _NEVER

    def get(self, key: Hashable, compute: Callable[[], Maps]) -> Maps:
        """Return the maps of `key`, from the cache or from `compute`.

        Requests out of the announced order are served all the same; only the choice of what to keep
        is then less good.

        Raises:
            PluginError: if cached maps were changed in place since they were handed out.
        """
        if self._next_use(key) != _NEVER:
            self._clock = self._future[key].popleft() + 1
        if not self._future.get(key):
            self._future.pop(key, None)
        if key in self._cached:
            self.hits += 1
            return self.read(key)
        self.misses += 1
        maps = compute()
        self._keep(key, maps)
        return maps

    def read(self, key: Hashable) -> Maps:
        """Return maps that are held, without a request.

        Raises:
            PluginError: if they were changed in place since they were handed out.
        """
        cached = self._cached[key]
        if _versions(cached.maps) != cached.versions:
            raise PluginError(f"cached features of {key!r} were changed in place by a method")
        return cached.maps

    def offer(self, key: Hashable, maps: Maps) -> None:
        """Keep maps that nobody has requested yet, if a request of them was announced."""
        if self.awaits(key):
            self._keep(key, maps)

    def forget(self, keys: Iterable[Hashable]) -> None:
        """Drop the maps of these keys, where they are held."""
        for key in keys:
            if key in self._cached:
                self._drop(key)

    def _keep(self, key: Hashable, maps: Maps) -> None:
        due = self._next_use(key)
        size = sum(t.numel() * t.element_size() for t in maps.values())
        if size > self.budget:
            return
        while self.held + size > self.budget:
            latest = max(self._cached, key=self._next_use)
            if self._next_use(latest) <= due:
                return
            self._drop(latest)
        self._cached[key] = _Held(maps, size, _versions(maps))
        self.held += size

    def _drop(self, key: Hashable) -> None:
        self.held -= self._cached.pop(key).size
