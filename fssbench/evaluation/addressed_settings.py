"""Settings for one of several methods: `METHOD.SETTING` as a key, as in `--set gf-sam.segmenter=rgb`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fssbench.errors import UsageError, make_unknown_error
from fssbench.loading.settings import make_settings, refuse_reserved
from fssbench.plugins.registry import METHODS


def select_settings(config: Mapping[str, Any], method: str, methods: Sequence[str]) -> dict[str, Any]:
    """Select the settings of one method: those for all methods, then those that are addressed to it.

    Args:
        config: settings by `SETTING` or `METHOD.SETTING`.
        method: name of the method.
        methods: names of all methods of the request.

    Raises:
        UsageError: if a setting for all methods exists in only some of them, has the name of an option, or has a value
            that this method does not allow.
    """
    cls = METHODS.get(method)
    common = {key: value for key, value in config.items() if "." not in key}
    others = {key: [o for o in methods if o != method and _has_setting(o, key)] for key in common}
    for key, having in others.items():
        if key not in cls.Config.model_fields and having:
            verb = "has" if len(having) == 1 else "have"
            raise UsageError(
                f"method {method} has no setting {key!r}, but {' and '.join(having)} {verb}. Next: "
                f"{_compose_addresses(having, key)}"
            )
    addressed = {key: value for key, value in config.items() if "." in key}
    mine = {
        setting: value
        for key, value in addressed.items()
        for name, _, setting in [key.rpartition(".")]
        if name == method
    }
    refuse_reserved(mine)
    settings = {**common, **mine}
    shared = [key for key, having in others.items() if having and key not in mine]
    try:
        if shared:
            make_settings(cls, (), settings)
    except UsageError as error:
        addresses = _compose_addresses([*others[shared[0]], method], shared[0])
        raise UsageError(f"{error}. With several methods: {addresses}") from error
    return settings


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


def _compose_addresses(methods: Sequence[str], key: str) -> str:
    """Name the options that give a setting to single methods."""
    options = " or ".join(f"`--set {method}.{key}=...`" for method in methods)
    return (
        f"{options}, each for that method alone"
        if len(methods) > 1
        else f"{options}, which is for that method alone"
    )


def _has_setting(method: str, key: str) -> bool:
    return key in METHODS.get(method).Config.model_fields
