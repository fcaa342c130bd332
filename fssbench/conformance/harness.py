"""Runs contract checks: small named functions with one result each."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from fssbench.plugins.calls import call_debugger, explain_error, find_place, shorten_message, show_traceback

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")

Watch = Callable[[str, int, int], None]
"""Function that is called before each check with its name, the number of checks done, and the number of all checks;
at the end it is called once more with an empty name."""


class Status(StrEnum):
    """The outcome of a contract check."""

    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True)
class CheckResult:
    """Result of one check."""

    check: str
    contract: str
    """The sentence of the contract."""
    status: Status
    reason: str = ""
    seconds: float = 0.0
    cause: int | None = None
    """Number of the cause of a failure, from 1.  Failures with the same number have the same cause: type of error,
    line of the plugin, and message except for its numbers."""


class Broken(Exception):  # noqa: N818 - a finding, not an error
    """The plugin breaks the contract; the message explains how."""


class Skipped(Exception):  # noqa: N818 - a finding, not an error
    """The check does not apply; the message explains why."""


T = TypeVar("T")


def ignore_progress(name: str, done: int, total: int) -> None:
    """Ignore the progress of the checks."""


def run_checks(
    checks: Sequence[Callable[[T], None]],
    subject: T,
    waivers: Mapping[str, str],
    watch: Watch = ignore_progress,
) -> Iterator[CheckResult]:
    """Run every check on the subject; an exception of the plugin does not stop the other checks."""
    causes: dict[tuple[str, str, str], int] = {}
    for done, check in enumerate(checks):
        name, contract = check.__name__, (inspect.getdoc(check) or "").partition("\n")[0]
        watch(name, done, len(checks))
        started, cause = time.monotonic(), None
        try:
            check(subject)
            status, reason = Status.PASS, ""
        except Skipped as skipped:
            status, reason = Status.SKIP, str(skipped)
        except Broken as broken:
            status, reason, cause = Status.FAIL, str(broken), _find_cause(broken)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may raise anything, SystemExit included
            status, reason, cause = Status.FAIL, f"raised {explain_error(error)}", _find_cause(error)
            if cause not in causes:
                show_traceback(error)
                if name not in waivers:
                    call_debugger(error)
        if status == Status.FAIL and name in waivers:
            status, reason, cause = Status.SKIP, f"waived: {waivers[name]} ({reason})", None
        number = None if cause is None else causes.setdefault(cause, len(causes) + 1)
        yield CheckResult(name, contract, status, reason, round(time.monotonic() - started, 3), number)
    watch("", len(checks), len(checks))


def _find_cause(error: BaseException) -> tuple[str, str, str]:
    """Return what failures with the same cause share: type, message without numbers, line of the plugin."""
    return (
        type(error).__name__,
        re.sub(r"\d+", "#", shorten_message(error)),
        find_place(error.__cause__ or error),
    )


def require(is_kept: bool, reason: str) -> None:
    """Raise `Broken` with the reason, unless the contract is kept."""
    if not is_kept:
        raise Broken(reason)


def require_card(card: Any, may_be_empty: set[str]) -> None:
    """Require a valid name, and no empty field except for those in `may_be_empty`."""
    require(
        bool(_NAME.fullmatch(card.name)),
        f"the name {card.name!r} may only contain a-z, 0-9, dots, dashes and underscores",
    )
    empty = [f for f, v in card.model_dump().items() if v in ("", ()) and f not in may_be_empty]
    require(not empty, f"these fields of the card are empty: {', '.join(empty)}")
