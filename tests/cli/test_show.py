from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fssbench.benchmarks.catalogue import BENCHMARKS
from fssbench.cli import main
from fssbench.cli.train import command as train
from fssbench.loading.bundled import list_bundled
from fssbench.plugins.registry import DATASETS, METHODS


def show(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["show", *arguments])


def facts(*arguments: str) -> dict:
    run = show(*arguments, "--json")
    assert run.exit_code == 0, run.output
    return json.loads(run.stdout)


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_benchmarks_show_every_field(name: str) -> None:
    result, record = facts(name), BENCHMARKS[name]
    assert result["kind"] == "benchmark" or name in {*METHODS.names(), *DATASETS.names()}
    result = facts(name, "--kind", "benchmark")
    for field in set(type(record).model_fields) - {
        "variants",
        "folds",
        "trained_on",
        "seen",
        "dataset_variant",
    }:
        assert result[field] == json.loads(record.model_dump_json())[field]
    assert len(result["test classes"]) == len(record.folds)
    assert result["trains on"] == f"{record.trained_on.dataset}, split trn"
    assert len(result["training classes"]) == len(record.trained_on.folds)
    assert list(result["variants"]) == [v.name for v in record.variants]
    text = show(name, "--kind", "benchmark").stdout
    for pitfall in record.pitfalls:
        assert pitfall in text


def test_variants_change_what_is_shown() -> None:
    assert facts("pascal-to-isic2018")["test classes"] == {"fold 0": "0 lesion"}
    assert facts("pascal-to-isic2018:isic3")["test classes"]["fold 0"].count(",") == 2
    assert facts("pascal-to-isic2018:isic3")["variant of the data set"] == "isic3"
    seen = facts("coco20i-to-pascal5i:naive5i")["test classes seen in training"]
    assert any(value != "none" for value in seen.values())


@pytest.mark.parametrize("name", DATASETS.names())
def test_data_sets(name: str) -> None:
    if name in BENCHMARKS:
        result = facts(name, "--kind", "dataset")
    else:
        result = facts(name)
    assert result["kind"] == "dataset"
    assert result["citation"]
    assert result["layout"]
    assert all(result["classes"].values())
    assert set(result["benchmarks"]) == {b.id for b in BENCHMARKS.values() if b.target == name}


@pytest.mark.parametrize("name", ["dcama", "hm", "hsnet", "panet", "patnet", "pmnet", "vat"])
def test_methods(name: str) -> None:
    result = facts(name)
    config = METHODS.get(name).Config
    assert result["paper"]
    assert set(result["settings (--set)"]) == set(config.model_fields)
    assert set(result["ablations (--ablate)"]) == set(config.ablations)


def test_a_fact_that_a_method_lacks_has_no_line() -> None:
    assert METHODS.get("ssp").card.pretraining == ""
    assert "" not in facts("ssp").values()


def test_a_method_shows_faults_parity_and_published_figures() -> None:
    result, card = facts("ssp"), METHODS.get("ssp").card
    kinds = (
        "reproduced of the reference",
        "corrected of the reference",
        "differs from the reference",
        "remarks",
    )
    listed = [note for kind in kinds for note in result.get(kind, [])]
    assert sorted(listed) == sorted(note.text for note in card.notes)
    assert result["reproduced of the reference"] == [n.text for n in card.notes if n.kind == "reproduced"]
    assert result["equal to its reference"] == list(card.parity)
    assert result["published mIoU"]["pascal5i, resnet50, 1-shot, SSP"].startswith("61.4 ")
    for fact in (card.paper, card.licence, card.reference, "61.4 (PMNet paper, Table 1)"):
        assert fact in show("ssp").stdout


def test_a_method_that_is_trained_in_stages_shows_their_recipes() -> None:
    shown = facts("bam")
    assert shown["stages before (--stage)"]["base"]["recipe"]["size"] == 417
    assert (
        shown["recipe (fssbench train)"]["learning_rate"],
        shown["recipe (fssbench train)"]["stated_rate"],
    ) == (
        0.05,
        0.005,
    )
    assert "stages before (--stage)" not in facts("pfenet")


def test_a_method_without_public_code_shows_what_is_stated_and_what_is_chosen() -> None:
    result, card = facts("abcnet"), METHODS.get("abcnet").card
    assert result["reference"] == "no reference; built from the paper"
    assert result["learnable"] == card.learnable
    for heading, kind in (
        ("stated by the paper", "stated"),
        ("inferred from published figures", "inferred"),
        ("not known, and chosen here", "choice"),
    ):
        assert result[heading] == [note.text for note in card.notes if note.kind == kind] != []
    assert result["equal to its reference"] == "not compared with outputs of a reference"


@pytest.mark.parametrize("name", ["pmnet", "hsnet"])
def test_a_shipped_checkpoint_says_how_it_was_trained_in_options_of_train(name: str) -> None:
    every = list_bundled(METHODS.get(name))
    assert every
    for each in every:
        text = facts(name)["shipped checkpoints"][each.path.name]
        options = text.rpartition("; ")[0].rpartition("; ")[2].split()
        told = train.make_context("train", ["-m", name, "-b", "pascal5i", *options]).params
        for fact in ("seed", "amp", "draw", "without_novel", "invert", "iou_loss", "average"):
            assert told[fact] == getattr(each.training, fact), fact
        for fact in ("optimizer", "learning_rate", "schedule"):
            assert told[fact] == each.training.recipe[fact], fact


def test_backbone_and_suite() -> None:
    result = facts("vgg16")
    assert result["kind"] == "backbone"
    assert "features.30: 512 channels, stride 32, stage 4" in result["taps of layout standard"]
    assert facts("cross-domain")["benchmarks"] == [
        b.id for b in BENCHMARKS.values() if b.category == "cross-domain"
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["hsnt"], "Did you mean hsnet"),
        (["coco20i:interleavd"], "Did you mean interleaved"),
        (["fss1000", "--kind", "method"], "unknown method 'fss1000'"),
        (["nowhere", "--kind", "run"], "run folder nowhere does not exist"),
    ],
)
def test_unknown(arguments: list[str], text: str) -> None:
    run = show(*arguments)
    assert run.exit_code == 2
    assert text in run.stderr


def test_the_sentence_under_a_setting_is_shown(tmp_path: Path, write_method: Any) -> None:
    top = """
class Base(MethodConfig):
    width: int = 3
    \"\"\"Channels of
    the head.\"\"\"
class Documented(Base):
    bare: float = 0.5
    deep: bool = True
    \"\"\"Whether it is deep.\"\"\"
"""
    path = write_method(tmp_path / "mine.py", top=top, attributes="Config = Documented")
    assert facts("mine", "--plugin", str(path))["settings (--set)"] == {
        "width": "int = 3; Channels of the head.",
        "bare": "float = 0.5",
        "deep": "bool = True; Whether it is deep.",
    }


def test_settings_of_built_in_methods_have_a_sentence() -> None:
    assert "superpixels per support" in facts("asgnet")["settings (--set)"]["superpixels"]
