"""Settings of a method: those that the user gives, and those that a checkpoint needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from torch import Tensor

from fssbench.contracts.methods import AT_INFERENCE, Method, MethodConfig, implied_settings
from fssbench.errors import PluginError, UsageError, make_unknown_error
from fssbench.files.secrets import HIDDEN, hide_settings, is_secret, remember_secrets
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
        "plugins",
        "seed",
        "untrained",
        "weights",
    }
)
"""Arguments of `fssbench.load_method`.  It takes settings as keyword arguments too, so no setting has such a name."""


def refuse_reserved(names: Iterable[str]) -> None:
    """Refuse settings that have the name of an argument of `load_method`.

    Raises:
        UsageError: naming the first of them.
    """
    for name in names:
        if name in RESERVED:
            raise UsageError(
                f"{name!r} is not a setting of a method. Next: use the option --{name} if the command has it"
            )


def make_settings(cls: type[Method], ablate: Sequence[str], config: Mapping[str, Any]) -> MethodConfig:
    """Build the method's settings from ablations and explicit values.

    Raises:
        UsageError: for an unknown field, value or ablation, with what is allowed and similar names.
        PluginError: if a field has the name of an argument of `load_method`.
    """
    method, values = cls.card.name, dict(config)
    remember_secrets(config)
    if taken := sorted(RESERVED & cls.Config.model_fields.keys()):
        raise PluginError(
            f"method {method!r} has a setting {taken[0]!r}, which is an argument of fssbench.load_method. "
            "Next: rename the setting"
        )
    for ablation in ablate:
        if ablation not in cls.Config.ablations:
            raise make_unknown_error(f"ablation of method {method}", ablation, cls.Config.ablations)
        for field, value in cls.Config.ablations[ablation].settings.items():
            if field in config and config[field] != value:
                raise UsageError(
                    f"ablation {ablation!r} of method {method} sets {field}={value!r}, but "
                    f"{field}={config[field]!r} was given as well. Next: omit one of them"
                )
            values[field] = value
    try:
        with plugin_call(f"method {method!r} cannot take its settings:", passes=(ValidationError,)):
            return cls.Config(**values)
    except ValidationError as error:
        raise _explain_refusal(cls, error) from None


def make_settings_for_weights(
    cls: type[Method], ablate: Sequence[str], config: Mapping[str, Any], state: Mapping[str, Tensor] | None
) -> MethodConfig:
    """Make the settings of a method; values that are not given come from the authors' weights, then from the defaults.

    Args:
        cls: the method.
        ablate: names of ablations.
        config: the settings that were given.
        state: weights in the authors' layout that will be loaded, if any.

    Raises:
        UsageError: as `make_settings`.
        PluginError: if `cls.settings_of` fails or returns a name that is not a setting.
    """
    settings = make_settings(cls, ablate, config)
    if state is None:
        return settings
    with plugin_call(f"method {cls.card.name!r} cannot read its settings from these weights:"):
        implied = implied_settings(cls, state)
    given = {*config, *(field for name in ablate for field in cls.Config.ablations[name].settings)}
    return make_settings(cls, ablate, {**{k: v for k, v in implied.items() if k not in given}, **config})


def _explain_refusal(cls: type[Method], error: ValidationError) -> UsageError:
    first = error.errors(include_url=False)[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    fields = cls.Config.model_fields
    if first["type"] == "extra_forbidden":
        hint = f"Next: `fssbench show {cls.card.name}`"
        return make_unknown_error(f"setting of method {cls.card.name}", field, fields, hint=hint)
    kind = fields[field].annotation if field in fields else None
    if get_origin(kind) is Literal:
        choices = [str(choice) for choice in get_args(kind)]
        return make_unknown_error(
            f"value of setting {field} of method {cls.card.name}", str(first["input"]), choices
        )
    given = HIDDEN if is_secret(field, first["input"]) else repr(first["input"])
    return UsageError(
        f"setting {field}={given} of method {cls.card.name} is not allowed: {first['msg']}. "
        f"Next: `fssbench show {cls.card.name}` lists the settings and their values"
    )


def list_inference_settings(config: type[MethodConfig]) -> frozenset[str]:
    """Return the names of the settings that only affect inference."""
    return frozenset(name for name, field in config.model_fields.items() if AT_INFERENCE in field.metadata)


def complete_trained_settings(config: type[MethodConfig], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a checkpoint was trained with.

    Args:
        config: the settings of the present version of the method.
        stored: the settings in the header of the checkpoint.

    Returns:
        The stored settings, and the default of each setting that the method has gained since.
    """
    return hide_settings({**config().model_dump(mode="json"), **stored})


def find_differing_settings(
    config: type[MethodConfig], stored: Mapping[str, Any], requested: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Return the settings by which a checkpoint does not fit a method.

    Args:
        config: the settings of the present version of the method.
        stored: the settings in the header of the checkpoint.
        requested: all requested settings, as JSON values.

    Returns:
        By name, the value of the checkpoint and the requested one; None if there is none.
    """
    requested = hide_settings(requested)
    trained, free = complete_trained_settings(config, stored), list_inference_settings(config)
    return {
        name: (trained.get(name), requested.get(name))
        for name in sorted({*trained, *requested})
        if name not in free
        and trained.get(name) != requested.get(name)
        and not _is_hidden(trained, requested, name)
    }


def _is_hidden(trained: Mapping[str, Any], requested: Mapping[str, Any], name: str) -> bool:
    """Return whether a setting is a secret, which a checkpoint does not hold and which moves no weight."""
    return HIDDEN in f"{trained.get(name)} {requested.get(name)}"


def list_settings_to_take(cls: type[Method], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a method must be given to fit a checkpoint: those that differ from its defaults."""
    usual, free = cls.Config().model_dump(mode="json"), list_inference_settings(cls.Config)
    return {
        k: v
        for k, v in stored.items()
        if k in usual and k not in free and usual[k] != v and HIDDEN not in str(v)
    }


def is_accepted(cls: type[Method], name: object) -> bool:
    """Return whether a class accepts the weights of a method of this name."""
    return name == cls.card.name or name in cls.accepts
