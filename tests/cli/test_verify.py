"""`fssbench verify`: what was changed in a run, its data or its method is found; what is not at hand is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from registries import plugins_restored

from fssbench.cli import main
from fssbench.contracts.run_manifest import RunManifest
from fssbench.data.location import make_miniature
from fssbench.episodes.plan_file import read_plan, write_plan
from fssbench.files.append_log import seal, unseal
from fssbench.runs.store import compute_seal, find_run_folders, read_run

PLUGIN = """
import torch
from fssbench.api import ImageMethod, MethodCard, MethodConfig


class Settings(MethodConfig):
    margin: float = 0.5
    ablations = {"bare": {"margin": 0.1}}


class Near(ImageMethod):
    card = MethodCard(name="near", title="Near", paper="none", year=2026, kind="other", backbone="none", size=32,
                      trained=False, reference="none", licence="none")
    Config = Settings

    def logits(self, query, support, support_mask):
        near = support_mask.mean(1) - self.config.margin * (query - support.mean(1)).abs().mean(1)
        return torch.stack([-near, near], 1)
"""


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder with data, a plugin and two runs of it on other episodes."""
    root = tmp_path_factory.mktemp("world")
    make_miniature(root / "data", names=["chestxray"])
    (root / "near.py").write_text(PLUGIN)
    for shot in ("1", "2"):
        common = (
            "-b",
            "pascal-to-chestxray",
            "-k",
            shot,
            "--data",
            root / "data",
            "--episodes",
            "6",
            "--size",
            "32",
        )
        more = ("--set", "margin=0.4", "--panels", "2", "-q", "--plugin", root / "near.py", "-m", "near")
        with plugins_restored():  # a test that gives no plugin must not find it registered
            done = invoke("run", *common, *more, "-o", root / "runs")
        assert done.exit_code == 0, done.output
    return root


@pytest.fixture
def place(world, tmp_path) -> Path:
    return Path(shutil.copytree(world, tmp_path / "world"))


def verify(
    place: Path, *more: str | Path, data: bool = True, plugin: bool = True
) -> tuple[int, dict[str, str], str]:
    """Exit code, outcomes by check of the one-shot run, and all details."""
    given: list[str | Path] = ["--data", place / "data"] if data else []
    given += ["--plugin", place / "near.py"] if plugin else []
    result = invoke("verify", one(place), *given, "--json", *more)
    assert result.exit_code in (0, 3), result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return result.exit_code, {r["check"]: r["outcome"] for r in rows}, " ".join(r["detail"] for r in rows)


def one(place: Path) -> Path:
    return next(p for p in find_run_folders(place / "runs") if "-1shot-" in p.name)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def seal_again(run: Path) -> None:
    plan = read_plan(run / "plan.json")
    edit(run / "manifest.json", lambda m: m.update(sealed=compute_seal(RunManifest.read_stored(m), plan)))


