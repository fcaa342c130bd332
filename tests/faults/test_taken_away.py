"""Somebody else changes a run folder while it is being written: an error, and nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from messages import error_names
from null_harness import NullHarness

from fssbench.errors import RunFolderError
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.settings import Settings
from fssbench.runs.masks import read_masks
from fssbench.runs.pictures import read_panels
from fssbench.runs.store import read_manifest, read_records, read_run
from fssbench.runs.writer import RunWriter

EPISODES = 6


def delete(run: Path) -> None:
    (run / "episodes.jsonl").unlink()


def empty(run: Path) -> None:
    os.truncate(run / "episodes.jsonl", 0)


def cut_a_line(run: Path) -> None:
    data = (run / "episodes.jsonl").read_bytes()
    os.truncate(run / "episodes.jsonl", data[:-1].rfind(b"\n") + 1)


def tear(run: Path) -> None:
    os.truncate(run / "episodes.jsonl", (run / "episodes.jsonl").stat().st_size - 7)


def replace(run: Path) -> None:
    copy = run / "copy"
    copy.write_bytes((run / "episodes.jsonl").read_bytes()[:-1].rpartition(b"\n")[0] + b"\n")
    copy.replace(run / "episodes.jsonl")


def replace_by_an_equal_copy(run: Path) -> None:
    shutil.copy(run / "episodes.jsonl", run / "copy")
    (run / "copy").replace(run / "episodes.jsonl")


def extend(run: Path) -> None:
    with (run / "episodes.jsonl").open("ab") as file:
        file.write(b"somebody else's line\n")


def edit_a_digit(run: Path) -> None:
    path = run / "episodes.jsonl"
    data = path.read_bytes()
    with path.open("r+b") as file:  # in place: neither number nor size of the file changes
        file.write(data.replace(b'"inter":[1', b'"inter":[2', 1))
    assert path.read_bytes() != data


def delete_the_folder(run: Path) -> None:
    shutil.rmtree(run)


def delete_the_manifest(run: Path) -> None:
    (run / "manifest.json").unlink()


def edit_the_plan(run: Path) -> None:
    (run / "plan.json").write_text((run / "plan.json").read_text().replace('"fold": 0', '"fold": 1'))


HARMS = (
    delete,
    empty,
    cut_a_line,
    tear,
    replace,
    replace_by_an_equal_copy,
    extend,
    edit_a_digit,
    delete_the_folder,
    delete_the_manifest,
    edit_the_plan,
)


def disturbed(null, harm, at: int, out: str = "out"):
    """Evaluate, and do harm to the run's folder once `at` episodes are stored."""
    done = 0

    def watch(*_: object) -> None:
        nonlocal done
        done += 1
        if done == at:
            harm(null.find_run(out))

    settings = Settings(out=null.folder / out, panels=2)
    return evaluate_all([null.method()], null.plan(EPISODES), settings, watch=watch)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """The folder of a run that nobody disturbed; read-only by agreement."""
    null = NullHarness(tmp_path_factory.mktemp("undisturbed"))
    (done,) = null.run("whole", null.plan(EPISODES), panels=2)
    return done.path


@pytest.mark.filterwarnings("ignore:the last record")
@pytest.mark.parametrize("at", [1, 3, EPISODES], ids=["first", "middle", "last"])
@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_harm_to_a_running_run_is_an_error_and_loses_nothing(null, undisturbed, harm, at):
    done, ((_, error),) = disturbed(null, harm, at)
    assert done == []
    assert isinstance(error, RunFolderError)
    path = null.find_run("out")
    assert str(path) in str(error)
    assert f"{EPISODES} episodes were written again" in str(error)
    assert null.read_results(path) == null.read_results(undisturbed)
    assert (path / "panels.jsonl").read_bytes() == (undisturbed / "panels.jsonl").read_bytes()
    assert read_run(path).status == "complete"
    null.calls_file.unlink()
    (again,) = null.run("out", null.plan(EPISODES), panels=2)
    assert (again.computed, null.count_calls()) == (0, 0)


def test_what_lay_in_place_of_the_log_is_set_aside_and_never_deleted(null):
    _, ((_, error),) = disturbed(null, extend, 3)
    (aside,) = null.find_run("out").glob("episodes.jsonl.aside-*")
    assert aside.name in str(error)
    assert b"somebody else's line" in aside.read_bytes()


