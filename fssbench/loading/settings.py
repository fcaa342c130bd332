"""Settings of a method: those that are given, and those that a checkpoint fixes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from torch import Tensor

from fssbench.contracts.methods import AT_INFERENCE, Method, MethodConfig, implied_settings
from fssbench.errors import PluginError, UsageError, unknown
from fssbench.plugins.calls import plugin_call

RESERVED = frozenset(
    {
        "ablate",
        "backbone",
        "checkpoint",
        "config",
        "device",
        "download",
        "force",
        "name",
        "plan",
        "seed",
        "untrained",
        "weights",
    }
)
"""Arguments of `fssbench.load_method`, which takes settings beside them: no setting has one of these names."""


def refuse_reserved(names: Iterable[str]) -> None:
    """Refuse settings that would be taken for arguments of `load_method`.

    Raises:
        UsageError: naming the first of them.
    """
    for name in names:
        if name in RESERVED:
            raise UsageError(
                f"{name!r} is no setting of a method. Next: where the command has an option --{name}, give that"
            )


def configured(cls: type[Method], ablate: Sequence[str], config: Mapping[str, Any]) -> MethodConfig:
    """Build the method's settings from ablations and explicit values.

    Raises:
        UsageError: naming the field or ablation, what is allowed and neighbours.
        PluginError: if a field has the name of an argument of `load_method`.
    """
    method, values = cls.card.name, dict(config)
    if taken := sorted(RESERVED & cls.Config.model_fields.keys()):
        raise PluginError(
            f"method {method!r} has a setting {taken[0]!r}, which is an argument of fssbench.load_method. "
            "Next: give the field another name"
        )
    for ablation in ablate:
        if ablation not in cls.Config.ablations:
            raise unknown(f"ablation of method {method}", ablation, cls.Config.ablations)
        for field, value in cls.Config.ablations[ablation].settings.items():
            if field in config and config[field] != value:
                raise UsageError(
                    f"ablation {ablation!r} of method {method} sets {field}={value!r}, and "
                    f"{field}={config[field]!r} was given too; give one of them"
                )
            values[field] = value
    try:
        with plugin_call(f"method {method!r} cannot take its settings:", passes=(ValidationError,)):
            return cls.Config(**values)
    except ValidationError as error:
        raise _refused(cls, error) from None


def settings_for_weights(
    cls: type[Method], ablate: Sequence[str], config: Mapping[str, Any], state: Mapping[str, Tensor] | None
) -> MethodConfig:
    """The method's settings; what is not given comes from the authors' weights, then from the defaults.

    Args:
        cls: the method.
        ablate: names of ablations.
        config: the settings that were given.
        state: weights in the authors' layout that will be loaded, if any.

    Raises:
        UsageError: as `configured`.
        PluginError: if `cls.settings_of` fails or returns something that is no setting.
    """
    settings = configured(cls, ablate, config)
    if state is None:
        return settings
    with plugin_call(f"method {cls.card.name!r} cannot tell the settings of these weights:"):
        implied = implied_settings(cls, state)
    given = {*config, *(field for name in ablate for field in cls.Config.ablations[name].settings)}
    return configured(cls, ablate, {**{k: v for k, v in implied.items() if k not in given}, **config})


def _refused(cls: type[Method], error: ValidationError) -> UsageError:
    first = error.errors(include_url=False)[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    fields = cls.Config.model_fields
    if first["type"] == "extra_forbidden":
        hint = f"Next: `fssbench show {cls.card.name}`"
        return unknown(f"setting of method {cls.card.name}", field, fields, hint=hint)
    kind = fields[field].annotation if field in fields else None
    if get_origin(kind) is Literal:
        choices = [str(choice) for choice in get_args(kind)]
        return unknown(f"value of setting {field} of method {cls.card.name}", str(first["input"]), choices)
    return UsageError(
        f"setting {field}={first['input']!r} of method {cls.card.name}: {first['msg']}. "
        f"Next: `fssbench show {cls.card.name}` lists settings and their values"
    )


def may_differ(config: type[MethodConfig]) -> frozenset[str]:
    """Return the names of the settings that only affect inference."""
    return frozenset(name for name, field in config.model_fields.items() if AT_INFERENCE in field.metadata)


def trained_settings(config: type[MethodConfig], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a checkpoint was trained with.

    Args:
        config: the settings of the present version of the method.
        stored: those in the checkpoint's header.

    Returns:
        What was stored; a setting that the method has gained since has its default.
    """
    return {**config().model_dump(mode="json"), **stored}


def differing_settings(
    config: type[MethodConfig], stored: Mapping[str, Any], asked: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Return the settings because of which a checkpoint does not fit a method.

    Args:
        config: the settings of the present version of the method.
        stored: those in the checkpoint's header.
        asked: all settings that the method is to have, JSON-able.

    Returns:
        By name, the checkpoint's value and the one asked for; None if there is none.
    """
    trained, free = trained_settings(config, stored), may_differ(config)
    return {
        name: (trained.get(name), asked.get(name))
        for name in sorted({*trained, *asked})
        if name not in free and trained.get(name) != asked.get(name)
    }


def settings_to_take(cls: type[Method], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a method must be given to fit a checkpoint: those that differ from its defaults."""
    usual, free = cls.Config().model_dump(mode="json"), may_differ(cls.Config)
    return {k: v for k, v in stored.items() if k in usual and k not in free and usual[k] != v}


def is_accepted(cls: type[Method], name: object) -> bool:
    """Whether a class takes the weights of a method of this name."""
    return name == cls.card.name or name in cls.accepts
