"""Plans in memory once, although the run of every method stores its own copy.

A plan is recognised by the hash of its whole file, so an edited file is never taken for the one that was read before.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from weakref import WeakValueDictionary

from fssbench.contracts.episodes import Plan
from fssbench.episodes.plan_file import parse_plan, read_plan_file

_plans: WeakValueDictionary[bytes, Plan] = WeakValueDictionary()
"""Plans that are in use, by the sha256 of their file."""


def read_shared_plan(path: Path) -> Plan:
    """Read a plan as `read_plan` does; a file of equal bytes gives the same object as long as that is in use.

    Raises:
        DataError: as `read_plan`.
    """
    content = read_plan_file(path)
    key = hashlib.sha256(content).digest()
    plan = _plans.get(key)
    if plan is None:
        plan = _plans[key] = parse_plan(content, path)
    return plan