@pytest.mark.parametrize("masks", [False, True])
def test_a_folder_that_is_deleted_before_its_first_episode_is_made_again(null, undisturbed, masks):
    """Pictures and masks of an episode are stored before its counts."""

    def logits(self, query, support, support_mask):
        if not null.count_calls():
            shutil.rmtree(null.find_run("out"))
        return null.base.logits(self, query, support, support_mask)

    method = null.make_broken("null", logits=logits)
    settings = Settings(out=null.folder / "out", panels=EPISODES, save_masks=masks)
    done, ((_, error),) = evaluate_all([method], null.plan(EPISODES), settings)
    assert done == []
    assert isinstance(error, RunFolderError)
    path = null.find_run("out")
    assert read_run(path).records == read_run(undisturbed).records
    assert len(list(read_panels(read_run(path)))) == EPISODES
    assert len(read_masks(path)) == EPISODES * masks


@pytest.mark.parametrize("at", [3, 4], ids=["before an episode", "before one with pictures"])
def test_folder_that_is_moved_away_keeps_all_that_was_computed(null, at):
    elsewhere = null.folder / "elsewhere"
    done, ((_, error),) = disturbed(null, lambda run: run.rename(elsewhere), at)
    assert done == []
    assert isinstance(error, RunFolderError)
    assert error_names(
        error, "was moved while it was being written", f"{at + 1} episodes", "Next: move it back"
    )
    records, _ = read_records(elsewhere / "episodes.jsonl")
    assert sorted(records) == list(range(at + 1))
    assert list((null.folder / "out").iterdir()) == []
    elsewhere.rename(null.folder / "out" / error.args[0].split("/out/")[1].split(" ")[0])
    (again,) = null.run("out", null.plan(EPISODES), panels=2)
    assert again.computed == EPISODES - at - 1


def test_folder_that_another_process_took_over_is_left_to_it(null):
    plan = null.plan(EPISODES)
    owners = []

    def take(run: Path) -> None:
        manifest = read_manifest(run)
        shutil.rmtree(run)
        owners.append(RunWriter(run, manifest, plan).__enter__())

    done, ((_, error),) = disturbed(null, take, 3)
    owners[0].__exit__(None)
    assert done == []
    assert isinstance(error, RunFolderError)
    assert read_run(null.find_run("out")).done == 0
    (kept,) = (null.folder / "out").glob("*.episodes-*.jsonl")
    assert kept.name in str(error)
    assert sorted(read_records(kept)[0]) == [0, 1, 2]


def test_harm_to_one_method_leaves_the_other_alone(null):
    plan = null.plan(EPISODES)
    methods = [null.method(), null.method(sleep=0.0001)]
    harmed = False

    def watch(*_: object) -> None:
        nonlocal harmed
        if not harmed:
            harmed = True
            delete(sorted((null.folder / "two").iterdir())[0])

    done, failed = evaluate_all(methods, plan, Settings(out=null.folder / "two", panels=0), watch=watch)
    assert len(done) == len(failed) == 1
    assert done[0].score.episodes == EPISODES


def test_command_ends_in_three_without_a_figure(null, monkeypatch):
    from click.testing import CliRunner

    from fssbench.cli import main
    from fssbench.evaluation import method_run

    original = method_run.MethodRun.step
    seen = 0

    def step(self, episode, inputs):
        nonlocal seen
        seen += 1
        original(self, episode, inputs)
        if seen == 3:
            delete(self.path)

    monkeypatch.setattr(method_run.MethodRun, "step", step)
    arguments = [
        "run",
        "-m",
        "null",
        "-b",
        "nulldata",
        "-k",
        "1",
        "--data",
        str(null.data),
        "--episodes",
        "6",
        "--no-isolate",  # the step that is replaced here is that of this process
    ]
    outcome = CliRunner().invoke(main, [*arguments, "-o", str(null.folder / "cli"), "-q", "--json"])
    assert outcome.exit_code == RunFolderError.exit_code == 3
    assert outcome.stdout == ""
    assert "episodes.jsonl was deleted" in outcome.stderr
    again = CliRunner().invoke(main, [*arguments, "-o", str(null.folder / "cli"), "-q", "--json"])
    assert again.exit_code == 0
    assert json.loads(again.stdout)["episodes"] == 6
