"""Settings for one of several methods: `METHOD.SETTING` as a key, as in `--set gf-sam.segmenter=rgb`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fssbench.errors import UsageError, make_unknown_error
from fssbench.loading.settings import refuse_reserved
from fssbench.plugins.registry import METHODS


def select_settings(config: Mapping[str, Any], method: str, methods: Sequence[str]) -> dict[str, Any]:
    """Select the settings of one method: those for all methods, then those that are addressed to it.

    Args:
        config: settings by `SETTING` or `METHOD.SETTING`.
        method: name of the method.
        methods: names of all methods of the request.

    Raises:
        UsageError: if a setting for all methods exists in some of them only, or has the name of an option.
    """
    own = METHODS.get(method).Config.model_fields
    common = {key: value for key, value in config.items() if "." not in key}
    for key in common:
        others = [other for other in methods if other != method and _has_setting(other, key)]
        if key not in own and others:
            raise UsageError(
                f"method {method} has no setting {key!r}, but {others[0]} has. Next: `--set {others[0]}.{key}=...`, "
                "which is for that method alone"
            )
    addressed = {key: value for key, value in config.items() if "." in key}
    mine = {
        setting: value
        for key, value in addressed.items()
        for name, _, setting in [key.rpartition(".")]
        if name == method
    }
    refuse_reserved(mine)
    return {**common, **mine}


def check_addresses(config: Mapping[str, Any], methods: Sequence[str]) -> Iterator[str]:
    """Check that settings are addressed to methods that exist.

    Yields:
        A note for each method that exists but is not evaluated, so that its settings have no effect.

    Raises:
        UsageError: for a method that does not exist.
    """
    for name in dict.fromkeys(key.rpartition(".")[0] for key in config if "." in key):
        if name in methods:
            continue
        if name not in METHODS.names():
            raise make_unknown_error("method of --set METHOD.SETTING", name, methods)
        yield f"--set {name}.SETTING has no effect: {name} is not among the methods of this run"


def _has_setting(method: str, key: str) -> bool:
    return key in METHODS.get(method).Config.model_fields
