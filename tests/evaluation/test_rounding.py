"""Runs in bfloat16: marked with their effect, apart from runs in float32, resumed, joined and verified."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from counting_backbone import Counting, feature_method
from null_harness import null_dataset, score_episodes
from PIL import Image
from small_backbone import register_small_backbone

import fssbench
from fssbench.analysis.collect import collect
from fssbench.analysis.comparisons import compare_pairs
from fssbench.analysis.matching import Refusal, match_cells
from fssbench.analysis.row_keys import column_key
from fssbench.api import Plan
from fssbench.cli import main
from fssbench.contracts.marks import MarkKind
from fssbench.errors import UsageError
from fssbench.evaluation import precision
from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.feature_store import FeatureStore
from fssbench.evaluation.inputs import Inputs
from fssbench.evaluation.rounding import EPISODES
from fssbench.files.append_log import seal
from fssbench.runs.identity import hash_plan_files
from fssbench.runs.merge import merge
from fssbench.runs.rounding_probes import FLOAT32, RoundingEffect, measure_rounding_effect
from fssbench.runs.store import read_run
from fssbench.verification.rounding import name_count_check, name_file_check
from fssbench.verification.seals import Outcome
from fssbench.verification.stored_run import VerificationInputs, verify_run

FILE = FLOAT32.log.file
CHECK, COUNTED = name_file_check(FLOAT32), name_count_check(FLOAT32)


@pytest.fixture(autouse=True)
def _any_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without instructions for bfloat16 torch computes the same more slowly."""
    monkeypatch.setattr(precision, "_cpu_computes_bfloat16", lambda: True)


def sharpen(self, query, support, support_mask):
    """A matrix product whose rounding moves many pixels of the mask."""
    colours = query.flatten(2).transpose(1, 2)
    product = colours @ colours.new_tensor([[0.9, 1.1, 1.03]]).T
    bright = product.transpose(1, 2).view(len(query), *query.shape[2:])
    waves = (997 * bright).sin()
    return torch.stack([torch.zeros_like(waves), waves], dim=1)


def method(null):
    return null.make_broken("sharp", logits=sharpen)


def mark_of(run: Path) -> str:
    return next(m for m in json.loads((run / "summary.json").read_text())["marks"] if "bfloat16" in m)


def test_products_are_computed_in_bfloat16_and_logits_compared_in_float32(null):
    seen = []

    def look(self, query, support, support_mask):
        logits = sharpen(self, query, support, support_mask)
        seen.append((query.dtype, (query @ query.transpose(2, 3)).dtype, logits.dtype))
        return logits

    (run,) = null.run("runs", null.plan(3), null.make_broken("look", logits=look), precision="bf16")
    rounded, exact = (torch.float32, torch.bfloat16, torch.bfloat16), (torch.float32,) * 3
    assert seen == [rounded] * 3 + [exact] * 3
    seen.clear()
    (run.path / FILE).unlink()
    null.run("runs", null.plan(3), null.make_broken("look", logits=look), precision="bf16")
    assert seen == [rounded, exact] * 3, "another process has no masks of these episodes"


def test_the_mark_has_the_effect_that_two_runs_show(null):
    plan = null.plan(12)
    (exact,) = null.run("exact", plan, method(null), save_masks=True)
    (rounded,) = null.run("rounded", plan, method(null), save_masks=True, precision="bf16")
    assert exact.identity != rounded.identity
    assert not any(mark.kind == MarkKind.BFLOAT16 for mark in exact.marks)
    assert not (exact.path / FILE).exists()
    effect = measure_rounding_effect(read_run(rounded.path))
    indices = sorted(FLOAT32.log.read(rounded.path))
    assert effect is not None
    assert effect.episodes == len(indices) == len({(plan[i].class_id, plan[i].query) for i in range(12)})
    figures = [score_episodes(run, plan, indices) for run in (read_run(rounded.path), read_run(exact.path))]
    assert [effect.miou, effect.exact_miou] == figures
    records = read_run(exact.path).records
    masks = [{i: read_masks(run.path, plan)[i] for i in indices} for run in (rounded, exact)]
    assert effect.differing == sum(int((masks[0][i] != masks[1][i]).sum()) for i in indices) > 0
    assert effect.pixels == sum(records[i].inter[0] + records[i].union[1] for i in indices)
    (mark,) = (mark for mark in rounded.marks if mark.kind == MarkKind.BFLOAT16)
    assert mark.detail == str(effect)
    assert mark == mark_of(rounded.path)


