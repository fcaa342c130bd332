"""What must not be published is in no file of a run, report or leaderboard."""

from __future__ import annotations

import json
import socket

import pytest
from hypothesis import given, strategies as st
from places import NULL_PLUGIN
from processes import run_commands

from fssbench.runs.redaction import identify_value, redact, redact_text, redact_value
from fssbench.runs.store import find_run_folders, read_run

PATHS = (
    "/home/annaberg/data",
    "/scratch/annaberg/data",
    "/scratch/annaberg/my own folder/data",
    "~annaberg/data",
    "../annaberg/data",
    "..\\annaberg\\data",
    "C:\\Users\\annaberg\\data",
    "d:/annaberg/data",
    "\\\\nas\\annaberg\\data",
    "file:///home/annaberg/data",
    "file://nas/annaberg/data",
    "/annaberg/one:/annaberg/two:/annaberg/data",
)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("form", ["{}", "--data={}", "--set=weights={}", "weights={}", "-o{}"])
def test_of_a_path_the_last_part_alone_is_kept(path, form):
    (kept,) = redact([form.format(path)])
    assert "annaberg" not in kept
    assert kept.endswith(".../data")


@pytest.mark.parametrize("path", [p for p in PATHS if " " not in p])
@pytest.mark.parametrize(
    "form", ["cannot read {}: no", "'{}' is empty", "({}, 3)", '{{"a": "{}"}}', "x\n{}\ny"]
)
def test_paths_within_sentences(path, form):
    kept = redact_text(form.format(path))
    assert "annaberg" not in kept
    assert "data" in kept


@pytest.mark.parametrize(
    "text",
    [
        "1/4",
        "a/b",
        "runs/one",
        "https://example.org/a/b",
        "and/or",
        "/",
        "s/a",
        "2.5",
        "a:b",
        "w/o prior",
        "50 %",
    ],
)
def test_what_names_nobody_is_kept(text):
    assert redact([text]) == [text]
    assert redact_text(text) == text


@given(
    st.lists(st.text(alphabet="abcxyz_.- ", min_size=1, max_size=8).filter(str.strip), min_size=1, max_size=5)
)
def test_no_folder_of_any_absolute_path_is_kept(names):
    (kept,) = redact(["/secretfolder/" + "/".join(names)])
    assert "secretfolder" not in kept


def test_names_of_user_and_host_are_taken_out_of_relative_paths_too(monkeypatch):
    monkeypatch.setenv("LOGNAME", "annaberg")
    monkeypatch.setattr(socket, "gethostname", lambda: "node17.cluster.example")
    kept = " ".join(redact(["--data", "scratch/annaberg/data", "--out", "node17:runs", "http://node17:80/x"]))
    assert "annaberg" not in kept
    assert "node17" not in kept


def test_a_name_that_everybody_has_is_kept(monkeypatch):
    monkeypatch.setenv("LOGNAME", "data")
    assert redact(["--data", "my/data"]) == ["--data", "my/data"]


def test_path_in_an_identity_stands_for_its_content(tmp_path):
    one, two = tmp_path / "anna" / "w.pth", tmp_path / "ben" / "w.pth"
    for path, text in ((one, "1"), (two, "1")):
        path.parent.mkdir()
        path.write_text(text)
    first = identify_value("", {"weights": str(one), "other": [str(one.parent)], "number": 3, "name": "a/b"})
    assert first == identify_value(
        "", {"weights": str(two), "other": [str(two.parent)], "number": 3, "name": "a/b"}
    ) | {"other": [first["other"][0]]}
    assert "anna/" not in json.dumps(first)
    assert (first["number"], first["name"]) == (3, "a/b")
    two.write_text("2")
    assert identify_value("", {"weights": str(two)})["weights"] != first["weights"]


def test_secret_setting_is_hidden_and_yet_tells_measurements_apart():
    first, other = (identify_value("", {"api_key": key, "tokens": 3}) for key in ("S3CRET", "S3CRET2"))
    assert first != other
    assert "S3CRET" not in json.dumps([first, other])
    assert first["tokens"] == 3
    assert redact_value("", {"api_key": "S3CRET"}) == {"api_key": "[hidden]"}


def test_planted_user_host_and_secret_are_in_no_output(null):
    """The real commands, with folders below a user's name, a home by another name and a named host."""
    user, host = "annaberg", "node17"
    place = null.folder / "scratch" / user
    place.mkdir(parents=True)
    null.data.rename(place / "data")
    (null.folder / "home").symlink_to(place)
    plugin = place / "mine.py"
    source = NULL_PLUGIN.read_text()
    fields = "    bias: float = 0.0\n    encoder: str = ''\n    api_key: str = ''\n"
    source = source.replace("    bias: float = 0.0\n", fields)
    named = f"import os\nimport socket\n\nsocket.gethostname = lambda: {host!r}\n"
    plugin.write_text(source.replace("import os\n", named))
    (place / "w.pth").write_text("weights")
    config = place / "c.toml"
    config.write_text(
        f'data = "{place / "data"}"\nset = {{encoder = "{place / "w.pth"}", api_key = "S3CRET"}}\n'
    )
    env = {"LOGNAME": user, "USER": user, "HOME": str(null.folder / "home"), "FSSBENCH_DATA": ""}
    out = place / "runs"
    common = ("--plugin", plugin, "-m", "null", "-b", "nulldata", "-k", "1", "--episodes", "4", "--out", out)
    report, site = null.folder / "report", null.folder / "site"
    places = {"FSSBENCH_DATA": str(place / "data"), "FSSBENCH_CACHE": str(place / "cache")}
    broken = out / "broken"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("{")
    *others, shown = run_commands(
        ("run", *common, "--config", config),
        ("run", *common, "--data", null.folder / "home" / "data", f"--set=encoder={place / 'w.pth'}"),
        ("report", out, "-o", report, "--plugin", plugin),
        ("leaderboard", out, "-o", site),
        ("env",),
        folder=null.folder,
        environment=null.make_environment(env),
        changes={4: places},
    )
    assert [result.returncode for result in others] == [0, 0, 0, 0], others
    assert len(list(find_run_folders(out))) == 3
    assert user not in shown.stdout
    looked = 0
    for folder in (out, report, site):
        for path in folder.rglob("*"):
            assert not any(name in path.relative_to(folder).as_posix() for name in (user, host, "S3CRET"))
            if path.is_file() and path.name != ".owner.json":
                looked += 1
                text = path.read_bytes().decode("latin-1")
                for name in (user, host, "S3CRET", str(null.folder)):
                    assert name not in text, (path, name)
    assert looked > 10
    for path in find_run_folders(out):
        if path != broken:
            assert "w.pth" in read_run(path).manifest.block.config["encoder"]
