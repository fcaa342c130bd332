"""Checks a method in a separate process, so that a check that hangs or crashes becomes a failure of that check."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fssbench.conformance.harness import CheckResult, Status, Watch, ignore_progress
from fssbench.conformance.method import METHOD_CHECKS, SLOWEST, check_method, each_check
from fssbench.contracts.methods import Method
from fssbench.episodes.synthetic import SIDE
from fssbench.errors import PluginError
from fssbench.plugins.child_process import ChildProcess, Message, Reply, can_fork

SECONDS_OF_SLOW = 600.0
"""Time of one call after which a check is ended, at other sizes and for a method that waives `fast_enough`.  Otherwise
it is that of the contract, `SLOWEST`."""


def check_method_apart(
    cls: type[Method], backbone: str | None = None, *, size: int = SIDE, watch: Watch = ignore_progress
) -> list[CheckResult]:
    """Check a method class in a separate process; arguments and result as for `check_method`.

    The checks behind one that ended the process are skipped.
    """
    if not can_fork():
        return check_method(cls, backbone, size=size, watch=watch)
    name = f"method {cls.card.name!r}"
    is_slow = size != SIDE or cls.card.input_size not in (None, SIDE) or "fast_enough" in cls.waivers
    seconds = SECONDS_OF_SLOW if is_slow else SLOWEST
    limit = f"no call may take longer than {seconds:g} s"
    results: list[CheckResult] = []

    def work(_: Message, reply: Reply) -> None:
        def tell(check: str, done: int, total: int) -> None:
            reply({"check": check, "done": done, "total": total})

        def beat(calls: int) -> None:
            reply({"calls": calls})

        for result in each_check(cls, backbone, size=size, watch=tell, beat=beat):
            reply({"result": asdict(result)})
        reply({"end": True})

    process = ChildProcess(work, name)
    check, calls = "", 1
    try:
        process.send({})
        while True:
            message = process.receive(seconds * calls, f"check {check}", limit)
            if "error" in message:
                raise PluginError(str(message["error"]))
            if "end" in message:
                return results
            if "result" in message:
                results.append(_read_result(message["result"]))
            elif "check" in message:
                check, calls = message["check"], 1
                watch(check, message["done"], message["total"])
            else:
                calls = message["calls"]
    except PluginError as error:
        return [*results, *_list_rest(len(results), str(error))]
    finally:
        process.close()


def _read_result(given: Mapping[str, Any]) -> CheckResult:
    return CheckResult(**{**given, "status": Status(given["status"])})


def _list_rest(done: int, reason: str) -> list[CheckResult]:
    """Return the failure of the check that ended the process, and the checks that were not made."""
    failed, *others = METHOD_CHECKS[done:]
    rest = [CheckResult(failed.__name__, _contract(failed), Status.FAIL, reason, cause=1000)]
    why = f"not checked, because {failed.__name__} ended the process"
    return rest + [CheckResult(each.__name__, _contract(each), Status.SKIP, why) for each in others]


def _contract(check: Any) -> str:
    return (inspect.getdoc(check) or "").partition("\n")[0]
