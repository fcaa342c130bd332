"""Follow-up commands carry the options that the user gave."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from places import TRAIN_PLUGIN

from fssbench.cli import main
from fssbench.cli.hints import Verb, complete_hints, compose_next_command
from fssbench.cli.options import plugin_option, settings_option
from fssbench.errors import DataError

PLUGIN = """
from pathlib import Path
import torch
from fssbench.api import ImageMethod, MethodCard

class Plain(ImageMethod):
    card = MethodCard(name="plain-{0}", title="t", paper="p", year=2026, kind="other", backbone="none", size=64,
                      trained=False, reference="r", licence="l")

    def logits(self, query, support, support_mask):
        return torch.stack([query[:, 0], query[:, 1] + support_mask.mean((1, 2, 3))[:, None, None]], dim=1)
"""


@click.command(cls=Verb)
@click.argument("text")
@click.option("--data")
@click.option("--splits")
@click.option("--backbone")
@click.option("--size", type=int)
@settings_option("config")
@click.option("--ablate", multiple=True)
@plugin_option()
def asking(text: str, **_: Any) -> None:
    """Fail with the given text."""
    raise DataError(text)


def error_of(text: str, *options: str) -> str:
    result = CliRunner().invoke(asking, [text, *options])
    assert isinstance(result.exception, DataError)
    return str(result.exception)


def plugin_at(folder: Path, name: str = "my_method.py") -> str:
    path = folder / name
    path.write_text(PLUGIN.format(name.removesuffix(".py").replace(" ", "-").replace("_", "-")))
    return str(path)


def test_a_hint_carries_data_and_plugin(tmp_path: Path) -> None:
    plugin = plugin_at(tmp_path)
    text = error_of(
        "broken. Next: `fssbench data verify suim`, or look", "--data", "there", "--plugin", plugin
    )
    assert text == f"broken. Next: `fssbench data verify suim --plugin {plugin} --data there`, or look"


def test_a_hint_takes_only_what_its_verb_has(tmp_path: Path) -> None:
    options = ("--data", "there", "--backbone", "resnet50", "--size", "48", "--set", "a=1", "--ablate", "x")
    assert error_of("Next: `fssbench show hsnet`", *options) == "Next: `fssbench show hsnet`"
    assert error_of("Next: `fssbench train -m hsnet`", *options).endswith(
        "`fssbench train -m hsnet --data there --backbone resnet50 --set a=1 --ablate x --size 48`"
    )


@pytest.mark.parametrize(
    "hint",
    [
        "`fssbench run --help`",
        "`fssbench run --shard 1/2 ...`",
        "`--data mini`",
        "`fssbench data verify suim --data other`",
        "`fssbench nothing`",
        "`fssbench data`",
        "`fssbench `",
    ],
)
def test_hints_that_are_whole_stay(hint: str) -> None:
    assert error_of(f"Next: {hint}", "--data", "there") == f"Next: {hint}"


def test_options_that_were_not_given_are_not_carried() -> None:
    assert error_of("Next: `fssbench data verify suim`") == "Next: `fssbench data verify suim`"


def test_words_are_quoted_for_the_shell(tmp_path: Path) -> None:
    text = error_of("Next: `fssbench data verify suim`", "--data", "my data")
    assert shlex.split(text.split("`")[1])[-2:] == ["--data", "my data"]
    assert shlex.split(compose_next_command("report", Path("my runs"))) == ["fssbench", "report", "my runs"]


def test_outside_a_command_nothing_is_added() -> None:
    assert complete_hints("Next: `fssbench data verify suim`") == "Next: `fssbench data verify suim`"


def test_what_follows_a_training_carries_fold_shot_and_plugin(tmp_path: Path, mini: Path) -> None:
    plugin = str(TRAIN_PLUGIN)
    words = ("train", "-m", "learner", "-b", "pascal-to-isic2018", "--fold", "0", "--shot", "2")
    short = ("--steps", "1", "--batch", "2", "--size", "64", "--val-episodes", "0")
    out = ("--data", str(mini), "--plugin", plugin, "-o", str(tmp_path / "my training"))
    result = invoke(*words, *short, *out)
    assert result.exit_code == 0, result.output
    following = shlex.split(result.stderr.split("Next: `")[-1].split("`")[0])
    assert following[:2] == ["fssbench", "run"]
    for option, value in {
        "--checkpoint": str(tmp_path / "my training" / "checkpoint.safetensors"),
        "--plugin": plugin,
        "--data": str(mini),
        "--size": "64",
        "--fold": "0",
        "--shot": "2",
    }.items():
        assert following[following.index(option) + 1] == value


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def run_plugin(plugin: str, data: Path, out: Path) -> Result:
    words = (
        "run",
        "-m",
        "plain-my-method",
        "-b",
        "pascal5i-to-suim",
        "-k",
        "1",
        "--size",
        "64",
        "--episodes",
        "2",
    )
    return invoke(*words, "--data", str(data), "--plugin", plugin, "-o", str(out))


def test_a_run_without_its_data_names_the_folder_given(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    plugin = plugin_at(tmp_path)
    result = run_plugin(plugin, tmp_path / "empty", tmp_path / "runs")
    assert result.exit_code == 3
    assert f"`fssbench data fetch suim --plugin {plugin} --data {tmp_path / 'empty'}`" in result.stderr


def test_a_run_on_damaged_data_names_data_and_plugin(tmp_path: Path, mini: Path) -> None:
    plugin, data = plugin_at(tmp_path), tmp_path / "data"
    data.mkdir()
    shutil.copytree(mini / "SUIM", data / "SUIM")
    for image in data.rglob("*.jpg"):
        image.write_bytes(image.read_bytes()[:200])
    result = run_plugin(plugin, data, tmp_path / "runs")
    assert result.exit_code != 0
    hints = [part for part in result.stderr.split("`") if part.startswith("fssbench data verify")]
    assert hints
    assert all(f"--plugin {plugin} --data {data}" in hint for hint in hints)


def test_the_next_command_of_check_takes_plugin_backbone_and_size(tmp_path: Path) -> None:
    plugin = plugin_at(tmp_path, "a method.py")
    result = invoke("check", plugin, "--size", "48")
    assert result.exit_code == 0, result.output
    words = shlex.split(result.stderr.splitlines()[-1])
    assert words[:3] == ["Next:", "fssbench", "run"]
    assert words[words.index("--plugin") + 1] == plugin
    assert words[words.index("--size") + 1] == "48"
    assert words[words.index("--data") + 1] == "mini"
