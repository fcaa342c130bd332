"""Recognises secrets: by the name under which they are given, and by their form in a text.

One rule holds for arguments, settings, manifests, checkpoints, reports and messages.  It hides too much rather than too
little; a number under a name such as `tokens` is a setting of a method and no secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "[hidden]"

_WORDS = (
    r"token|secret|passw|passphrase|passcode|pwd|credential|bearer|cookie|jwt|webhook|auth(?!or(?!iz))|"
    r"(?:api|access|private|signing|service|account|session|encryption|subscription|licen[cs]e)[-_. ]?key|"
    r"session[-_. ]?id|connection[-_. ]?string|\bdsn\b"
)
_NAME = re.compile(rf"(?i)({_WORDS}|^-*key$)")
_COUNTED = re.compile(r"(?i)token")
"""Names that count things of a network as well."""
_PLAIN = re.compile(r"(?i)[-+]?[0-9]{1,9}(\.[0-9]{1,9})?|true|false|yes|no|on|off|none|")
"""Values that are a number or a switch."""
_LIKE_KEY = re.compile(r"(?i)[-_.]key$")
_LONG_VALUE = re.compile(r"[^\s/\\]{16,}")
"""Value that a name such as `openai_key` makes a secret; `query_key=blocks` is none."""

_SHORTEST = 6
"""Length from which a secret is searched for in messages; a shorter one would be a part of many words."""
_given: set[str] = set()

_KNOWN = re.compile(
    r"\b(?:hf_|gh[pousr]_|github_pat_|glpat-|sk[-_]|rk_live_|xox[abp]-|AKIA|ASIA|AIza|ya29\.|npm_|pypi-|eyJ)[\w.-]{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
"""Prefixes and frames by which secrets are recognised without a name."""
_USER = re.compile(r"://[^/@\s]+@")
_LOGIN = re.compile(r"(?<![\w/.:-])[\w.+-]+:[^\s@/:]{3,}@(?=[\w-]+[.:/])")
"""`user:password@host` without a scheme."""
_QUERY = re.compile(r"([?&][^=&\s]*=)[^&\s]+")
_SCHEME = re.compile(r"(?i)\b(bearer|basic|digest|token)\s+(?=[\w.~+/=-]*[\d=_-])[\w.~+/=-]{8,}")
"""The value of a header `Authorization`."""
_PAIR = re.compile(
    rf"""(?ix)
    ((?<![\w])["']?[\w.-]*(?:{_WORDS})[\w.-]*["']?\s*[:=]\s*)   # the name, as in JSON, in a header or in a setting
    (?![\[\s]|(?:bearer|basic|digest|token)\s)
    (?:"[^"]*"|'[^']*'|[^\s"',;&{{}})\]]+)
    """.replace("[-_. ]", r"[-_.\ ]")
)


def is_secret(name: str, value: object = None) -> bool:
    """Return whether an option or setting holds a secret.

    Args:
        name: its name.
        value: its value, if it is known.
    """
    if re.search(r"[/\\?]", name):
        return False
    text = value if isinstance(value, str) else ""
    if _NAME.search(name):
        return not (_COUNTED.search(name) and text and _PLAIN.fullmatch(text))
    return bool(_LIKE_KEY.search(name) and _LONG_VALUE.fullmatch(text))


def hide_in_text(text: str) -> str:
    """Hide the secrets in a text: passwords in addresses, values after a secret's name, and tokens of known form.

    Example:
        >>> hide_in_text("https://anna:pw@host/x?key=1 and api_key=abc")
        'https://[hidden]@host/x?key=[hidden] and api_key=[hidden]'
    """
    text = hide_in_message(text)
    text = _LOGIN.sub(f"{HIDDEN}@", text)
    text = _QUERY.sub(rf"\1{HIDDEN}", text)
    return _PAIR.sub(rf"\1{HIDDEN}", text)


def hide_in_message(text: str) -> str:
    """Hide in a message what is a secret without doubt; other values stay, because the message is about them."""
    for secret in sorted(_given, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _USER.sub(f"://{HIDDEN}@", text)
    text = _SCHEME.sub(rf"\1 {HIDDEN}", text)
    return _KNOWN.sub(HIDDEN, text)


def remember_secrets(settings: Mapping[str, Any]) -> None:
    """Remember the secrets among the settings that this process was given, so that no message shows them."""
    for name, value in settings.items():
        if isinstance(value, str) and len(value) >= _SHORTEST and is_secret(name, value):
            _given.add(value)


def hide_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a method as a file may hold them: each text that is a secret is replaced."""
    return {name: _hide_value(name, value) for name, value in settings.items()}


def _hide_value(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _hide_value(str(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_hide_value(name, each) for each in value]
    if not isinstance(value, str) or not value:
        return value
    return HIDDEN if is_secret(name, value) else hide_in_text(value)
