"""`fssbench data adopt`, `--data-folder` and the verbs that know a folder of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import own_folders
import pytest
from command import run_command
from messages import error_names
from PIL import Image
from places import NULL_PLUGIN
from registries import scan_again

import fssbench
from fssbench.errors import UsageError
from fssbench.plugins.data_folders import make_class
from fssbench.plugins.registry import DATASETS
from fssbench.runs.checksums import update_checksum
from fssbench.runs.store import SUMMARY, find_run_folders, read_run, write_json

DATA_HAVE_ERRORS = 3
USAGE = 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight images of two classes; the second has one image."""
    root = tmp_path / "My Domain"
    own_folders.write_index(root, [own_folders.draw_labels(n, 2 if n == 0 else 1) for n in range(8)])
    (root / "classes.txt").write_text("1 crack\n2 spall\n")
    return root


def forget_all() -> None:
    """Begin as a new process does: with nothing registered but what the environment and the register say."""
    scan_again(DATASETS)


def run_null(tmp_path: Path, *options: object, name: str = "my-domain") -> list[dict]:
    """Runs of the null method on own data."""
    arguments = (
        "run",
        "--plugin",
        NULL_PLUGIN,
        "-m",
        "null",
        "-b",
        name,
        "--shot",
        1,
        "--episodes",
        4,
        "--size",
        32,
    )
    result = run_command(*arguments, "--panels", 0, "--out", tmp_path / "runs", "-q", "--json", *options)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_adopted_once_a_folder_is_known_to_every_verb(folder: Path, tmp_path: Path) -> None:
    result = run_command("data", "adopt", folder, "--title", "Bridges", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["classes"] == {"0": "crack"}
    assert told["left out"] == ["spall"]  # a query without a support
    assert "fssbench run -m pmnet -b my-domain" in result.stderr
    forget_all()
    assert run_command("data", "verify", "my-domain").exit_code == 0
    assert run_command("data", "verify").exit_code == 0  # own data need no data folder
    rows = {
        r["name"]: r for r in map(json.loads, run_command("list", "datasets", "--json").stdout.splitlines())
    }
    assert (rows["my-domain"]["title"], rows["my-domain"]["found"]) == ("Bridges", str(folder))
    names = [
        json.loads(line)["name"] for line in run_command("list", "benchmarks", "--json").stdout.splitlines()
    ]
    assert "my-domain" in names
    assert "0 crack" in run_command("show", "my-domain").output
    plan = json.loads(run_command("episodes", "my-domain", "--json").stdout)
    assert plan["marks"] == ["own data (8 images of my-domain)"]
    assert plan["lists"].rpartition(" ")[2] == plan["lists"].split("population ")[1]
    assert run_command("check", "my-domain").exit_code == 0


def test_figures_on_own_data_are_marked_as_such_and_as_nothing_else(folder: Path, tmp_path: Path) -> None:
    run_command("data", "adopt", folder)
    forget_all()
    (row,) = run_null(tmp_path, "--data", "mini")  # which does not concern it
    assert row["marks"][0] == "own data (8 images of my-domain)"
    kinds = {mark.partition(" (")[0] for mark in row["marks"]}
    assert kinds <= {"own data", "capped", "resized", "doubtful masks"}
    (path,) = find_run_folders(tmp_path / "runs")
    run = read_run(path)
    assert len(run.manifest.block.lists.rpartition("population ")[2]) == 64
    assert str(folder) not in (path / "manifest.json").read_text()
    assert run_command("verify", path, "--plugin", NULL_PLUGIN).exit_code == 0
    assert (
        run_command("report", tmp_path / "runs", "-o", tmp_path / "report", "--format", "csv").exit_code == 0
    )


def test_supports_that_repeat_on_own_data_are_marked_in_the_run_and_in_tables(
    folder: Path, tmp_path: Path
) -> None:
    run_command("data", "adopt", folder)
    forget_all()
    rows = {row["shot"]: row["marks"] for row in run_null(tmp_path, "--shot", 8)}
    assert "repeated supports (4 of 4 episodes)" in rows[8]
    assert not any("repeated" in mark for mark in rows[1])
    table = fssbench.results(tmp_path / "runs").means.set_index("shot")["marks"]
    assert "repeated supports (4 of 4 episodes)" in table[8]
    assert run_command("verify", tmp_path / "runs", "--plugin", NULL_PLUGIN).exit_code == 0
    (distinct,) = run_null(tmp_path, "--protocol", "fssbench")
    assert not any("repeated" in mark for mark in distinct["marks"])
    refused = run_command("run", "-m", "panet", "-b", "my-domain", "-k", 8, "--protocol", "fssbench")
    assert refused.exit_code == DATA_HAVE_ERRORS
    assert error_names(refused.stderr, "crack (8)", "9 images")


def test_a_run_of_an_earlier_version_agrees_although_its_summary_lacks_the_mark_of_repeated_supports(
    folder: Path, tmp_path: Path
) -> None:
    run_command("data", "adopt", folder)
    forget_all()
    run_null(tmp_path, "--shot", 8)
    (path,) = (p for p in find_run_folders(tmp_path / "runs") if read_run(p).plan.shot == 8)
    summary = json.loads((path / SUMMARY).read_text())
    mark = "repeated supports (4 of 4 episodes)"
    others = [each for each in summary["marks"] if each != mark]
    assert len(others) == len(summary["marks"]) - 1
    for marks, agrees in ((others, True), (others[1:], False), ([*others[1:], mark], False)):
        write_json(path / SUMMARY, {**summary, "marks": marks})
        update_checksum(path, SUMMARY)
        checked = run_command("verify", path, "--plugin", NULL_PLUGIN)
        assert (checked.exit_code == 0) == agrees, checked.output


def test_who_checks_a_run_on_own_data_is_told_which_option_names_the_folder(
    folder: Path, tmp_path: Path
) -> None:
    run_command("data", "adopt", folder, "--no-register")
    run_null(tmp_path, "--data-folder", f"my-domain={folder}")
    (path,) = find_run_folders(tmp_path / "runs")
    forget_all()
    report = run_command("report", path, "-o", tmp_path / "report", "--format", "markdown")
    assert report.exit_code == 0, report.output
    assert "\n## my-domain (own data)" in (tmp_path / "report" / "report.md").read_text()
    for command in (("verify", path, "--json"), ("episodes", "--replay", path / "plan.json")):
        answer = run_command(*command)
        assert answer.exit_code == 0
        assert "--data-folder my-domain=DIR" in answer.output
        assert "fssbench list" not in answer.output
    given = ("--data-folder", f"my-domain={folder}", "--plugin", NULL_PLUGIN)
    assert "not checked\t" not in run_command("verify", path, *given).stdout


def test_the_same_files_give_the_same_identity_wherever_they_lie_and_other_rules_another(
    folder: Path, tmp_path: Path
) -> None:
    run_command("data", "adopt", folder, "--no-register")
    moved = tmp_path / "elsewhere"
    identities = []
    for place in (folder, moved):
        if place == moved:
            folder.rename(moved)
        forget_all()
        identities += [row["identity"] for row in run_null(tmp_path, "--data-folder", f"my-domain={place}")]
    assert identities[0] == identities[1]
    path = moved / "dataset.toml"
    path.write_text(path.read_text().replace('rule = "all"', 'rule = "hash"\ntest_percent = 90'))
    forget_all()
    (row,) = run_null(tmp_path, "--data-folder", moved)  # the description states the name
    assert row["identity"] != identities[0]


def test_a_folder_needs_no_description(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((12, 10), dtype=np.uint8)).save(folder / "masks" / "0.png")
    (folder / "classes.txt").unlink()
    (row,) = run_null(tmp_path, "--data-folder", f"bridges={folder}", name="bridges")
    assert row["marks"][0] == "own data (7 images of bridges)"
    assert not (folder / "dataset.toml").exists()


def test_python_names_a_folder_for_this_process(folder: Path) -> None:
    from fssbench.api import name_data_folder

    (folder / "classes.txt").unlink()
    (folder / "masks" / "0.png").unlink()
    (folder / "images" / "0.jpg").unlink()
    assert name_data_folder(f"bridges={folder}") == "bridges"
    assert fssbench.plan("bridges", episodes=2).marks[0] == "own data (7 images of bridges)"


def test_the_environment_names_folders_and_the_option_takes_precedence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    own_folders.write_binary(other, [own_folders.draw_labels(n) for n in range(3)])
    monkeypatch.setenv("FSSBENCH_DATA_FOLDERS", f"mine={other}:bridges={other}")
    forget_all()
    assert {"mine", "bridges"} <= set(DATASETS.names())
    assert json.loads(run_command("episodes", "mine", "--json").stdout)["marks"] == [
        "own data (3 images of mine)"
    ]
    (folder / "masks" / "0.png").unlink()
    (folder / "images" / "0.jpg").unlink()
    (folder / "classes.txt").unlink()
    told = run_command("episodes", "mine", "--json", "--data-folder", f"mine={folder}")
    assert json.loads(told.stdout)["marks"] == ["own data (7 images of mine)"]
    monkeypatch.setenv("FSSBENCH_DATA_FOLDERS", "mine")
    forget_all()
    with pytest.raises(UsageError, match="NAME=DIR"):
        DATASETS.names()
    monkeypatch.delenv("FSSBENCH_DATA_FOLDERS")
    forget_all()


def test_files_with_errors_are_named_and_nothing_is_written(folder: Path) -> None:
    (folder / "masks" / "3.png").unlink()
    result = run_command("data", "adopt", folder)
    assert result.exit_code == DATA_HAVE_ERRORS
    assert error_names(result.output, "images/3.jpg", "no mask", "--leave-out-faulty", "Nothing was written")
    assert not (folder / "dataset.toml").exists()
    forget_all()
    assert "my-domain" not in DATASETS.names()
    assert run_command("data", "adopt", folder, "--leave-out-faulty").exit_code == 0
    assert 'leave_out = ["images/3.jpg"]' in (folder / "dataset.toml").read_text()


def test_a_second_adoption_needs_a_word(folder: Path) -> None:
    assert run_command("data", "adopt", folder).exit_code == 0
    again = run_command("data", "adopt", folder)
    assert again.exit_code == USAGE
    assert error_names(again.output, "my-domain", "--again", "--from-scratch")
    assert run_command("data", "adopt", folder, "--again", "--split", "hash:50").exit_code == 0
    assert "test_percent = 50.0" in (folder / "dataset.toml").read_text()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--name", "pascal5i"), ("pascal5i", "published")),
        (("--split", "hash:200"), ("hash:200", "hash:30")),
        (("--split", "half"), ("half", "hash:PERCENT")),
        (("--classes", "crack,rust"), ("rust", "crack", "spall")),
        (("--images", "pictures", "--masks", "masks"), ("pictures", "--images")),
    ],
)
def test_wrong_choices_are_named(folder: Path, options: tuple[str, ...], named: tuple[str, ...]) -> None:
    result = run_command("data", "adopt", folder, *options)
    assert result.exit_code in {USAGE, DATA_HAVE_ERRORS}
    assert error_names(result.output, *named)
    assert not (folder / "dataset.toml").exists()


