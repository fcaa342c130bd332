"""How contract checks are run: tiny named functions, one finding each."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from fssbench.plugin_calls import explain_error, show_traceback

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True)
class CheckResult:
    """What came of one check."""

    check: str
    contract: str
    """The promise, in one sentence."""
    status: Literal["pass", "fail", "skip"]
    reason: str = ""
    seconds: float = 0.0


class Broken(Exception):  # noqa: N818 - a finding, not an error
    """The contract is broken, and how."""


class Skipped(Exception):  # noqa: N818 - a finding, not an error
    """The check does not apply, and why."""


T = TypeVar("T")


def run(
    checks: Iterable[Callable[[T], None]], subject: T, waivers: Mapping[str, str]
) -> Iterator[CheckResult]:
    """Run every check on the subject; nothing a plugin raises stops the others."""
    for check in checks:
        name, contract = check.__name__, (inspect.getdoc(check) or "").partition("\n")[0]
        started = time.monotonic()
        try:
            check(subject)
            status, reason = "pass", ""
        except Skipped as skipped:
            status, reason = "skip", str(skipped)
        except Broken as broken:
            status, reason = "fail", str(broken)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may raise anything, SystemExit included
            show_traceback(error)
            status, reason = "fail", f"raised {explain_error(error)}"
        if status == "fail" and name in waivers:
            status, reason = "skip", f"waived: {waivers[name]} ({reason})"
        outcome: Any = status
        yield CheckResult(name, contract, outcome, reason, round(time.monotonic() - started, 3))


def require(kept: bool, reason: str) -> None:
    """Record the contract as broken unless it is kept."""
    if not kept:
        raise Broken(reason)


def require_card(card: Any, may_be_empty: set[str]) -> None:
    """A usable name, and no empty field besides those named."""
    require(bool(_NAME.fullmatch(card.name)), f"name {card.name!r} is not of a-z, 0-9, dot, dash, underscore")
    empty = [f for f, v in card.model_dump().items() if v in ("", ()) and f not in may_be_empty]
    require(not empty, f"card fields are empty: {', '.join(empty)}")
