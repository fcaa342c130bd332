"""Which names and forms are secrets, and what is left of a text that holds some."""

from __future__ import annotations

import pytest

from fssbench.files.secrets import (
    HIDDEN,
    hide_in_message,
    hide_in_text,
    hide_settings,
    is_secret,
    remember_secrets,
)

SECRET = "S3CRETvalue99"

NAMES = (
    *("api_key", "apikey", "API-KEY", "token", "hf_token", "access_token", "password", "passwd", "db_pwd"),
    *("secret", "client_secret", "credentials", "bearer", "auth", "authorization", "--auth-token", "cookie"),
    *("private_key", "signing_key", "passphrase", "jwt", "session_id", "webhook_url", "key", "--key", "dsn"),
)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name, SECRET)
    assert is_secret(name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("author", "Anna"),
        ("keys", "3"),
        ("query_key", "blocks"),
        ("key_dim", "64"),
        ("tokens", "3"),
        ("num_tokens", "196"),
        ("token_pooling", "true"),
        ("monkey", SECRET),
        ("data/token", SECRET),
    ],
)
def test_names_of_other_settings(name: str, value: str) -> None:
    assert not is_secret(name, value)


def test_a_key_of_any_service_is_known_by_its_length() -> None:
    assert is_secret("openai_key", "abcdefghij0123456789")


@pytest.mark.parametrize(
    "text",
    [
        f"https://anna:{SECRET}@host/x",
        f"https://{SECRET}@host/x",
        f"postgres://u:{SECRET}@db:5432/runs",
        f"anna:{SECRET}@proxy.example:8080",
        f"https://host/x?sig={SECRET}&b=2",
        f"https://host/x?a=1&X-Amz-Signature={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"authorization=Basic {SECRET}",
        f"X-Api-Key: {SECRET}",
        f'{{"api_key": "{SECRET}", "n": 1}}',
        f"{{'password': '{SECRET} with blanks'}}",
        f"Cookie: session={SECRET}",
        f"the token={SECRET}, which expired",
        f"hf_{SECRET}",
        f"ghp_{SECRET}",
        f"sk-{SECRET}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_forms_in_a_text(text: str) -> None:
    hidden = hide_in_text(text)
    assert SECRET not in hidden
    assert HIDDEN in hidden


@pytest.mark.parametrize(
    "text",
    [
        "https://host/x",
        "mail anna@example.org",
        "pascal-to-isic2018:isic1",
        "the token grid has 14 x 14 cells",
        "basic blocks of a network",
        "panet (bias=1.0, api_key=[hidden])",
        "author: A. N. Author",
        "12:30",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert hide_in_text(text) == text
    assert hide_in_text(hide_in_text(text)) == text


def test_settings_of_every_depth() -> None:
    given = {
        "api_key": SECRET,
        "n": 3,
        "nested": {"token": SECRET, "urls": [f"https://a:{SECRET}@h", "plain"]},
        "e": "",
    }
    hidden = hide_settings(given)
    assert SECRET not in str(hidden)
    assert (hidden["n"], hidden["e"], hidden["nested"]["urls"][1]) == (3, "", "plain")


def test_a_secret_that_was_given_is_in_no_message() -> None:
    remember_secrets({"api_key": "a-very-plain-word", "size": "large"})
    assert hide_in_message("401 for a-very-plain-word, size large") == f"401 for {HIDDEN}, size large"
