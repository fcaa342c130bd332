"""Plans with several support sets per query: what they hold, how they are stored, run, joined and verified."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings, strategies as st
from scipy import stats

import fssbench
from fssbench.analysis.collect import collect
from fssbench.analysis.support_choice import compute_support_choices
from fssbench.api import MarkKind
from fssbench.cli import main
from fssbench.episodes.plan_file import read_plan, write_plan
from fssbench.episodes.replay import Outcome, compare_with_drawn
from fssbench.episodes.sampling import MOST_SETS
from fssbench.errors import DataError, UsageError
from fssbench.runs.merge import merge
from fssbench.runs.store import read_manifest
from fssbench.verification.seals import check_seals


def draw(null, **options):
    return fssbench.plan("nulldata", data=null.data, **options)


def rows(plan):
    return [(e.class_id, e.query, e.supports) for e in plan]


@pytest.mark.parametrize("protocol", ["published", "fssbench"])
@pytest.mark.parametrize("shot", [1, 2])
def test_the_first_set_of_each_query_is_that_of_the_plan_with_one(null, protocol, shot):
    one = draw(null, protocol=protocol, shot=shot)
    three, five = (draw(null, protocol=protocol, shot=shot, supports=n) for n in (3, 5))
    assert rows(three)[::3] == rows(five)[::5] == rows(one)
    assert [row for i, row in enumerate(rows(five)) if i % 5 < 3] == rows(three)
    assert [e.index for e in five] == list(range(5 * len(one)))
    for e in five:
        assert len(e.supports) == shot
        assert e.query not in e.supports
        if protocol == "fssbench":
            assert len(set(e.supports)) == shot


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), sets=st.integers(2, 7), cap=st.integers(1, 20))
def test_a_cap_counts_queries_and_takes_the_first(null, seed, sets, cap):
    whole, capped = draw(null, seed=seed, supports=sets), draw(null, seed=seed, supports=sets, episodes=cap)
    assert rows(capped) == rows(whole)[: cap * sets] == rows(whole.head(cap))
    assert (capped.asked, len(capped)) == (cap, cap * sets)
    assert f"capped ({cap} of {whole.asked} episodes)" in capped.marks
    assert capped.marks[-1] == f"support sets ({sets} for each query)"


def test_one_set_changes_nothing(null, tmp_path):
    plan = draw(null)
    assert draw(null, supports=1) == plan
    assert not any(mark.kind == MarkKind.SUPPORT_SETS for mark in plan.marks)
    write_plan(plan, tmp_path / "plan.json")
    assert "support_sets" not in (tmp_path / "plan.json").read_text()


def test_the_choice_differs_by_query_seed_and_set(null):
    plans = [draw(null, seed=seed, supports=6, episodes=10) for seed in (0, 1)]
    assert plans[0].sha256 != plans[1].sha256
    for place in range(0, 60, 6):
        assert len({e.supports for e in plans[0][place : place + 6]}) > 1


def test_further_sets_have_the_distribution_of_the_first(null):
    """Each item of the class but the query is drawn as often as another, for one query asked many times."""
    plan = draw(null, supports=900, episodes=1)
    items = Counter(e.supports[0] for e in plan[1:])
    pool = {e.query for e in draw(null) if e.class_id == plan[0].class_id} | {
        s for e in draw(null) if e.class_id == plan[0].class_id for s in e.supports
    }
    assert set(items) == pool - {plan[0].query}
    assert stats.chisquare(list(items.values())).pvalue > 0.001


def test_a_plan_file_keeps_its_sets_and_is_drawn_again(null, tmp_path):
    plan, file = draw(null, supports=3, episodes=8), tmp_path / "plan.json"
    write_plan(plan, file)
    stored = read_plan(file)
    assert (stored, stored.support_sets) == (plan, 3)
    assert compare_with_drawn(stored, null.data, None).outcome == Outcome.EQUAL


def test_a_file_whose_sets_are_of_several_queries_is_refused(null, tmp_path):
    plan, file = draw(null, supports=3, episodes=8), tmp_path / "plan.json"
    write_plan(replace(plan, support_sets=2), file)
    with pytest.raises(DataError, match="another query"):
        read_plan(file)
    write_plan(replace(plan, support_sets=5), file)
    with pytest.raises(DataError, match="no multiple"):
        read_plan(file)


@pytest.mark.parametrize("sets", [0, -1, MOST_SETS + 1])
def test_impossible_numbers_are_refused(null, sets):
    with pytest.raises(UsageError, match=str(sets)):
        draw(null, supports=sets)


def test_shards_join_to_the_whole_and_the_folder_is_sound(null):
    plan = replace(draw(null, supports=4, episodes=15), size=16)
    (whole,) = null.run("whole", plan)
    manifest = read_manifest(whole.path)
    assert manifest.block.support_sets == 4
    assert "4sets" in whole.path.name
    for part in (1, 2, 3):  # a query's sets lie in two shards
        null.run("shards", plan, shard=(part, 3))
    (joined,) = merge([null.folder / "shards"], null.folder / "joined")
    assert null.read_results(joined) == null.read_results(whole.path)
    findings, run = check_seals(whole.path)
    assert run is not None
    differing = [f.detail for f in findings if f.outcome == "differs"]
    assert all("resized" in text or "size" in text for text in differing)  # the size was set by hand


def test_runs_with_other_numbers_of_sets_are_not_compared_unless_shared(null):
    for sets in (1, 3):
        plan = replace(draw(null, supports=sets, episodes=30), size=16)
        null.run("runs", plan, null.method(), null.make_broken("other"))
    results = collect([null.folder / "runs"], resamples=50)
    assert sorted(run.support_sets for run in results.runs) == [1, 1, 3, 3]
    assert {run.episodes for run in results.runs} == {30, 90}
    assert len({cell.setting for cell in results.cells}) == 2
    choices = compute_support_choices(results)
    assert len(choices) == 2
    assert all(choice.sets == 3 and choice.episodes == 90 for choice in choices)


def test_the_command_draws_and_replays_sets(null, tmp_path):
    file = str(tmp_path / "plan.json")
    arguments = ["episodes", "nulldata", "--data", str(null.data), "--episodes", "6", "--supports", "3"]
    drawn = CliRunner().invoke(main, [*arguments, "-o", file])
    assert drawn.exit_code == 0, drawn.output
    assert len(read_plan(tmp_path / "plan.json")) == 18
    replayed = CliRunner().invoke(main, ["episodes", "--replay", file, "--data", str(null.data)])
    assert replayed.exit_code == 0, replayed.output
    refused = CliRunner().invoke(
        main, ["run", "-m", "null", "--plan", file, "--supports", "2", "--data", str(null.data)]
    )
    assert refused.exit_code == 2
    assert "--supports" in refused.output
