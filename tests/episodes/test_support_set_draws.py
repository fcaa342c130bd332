"""Further support sets, against the rule written out with a Philox of our own."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from made_up_plans import drawn, entries_of

from fssbench.api import Entry
from fssbench.episodes.sampling import PROTOCOLS


def philox(counter: list[int], key: list[int]) -> list[int]:
    """The four words of Philox 4x64-10 (Salmon et al., SC 2011, section 4.3) for one counter."""
    words, key = list(counter), list(key)
    for _ in range(10):
        left, right = 0xD2E7470EE14C6C93 * words[0], 0xCA5A826395121157 * words[2]
        words = [
            (right >> 64) ^ words[1] ^ key[0],
            right % 2**64,
            (left >> 64) ^ words[3] ^ key[1],
            left % 2**64,
        ]
        key = [(key[0] + 0x9E3779B97F4A7C15) % 2**64, (key[1] + 0xBB67AE8584CAA73B) % 2**64]
    return words


@pytest.mark.parametrize("shot", [1, 4])
@pytest.mark.parametrize("protocol", ["published", "fssbench"])
def test_support_sets_are_drawn_by_their_rule(protocol: str, shot: int) -> None:
    """The rule written out: `published` takes the first of a new shuffle for each support, of a list with repeats."""
    entries = (*entries_of(dict.fromkeys(range(5), 9)), Entry("3/2.jpg", 3), Entry("0/1.jpg", 0))
    options: dict[str, Any] = {"protocol": protocol, "shot": shot, "seed": 5, "episodes": 30}
    one, three = (drawn("pascal5i", entries, supports=sets, **options) for sets in (1, 3))
    name = f"support sets/1|{PROTOCOLS[protocol]}|5|pascal5i|0|{shot}"
    digest = hashlib.sha256(name.encode()).digest()
    key = [int.from_bytes(digest[k : k + 8], "little") for k in (0, 8)]
    expected = []
    for episode in one:
        listed = [e.item for e in entries if e.class_id == episode.class_id]
        items = [i for i in (sorted(set(listed)) if protocol == "fssbench" else listed) if i != episode.query]
        for number in range(3):
            words = philox([1, 0, number, episode.index], key)  # NumPy counts before it draws
            if protocol == "fssbench":
                supports = []
                for word in words[:shot]:
                    remaining = shuffled(items, supports)
                    supports.append(remaining[word % len(remaining)])
            else:
                supports = [items[word % len(items)] for word in words[:shot]]
            expected.append((episode.query, episode.supports if number == 0 else tuple(supports)))
    assert [(e.query, e.supports) for e in three] == expected


def shuffled(items: list[str], taken: list[str]) -> list[str]:
    """The items that a Fisher-Yates shuffle has left after some were taken: the first left one fills each gap."""
    places = list(items)
    for n, item in enumerate(taken):
        at = places.index(item, n)
        places[n], places[at] = places[at], places[n]
    return places[len(taken) :]