def test_a_folder_that_is_gone_is_named_and_can_be_forgotten(folder: Path, tmp_path: Path) -> None:
    run_command("data", "adopt", folder)
    folder.rename(tmp_path / "away")
    forget_all()
    result = run_command("episodes", "my-domain")
    assert error_names(
        result.output, str(folder), "--data-folder my-domain=DIR", "fssbench data forget my-domain"
    )
    assert "broken" in run_command("list", "datasets").output
    assert run_command("data", "forget", "my-domain").exit_code == 0
    forget_all()
    assert "my-domain" not in DATASETS.names()
    assert run_command("data", "forget", "my-domain").exit_code == USAGE


def test_next_commands_repeat_the_folder(folder: Path) -> None:
    result = run_command("episodes", "my-domain", "--fold", 3, "--data-folder", f"my-domain={folder}")
    assert result.exit_code != 0
    (folder / "masks" / "3.png").unlink()
    forget_all()
    result = run_command("episodes", "my-domain", "--data-folder", f"my-domain={folder}")
    assert f"fssbench data verify my-domain --data-folder 'my-domain={folder}'" in result.output


@pytest.mark.parametrize(
    ("text", "named"),
    [("mine=/no/such/folder", ("/no/such/folder", "NAME=DIR")), ("pascal={}", ("pascal", "another name"))],
)
def test_a_wrong_data_folder_is_refused_before_anything_else(
    folder: Path, text: str, named: tuple[str, ...]
) -> None:
    result = run_command("episodes", "mine", "--data-folder", text.format(folder))
    assert result.exit_code == USAGE
    assert error_names(result.output, *named)


