"""Episodes that are asked again with other supports: stored beside the score, merged, resumed and verified."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from null_harness import null_dataset

from fssbench.analysis.collect import collect
from fssbench.analysis.results_file import read_results, write_results
from fssbench.analysis.sensitivity import Dependence, compute_sensitivity
from fssbench.errors import DataError, PluginError, RunFolderError
from fssbench.evaluation.support_effect import Replacements, choose_probed_episodes
from fssbench.files.append_log import seal
from fssbench.runs.merge import merge
from fssbench.runs.support_probes import FILE, SUPPORT_PROBES
from fssbench.verification.probes import COUNTED
from fssbench.verification.seals import Outcome
from fssbench.verification.stored_run import VerificationInputs, verify_run


def salient(self, query, support, support_mask):
    bright = query.mean(dim=1)
    return torch.stack([-bright, bright - 0.1], dim=1)


def invert(self, query, support, support_mask):
    fg = support_mask.mean(dim=1) - 0.5
    return torch.stack([-fg, fg], dim=1)


def keep_one_class(plan):
    rows = [e for e in plan if e.class_id == plan[0].class_id]
    return replace(plan, episodes=tuple(replace(e, index=i) for i, e in enumerate(rows)))


def test_probes_change_no_byte_of_the_run(null):
    plan = null.plan(30)
    (plain,) = null.run("plain", plan)
    (probed,) = null.run("probed", plan, sensitivity=8)
    assert null.read_results(plain.path) == null.read_results(probed.path)
    assert plain.identity == probed.identity
    assert not (plain.path / FILE).exists()
    assert sorted(SUPPORT_PROBES.read(probed.path)) == list(choose_probed_episodes(plan, 8))


def test_probes_are_counted_as_the_supports_say(null):
    plan = null.plan(30)
    (run,) = null.run("runs", plan, sensitivity=12)
    dataset = null_dataset(null)
    for index, probe in SUPPORT_PROBES.read(run.path).items():
        episode = plan[index]
        assert probe.class_id != episode.class_id
        assert episode.query not in probe.supports
        truth, own, other = (
            dataset.mask(item, c)[::2, ::2] == 1
            for item, c in (
                (episode.query, episode.class_id),
                (episode.supports[0], episode.class_id),
                (probe.supports[0], probe.class_id),
            )
        )
        assert probe.inter == (int((~truth & ~other).sum()), int((truth & other).sum()))
        assert probe.union == (int((~truth | ~other).sum()), int((truth | other).sum()))
        assert (probe.same, probe.either) == (int((own & other).sum()), int((own | other).sum()))


def test_a_plan_of_one_class_inverts_the_masks(null):
    plan = keep_one_class(null.plan(60))
    (run,) = null.run("runs", plan, sensitivity=5)
    for index, probe in SUPPORT_PROBES.read(run.path).items():
        assert probe.inverted
        assert (probe.class_id, probe.supports) == (plan[index].class_id, plan[index].supports)
        assert probe.same == 0  # the null method answers with the mask itself


def test_the_same_command_adds_what_is_missing_and_nothing_else(null):
    plan = null.plan(30)
    (first,) = null.run("runs", plan)
    before = null.read_results(first.path)
    null.run("runs", plan, sensitivity=4)
    calls, four = null.count_calls(), (first.path / FILE).read_bytes()
    null.run("runs", plan, sensitivity=4)
    assert null.count_calls() == calls
    null.run("runs", plan, sensitivity=9)
    assert null.count_calls() == calls + 2 * 5
    nine = (first.path / FILE).read_bytes()
    assert set(four.splitlines()) < set(nine.splitlines())
    assert null.read_results(first.path) == before
    null.run("at once", plan, sensitivity=9)
    assert (null.find_run("at once") / FILE).read_bytes() == nine


def test_shards_join_to_the_probes_of_the_whole(null):
    plan = null.plan(31)
    (whole,) = null.run("whole", plan, sensitivity=10)
    for part in (1, 2, 3):
        null.run("shards", plan, sensitivity=10, shard=(part, 3))
    (joined,) = merge([null.folder / "shards"], null.folder / "joined")
    assert (joined / FILE).read_bytes() == (whole.path / FILE).read_bytes()


def test_a_run_that_was_counted_otherwise_is_not_probed(null):
    plan = null.plan(12)
    (run,) = null.run("runs", plan)
    log = run.path / "episodes.jsonl"
    first = json.loads(log.read_text().splitlines()[0])
    del first["crc"]
    first["inter"][0] -= 1
    log.write_bytes(seal(first) + b"".join(log.read_bytes().splitlines(keepends=True)[1:]))
    with pytest.raises(RunFolderError, match="episode 0"):
        null.run("runs", plan, sensitivity=12)


def test_a_method_that_fails_on_other_supports_is_named(null):
    plan = keep_one_class(null.plan(60))

    def logits(self, query, support, support_mask):
        answer = invert(self, query, support, support_mask)
        return answer if support_mask.mean() < 0.5 else answer * float("nan")

    method = null.make_broken("fragile", logits=logits)
    with pytest.raises(PluginError, match="fragile"):
        null.run("runs", plan, method, sensitivity=5)


def test_everybody_probes_the_same_episodes_each_of_another_query(null):
    plan = null.plan(200)
    few, many = choose_probed_episodes(plan, 5), choose_probed_episodes(plan, 20)
    assert set(few) < set(many)
    queries = [(plan[i].class_id, plan[i].query) for i in many]
    assert len(set(queries)) == len(queries) <= 20
    again = Replacements(plan)
    assert all(Replacements(plan).find(plan[i]) == again.find(plan[i]) for i in many)


def test_the_verdict_tells_a_method_that_ignores_its_supports(null, tmp_path):
    plan = null.plan(180)
    null.run("runs", plan, null.method(), null.make_broken("salient", logits=salient), sensitivity=180)
    results = collect([null.folder / "runs"], resamples=200)
    verdicts = {each.cell.method: each for each in compute_sensitivity(results)}
    assert verdicts["salient"].changed.value == 0
    assert verdicts["salient"].difference.value == 0
    own = verdicts["null"]
    assert own.replaced_by == "supports of another class"
    if own.dependence == Dependence.TOO_FEW:
        assert "too few queries" in own.changed.shortage
    else:
        assert (verdicts["salient"].dependence, own.dependence) == (Dependence.IGNORES, Dependence.DEPENDS)
    write_results(results, tmp_path / "results.json")
    again = read_results(tmp_path / "results.json")
    assert [run.probes for run in again.runs] == [run.probes for run in results.runs]
    assert [str(s.changed) for s in compute_sensitivity(again)] == [
        str(s.changed) for s in compute_sensitivity(results)
    ]


def test_two_empty_answers_are_equal(null):
    def nothing(self, query, support, support_mask):
        return torch.stack([query.new_ones(len(query), 16, 16), query.new_zeros(len(query), 16, 16)], dim=1)

    null.run("runs", null.plan(60), null.make_broken("nothing", logits=nothing), sensitivity=30)
    (each,) = compute_sensitivity(collect([null.folder / "runs"], resamples=50))
    assert each.changed.value == 0


def test_few_probes_have_no_interval_and_no_verdict(null):
    null.run("runs", null.plan(60), sensitivity=4)
    (each,) = compute_sensitivity(collect([null.folder / "runs"], resamples=50))
    assert (each.episodes, each.dependence) == (4, Dependence.TOO_FEW)
    assert np.isnan(each.changed.low)


def change(run: Path, **values: object) -> None:
    path = run / FILE
    first, *others = path.read_bytes().splitlines(keepends=True)
    record = json.loads(first)
    del record["crc"]
    path.write_bytes(seal({**record, **values}) + b"".join(others))


def outcomes(null, run: Path) -> dict[str, Outcome]:
    return {f.check: f.outcome for f in verify_run(run, VerificationInputs(data=null.data, share=1.0))}


def test_verify_computes_probes_again_and_notices_an_edited_count(null):
    plan = null.plan(20)
    (run,) = null.run("runs", plan, sensitivity=6)
    sound = outcomes(null, run.path)
    assert (sound["support probes"], sound[COUNTED]) == (Outcome.EQUAL, Outcome.EQUAL)
    probe = next(iter(SUPPORT_PROBES.read(run.path).values()))
    for values in ({"same": probe.same + 1}, {"supports": ["elsewhere"]}, {"inverted": True}):
        change(run.path, **values)
        assert outcomes(null, run.path)["support probes"] == Outcome.DIFFERS
        change(run.path, same=probe.same, supports=list(probe.supports), inverted=probe.inverted)
    # a whole and possible lie: the second answer is said to be the first one
    record = json.loads((run.path / "episodes.jsonl").read_text().splitlines()[probe.index])
    first = record["union"][1] - record["target"] + record["inter"][1]
    change(run.path, inter=record["inter"], union=record["union"], same=first, either=first)
    lied = outcomes(null, run.path)
    assert (lied["support probes"], lied[COUNTED]) == (Outcome.EQUAL, Outcome.DIFFERS)


@pytest.mark.parametrize("line", [b"{}\n", b"x\n", b'{"index":1}\n'])
def test_damage_is_an_error_that_names_the_file(null, line):
    (run,) = null.run("runs", null.plan(12), sensitivity=3)
    with (run.path / FILE).open("ab") as file:
        file.write(line)
    with pytest.raises(DataError, match=FILE):
        SUPPORT_PROBES.read(run.path)
    results = collect([run.path], resamples=20)
    assert results.runs[0].probes == ()
    assert any(FILE in note for note in results.notes)
    assert outcomes(null, run.path)["support probes"] == Outcome.DIFFERS