def read_masks(run: Path, plan: Plan):
    stored = [json.loads(line) for line in (run / "masks.jsonl").read_text().splitlines()]
    return {each["index"]: np.asarray(Image.open(run / "masks" / each["file"])) > 0 for each in stored}


def test_the_same_command_adds_nothing_and_measures_what_is_missing(null):
    plan = null.plan(12)
    (run,) = null.run("runs", plan, method(null), precision="bf16")
    whole = (run.path / FILE).read_bytes()
    null.run("runs", plan, method(null), precision="bf16")
    assert (run.path / FILE).read_bytes() == whole
    before = null.read_results(run.path)
    (run.path / FILE).write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    null.run("runs", plan, method(null), precision="bf16")
    assert (run.path / FILE).read_bytes() == whole
    assert null.read_results(run.path) == before


def test_shards_join_to_the_effect_of_the_whole(null):
    plan = null.plan(31)
    (whole,) = null.run("whole", plan, method(null), precision="bf16")
    for part in (1, 2):
        null.run("shards", plan, method(null), precision="bf16", shard=(part, 2))
    (joined,) = merge([null.folder / "shards"], null.folder / "joined")
    assert (joined / FILE).read_bytes() == (whole.path / FILE).read_bytes()
    assert null.read_results(joined) == null.read_results(whole.path)
    assert len(FLOAT32.log.read(joined)) <= EPISODES


def test_a_process_of_its_own_gives_the_same(null):
    plan = null.plan(6)
    here, apart = (
        null.run(str(isolate), plan, method(null), precision="bf16", isolate=isolate)[0]
        for isolate in (False, True)
    )
    assert null.read_results(here.path) == null.read_results(apart.path)
    assert (here.path / FILE).read_bytes() == (apart.path / FILE).read_bytes()


def outcomes(null, run: Path) -> dict[str, Outcome]:
    return {f.check: f.outcome for f in verify_run(run, VerificationInputs(data=null.data, share=1.0))}


def change(run: Path, **values: object) -> None:
    first, *others = (run / FILE).read_bytes().splitlines(keepends=True)
    record = json.loads(first)
    del record["crc"]
    (run / FILE).write_bytes(seal({**record, **values}) + b"".join(others))


def test_verify_computes_in_bfloat16_and_in_float32(null, monkeypatch):
    plan = null.plan(8)
    (run,) = null.run("runs", plan, precision="bf16")
    sound = outcomes(null, run.path)
    assert {sound[each] for each in (CHECK, COUNTED, "counts", "summary")} == {Outcome.EQUAL}
    probe = next(iter(FLOAT32.log.read(run.path).values()))
    change(run.path, differing=probe.differing + 10**6)
    assert outcomes(null, run.path)[CHECK] == Outcome.DIFFERS
    # a possible lie: in float32, one more background pixel is wrong
    (right, _), (_, union) = probe.inter, probe.union
    wrong = {"inter": [right - 1, probe.inter[1]], "union": [probe.union[0], union + 1], "differing": 1}
    change(run.path, **wrong)
    lied = outcomes(null, run.path)
    assert (lied[CHECK], lied[COUNTED]) == (Outcome.EQUAL, Outcome.DIFFERS)
    (run.path / FILE).write_bytes(b"x\n")
    assert outcomes(null, run.path)[CHECK] == Outcome.DIFFERS
    assert "damaged" in collect([run.path], resamples=20).runs[0].marks[-1]
    (run.path / FILE).unlink()
    monkeypatch.setattr(precision, "_cpu_computes_bfloat16", lambda: False)
    elsewhere = outcomes(null, run.path)
    assert elsewhere[CHECK] == elsewhere["counts"] == Outcome.NOT_CHECKED


def test_verify_names_an_effect_that_is_measured_on_a_selection(null):
    (run,) = null.run("runs", null.plan(8), precision="bf16")
    (run.path / FILE).write_bytes(b"".join((run.path / FILE).read_bytes().splitlines(keepends=True)[:2]))
    assert outcomes(null, run.path)[CHECK] == Outcome.NOT_CHECKED


def test_the_effect_on_episodes_without_foreground_is_no_number():
    effect = RoundingEffect(2, math.nan, math.nan, 0, 100, "float32")
    assert "nan" not in str(effect)
    assert "0 %" in str(effect)


def test_a_figure_in_bfloat16_is_never_compared_with_one_in_float32(null):
    plan = null.plan(12)
    null.run("runs", plan)
    null.run("runs", plan, method(null), precision="bf16")
    results = collect([null.folder / "runs"], resamples=20)
    assert len(set(map(column_key, results.runs))) == 2
    assert not compare_pairs(results)
    (refusal,) = match_cells(results, shared=True, methods=None)
    assert isinstance(refusal, Refusal)
    assert (refusal.shareable, "bfloat16" in refusal.reason) == (False, True)