def edit_record(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the third record and make its checksum fit."""
    log = run / "episodes.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    data = unseal(lines[2].rstrip())
    data.pop("crc", None)
    change(data)
    lines[2] = seal(data)
    log.write_bytes(b"".join(lines))


def test_sound_runs_are_equal_in_all_points(world):
    result = invoke(
        "verify", world / "runs", "--data", world / "data", "--plugin", world / "near.py", "--share", "1"
    )
    assert result.exit_code == 0, result.output
    assert "2 are equal in all points" in result.stderr
    assert "6 of 6 episodes were computed again" in result.stdout


def test_what_is_not_at_hand_is_said_and_is_neither_success_nor_error(place):
    code, result, detail = verify(place, plugin=False)
    assert (code, result["data"], result["counts"]) == (0, "equal", "not checked")
    assert "'near'" in detail
    code, result, _ = verify(place, data=False)
    assert code == 0
    assert {result[c] for c in ("episodes", "data", "counts", "marks proven")} == {"not checked"}
    own = ("manifest", "plan", "seal", "marks and settings", "records", "summary")
    assert {result[c] for c in own} == {"equal"}


def test_a_manifest_without_its_seal_differs(place):
    edit(one(place) / "manifest.json", lambda m: m.pop("sealed"))
    code, result, _ = verify(place, data=False)
    assert (code, result["seal"]) == (3, "differs")


def count_off(r: dict[str, Any]) -> None:
    r["inter"][1] += 1


def count_off_consistently(r: dict[str, Any]) -> None:
    r["inter"] = [r["inter"][0], r["inter"][1] + 1]
    r["union"] = [r["union"][0] - 0, r["union"][1] + 1]


def mended(run: Path) -> None:
    """Bring the summary in line with the log, as a careful forger does."""
    from fssbench.runs.summary import summarise

    summarise(run)


HARMS: dict[str, tuple[Callable[[Path], object], str, bool]] = {
    # name: what is done to the run, the check that finds it, whether data are needed
    "count": (lambda r: edit_record(r, count_off), "records", False),
    "count and summary": (lambda r: (edit_record(r, count_off), mended(r)), "records", False),
    "counts that fit each other": (lambda r: edit_record(r, count_off_consistently), "summary", False),
    "counts that fit, and summary": (
        lambda r: (edit_record(r, count_off_consistently), mended(r)),
        "counts",
        True,
    ),
    "record left out": (
        lambda r: (r / "episodes.jsonl").write_bytes(
            b"".join((r / "episodes.jsonl").read_bytes().splitlines(keepends=True)[1:])
        ),
        "summary",
        False,
    ),
    "log deleted": (lambda r: (r / "episodes.jsonl").unlink(), "summary", False),
    "record of another episode": (lambda r: edit_record(r, lambda d: d.update(i=5)), "records", False),
    "log of another run": (
        lambda r: shutil.copy(
            next(p for p in find_run_folders(r.parent) if p != r) / "episodes.jsonl", r / "episodes.jsonl"
        ),
        "summary",
        False,
    ),
    "log of another run, and summary": (
        lambda r: (
            shutil.copy(
                next(p for p in find_run_folders(r.parent) if p != r) / "episodes.jsonl", r / "episodes.jsonl"
            ),
            mended(r),
        ),
        "counts",
        True,
    ),
    "mark deleted": (
        lambda r: edit(r / "manifest.json", lambda m: m["context"]["marks"].pop(0)),
        "seal",
        False,
    ),
    "mark deleted and sealed": (
        lambda r: (
            edit(r / "manifest.json", lambda m: m["context"]["marks"].remove("capped (6 of 600 episodes)")),
            seal_again(r),
        ),
        "marks and settings",
        False,
    ),
    "mark deleted everywhere and sealed": (lambda r: unmark(r), "episodes", True),
    "mark added and sealed": (
        lambda r: (
            edit(r / "manifest.json", lambda m: m["context"]["marks"].append("untrained")),
            seal_again(r),
        ),
        "marks proven",
        True,
    ),
    "label": (
        lambda r: (edit(r / "manifest.json", lambda m: m["context"].update(label="ours")), seal_again(r)),
        "marks and settings",
        False,
    ),
    "folds": (
        lambda r: (edit(r / "manifest.json", lambda m: m["context"].update(folds=4)), seal_again(r)),
        "marks and settings",
        False,
    ),
    "setting that was given": (
        lambda r: (
            edit(r / "manifest.json", lambda m: m["context"].update(config_passed={}, label="near")),
            seal_again(r),
        ),
        "marks and settings",
        False,
    ),
    "ablations": (
        lambda r: (
            edit(
                r / "manifest.json",
                lambda m: m["context"].update(ablations=["bare"], label="near (w/o bare, margin=0.4)"),
            ),
            seal_again(r),
        ),
        "marks and settings",
        False,
    ),
    "block": (lambda r: edit(r / "manifest.json", lambda m: m["block"].update(seed=1)), "manifest", False),
    "block and identity": (lambda r: rehash(r, seed=1), "plan", False),
    "data hash and identity": (lambda r: rehash(r, data_sha256="0" * 64), "data", True),
    "summary": (
        lambda r: (r / "summary.json").write_text((r / "summary.json").read_text().replace(" ", "", 1)),
        "summary",
        False,
    ),
    "plan": (
        lambda r: (r / "plan.json").write_text(
            (r / "plan.json").read_text().replace('"shot": 1', '"shot": 2')
        ),
        "plan",
        False,
    ),
    "manifest torn": (lambda r: (r / "manifest.json").write_text("{"), "manifest", False),
    "manifest without context": (
        lambda r: edit(r / "manifest.json", lambda m: m.update(context={})),
        "manifest",
        False,
    ),
}


def unmark(run: Path) -> None:
    from dataclasses import replace

    plan = read_plan(run / "plan.json")
    write_plan(replace(plan, marks=tuple(m for m in plan.marks if m != "miniature")), run / "plan.json")
    edit(run / "manifest.json", lambda m: m["context"]["marks"].remove("miniature"))
    seal_again(run)
    mended(run)


def rehash(run: Path, **block: Any) -> None:
    from fssbench.files.canonical_json import digest

    def change(m: dict[str, Any]) -> None:
        m["block"].update(block)
        m["identity"] = digest(m["block"])

    edit(run / "manifest.json", change)
    seal_again(run)


@pytest.mark.parametrize("name", HARMS)
def test_harm_to_a_run_is_found(place, name):
    harm, check, data = HARMS[name]
    harm(one(place))
    code, result, _ = verify(place, "--share", "1", data=data)
    assert code == 3
    assert result[check] == "differs", result


def change_one_byte(place: Path) -> None:
    plan = read_run(one(place)).plan
    path = next((place / "data").rglob(f"{Path(plan[2].query).stem}.png"))
    data = bytearray(path.read_bytes())
    data[-13] ^= 1  # in the checksum of the last chunk, behind all pixels
    path.write_bytes(data)


def test_changed_data_are_found_with_the_file(place):
    change_one_byte(place)
    code, result, detail = verify(place)
    assert (code, result["data"]) == (3, "differs")
    assert "1 of " in detail
    assert Path(read_run(one(place)).plan[2].query).stem in detail


def test_more_data_are_other_episodes(place):
    image = sorted((place / "data").rglob("CXR_png/CHN*.png"))[0]
    mask = next((place / "data").rglob(f"{image.stem}_mask.png"))
    for path in (image, mask):
        shutil.copy(path, path.with_name(path.name.replace(image.stem, "CHNCXR_0000_0")))
    code, result, _ = verify(place)
    assert (code, result["episodes"], result["counts"]) == (3, "differs", "equal")


def test_edited_method_is_found(place):
    (place / "near.py").write_text(
        (place / "near.py").read_text().replace("-near, near", "-near, near + 0.1")
    )
    code, result, detail = verify(place, "--share", "1")
    assert (code, result["identity"], result["counts"]) == (3, "differs", "differs")
    assert "source_sha256" in detail


def test_another_machine_is_allowed_a_tolerance_and_says_so(place):
    run = one(place)
    edit(run / "manifest.json", lambda m: m["context"]["packages"].update(torch="9.9"))
    seal_again(run)

    def nudge(r: dict[str, Any]) -> None:
        r["inter"] = [r["inter"][0] - 1, r["inter"][1]]
        r["union"] = [r["union"][0], r["union"][1] + 1]

    edit_record(run, nudge)
    mended(run)
    (run / "checksums.json").unlink()
    code, result, detail = verify(place, "--share", "1")
    assert (code, result["counts"]) == (0, "equal")
    assert "packages differ" in detail
    assert "by 1 pixels" in detail


def test_same_share_for_everybody_and_bounds(place):
    details = {verify(place, "--episodes", "2")[2] for _ in range(2)}
    assert len(details) == 1
    assert "2 of 6 episodes were computed again" in details.pop()
    for nothing in (("--episodes", "0"), ("--share", "0")):
        code, result, _ = verify(place, *nothing)
        assert (code, result["counts"], result["pictures"]) == (0, "not checked", "not checked")
        assert result["identity"] == "equal"
    assert invoke("verify", one(place), "--share", "1.5").exit_code == 2
    assert invoke("verify", place / "nothing").exit_code == 3


@pytest.mark.parametrize("part", ["query", "truth", "prediction", "supports"])
def test_pictures_of_another_episode_are_found(place, part):
    log = one(place) / "panels.jsonl"
    first, second = (unseal(line) for line in log.read_bytes().splitlines())
    for data in (first, second):
        data.pop("crc", None)
    assert verify(place, "--share", "1")[1]["pictures"] == "equal"
    for key in {"query": ("jpeg",), "supports": ("supports",)}.get(part, (part,)):
        assert first[key] != second[key]
        first[key] = second[key]
    log.write_bytes(seal(first) + seal(second))
    code, result, detail = verify(place, "--share", "1")
    assert (code, result["pictures"], result["counts"]) == (3, "differs", "equal")
    assert f"episode {first['i']}: {part}" in detail


def test_damaged_pictures_are_found(place):
    log = one(place) / "panels.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"prediction":"', b'"prediction":"A', 1))
    code, result, _ = verify(place, "--share", "1")
    assert (code, result["pictures"]) == (3, "differs")


def test_a_run_without_pictures_has_no_such_check(place):
    (one(place) / "panels.jsonl").unlink()
    code, result, _ = verify(place, "--share", "1")
    assert code == 0
    assert "pictures" not in result


def test_shards_and_merged_runs_are_checked_too(place):
    common = (
        "-b",
        "pascal-to-chestxray",
        "-k",
        "1",
        "--data",
        place / "data",
        "--episodes",
        "6",
        "--size",
        "32",
    )
    more = ("-q", "--plugin", place / "near.py", "-m", "near", "-o", place / "shards")
    for shard in ("1/2", "2/2"):
        assert invoke("run", *common, *more, "--shard", shard).exit_code == 0
    assert invoke("merge", place / "shards", "-o", place / "merged").exit_code == 0
    given = ("--data", place / "data", "--plugin", place / "near.py", "--share", "1")
    result = invoke("verify", place / "shards", place / "merged", *given)
    assert result.exit_code == 0, result.output
    assert "3 are equal in all points" in result.stderr


def test_table_is_plain_and_help_tells_the_two_verbs_apart(world):
    result = invoke("verify", one(world))
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].split("\t") == ["run", "check", "outcome", "detail"]
    assert "fssbench data verify" in invoke("verify", "--help").output