def test_names_that_are_written_after_the_description_are_taken_over(folder: Path) -> None:
    names = (folder / "classes.txt").read_text()
    (folder / "classes.txt").unlink()
    assert run_command("data", "adopt", folder).exit_code == 0
    path = folder / "dataset.toml"
    (folder / "classes.txt").write_text(names)
    told = json.loads(run_command("data", "adopt", folder, "--again", "--classes", "crack", "--json").stdout)
    assert (told["classes"], told["left out"]) == ({"0": "crack"}, ["spall"])
    path.write_text(path.read_text().replace('"crack"', '"fissure"'))
    told = json.loads(run_command("data", "adopt", folder, "--again", "--json").stdout)
    assert told["classes"] == {"0": "fissure"}  # an edit of the user


def test_values_and_colours_that_are_named_after_the_description_become_classes(tmp_path: Path) -> None:
    for write, file, line in (
        (own_folders.write_index, "classes.txt", "3 three"),
        (own_folders.write_colours, "palette.csv", "10,20,250,three"),
    ):
        root = tmp_path / write.__name__
        write(root, [own_folders.draw_labels(n, 2) for n in range(4)])
        whole = (root / file).read_text()
        (root / file).write_text("\n".join(each for each in whole.splitlines() if each != line))
        assert run_command("data", "adopt", root).exit_code == 0
        write(root, [own_folders.draw_labels(n, 3) for n in range(4)])
        told = json.loads(run_command("data", "adopt", root, "--again", "--json").stdout)
        assert told["classes"] == {"0": "one", "1": "two", "2": "three"}


def test_background_may_have_another_colour_than_black(tmp_path: Path) -> None:
    root = tmp_path / "white"
    own_folders.write_colours(root, [own_folders.draw_labels(n, 2) for n in range(4)])
    (root / "palette.csv").write_text("255,255,255,background\n255,0,0,one\n0,200,0,two\n")
    for path in (root / "masks").iterdir():
        colours = np.array(Image.open(path))
        colours[(colours == 0).all(axis=2)] = 255
        Image.fromarray(colours).save(path)
    result = run_command("data", "adopt", root, "--json")
    assert result.exit_code == 0, result.output
    assert "background_colour = [255, 255, 255]" in (root / "dataset.toml").read_text()
    dataset = make_class(None, root)(root)
    for entry in dataset.pool("test").entries:
        expected = own_folders.draw_labels(int(Path(entry.item).stem), 2) == entry.class_id + 1
        assert np.array_equal(dataset.mask(entry.item, entry.class_id), expected)
    black = np.zeros((12, 10, 3), dtype=np.uint8)  # which is then no background
    Image.fromarray(black).save(root / "masks" / "0.bmp")
    assert error_names(run_command("data", "adopt", root, "--again").output, "masks/0.bmp", "0,0,0")