def test_a_processor_without_bfloat16_refuses_by_name(null, monkeypatch, tmp_path):
    monkeypatch.setattr(precision, "_cpu_computes_bfloat16", lambda: False)
    with pytest.raises(UsageError, match="bf16.*bfloat16.*float32"):
        fssbench.evaluate(method(null), null.plan(2), out=tmp_path / "runs", precision="bf16")
    with pytest.raises(UsageError, match="instructions"):
        fssbench.run("null", "nulldata", data=null.data, out=tmp_path / "runs", precision="bf16")
    words = ["run", "-m", "null", "-b", "nulldata", "--data", str(null.data), "--precision", "bf16"]
    result = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "runs")])
    assert result.exit_code == UsageError("").exit_code
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("*/manifest.json"))


def test_features_of_one_precision_are_never_taken_for_the_other(null, tmp_path, monkeypatch):
    plan, dataset = null.plan(1, size=64), null_dataset(null)
    file = null.data / "nulldata" / "file"
    file.write_text("what the images are read from")
    monkeypatch.setattr(type(dataset), "files", lambda self, item: [file])
    loaded = fssbench.load_method("panet", weights="random", backbone=register_small_backbone())
    cache = FeatureCache(1 << 30, FeatureStore(tmp_path, 1 << 30))
    given = {}
    for name in ("float32", "bf16", "float32", "bf16"):
        inputs = Inputs(
            dataset, 64, torch.device("cpu"), cache, hash_plan_files(dataset, plan), precision=name
        )
        inputs.expect([loaded], list(plan))
        maps = {tap: each.clone() for tap, each in inputs.of(loaded, plan[0])[0].items()}
        assert all(each.dtype == torch.float32 for each in maps.values())
        for tap, each in given.setdefault(name, maps).items():
            assert torch.equal(each, maps[tap])
    assert not any(torch.equal(given["float32"][tap], given["bf16"][tap]) for tap in given["bf16"])
    assert all(torch.equal(each, each.bfloat16().float()) for each in given["bf16"].values())
    assert cache.misses == 4  # query and support, in each precision
    assert len(list(tmp_path.glob("*/*.safetensors"))) == 4


def test_only_a_method_that_says_so_reads_features_in_bfloat16(null):
    dataset, plan = null_dataset(null), null.plan(1, size=64, shot=2)
    hsnet = fssbench.load_method("hsnet", weights="random", backbone=register_small_backbone())
    derived = fssbench.load_method("hsnet", weights="random", backbone=hsnet.backbone.name)
    derived.__class__ = type("Derived", (type(hsnet),), {})
    inputs = Inputs(dataset, 64, torch.device("cpu"), FeatureCache(1 << 30), precision="bf16")
    inputs.expect([hsnet, derived], [plan[0]] * 2)
    for side in (0, 1):
        low, single = (inputs.of(each, plan[0])[side] for each in (hsnet, derived))
        assert {each.dtype for each in low.values()} == {torch.bfloat16}
        assert {each.dtype for each in single.values()} == {torch.float32}
        assert all(torch.equal(low[tap].float(), single[tap]) for tap in low)
    places = {maps.data_ptr() for each in inputs.cache._cached.values() for maps in each.maps.values()}
    query = inputs.of(hsnet, plan[0])[0]
    assert {maps.data_ptr() for maps in query.values()} <= places, "they are read where the cache holds them"


def test_in_a_run_in_float32_every_method_reads_float32(null):
    class Low(Counting):
        def forward(self, images, taps):
            return {tap: maps.bfloat16() for tap, maps in super().forward(images, taps).items()}

    reads = feature_method(null, "reads", Low(), "half")
    type(reads).reads_bfloat16 = True
    plan = null.plan(1, size=16)
    for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        inputs = Inputs(null_dataset(null), 16, torch.device("cpu"), FeatureCache(1 << 20), precision=name)
        inputs.expect([reads], list(plan))
        query, support, _ = inputs.of(reads, plan[0])
        assert query["half"].dtype == support["half"].dtype == dtype


def test_a_configuration_file_and_plan_files_take_the_precision(null, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text('precision = "bf16"\nmethod = ["null"]\nbenchmark = ["nulldata"]\nshot = [1]\n')
    words = ["run", "--config", str(config), "--data", str(null.data), "--episodes", "2", "--json", "-q"]
    result = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "runs")])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout.splitlines()[0])
    assert any(mark.startswith("bfloat16 (mIoU ") for mark in record["marks"])
