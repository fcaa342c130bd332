"""The ten benchmarks against the published class tables, names and suites."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fssbench.api import Dataset, PluginError, UsageError
from fssbench.benchmarks.catalogue import BENCHMARKS, find_benchmark, list_benchmark_names
from fssbench.benchmarks.class_twins import find_class_twins
from fssbench.benchmarks.pmnet_paper import COCO_INTERLEAVED, Folds
from fssbench.benchmarks.suites import SUITES, find_suite
from fssbench.plugins.registry import DATASETS

TEN = (
    "pascal5i",
    "coco20i",
    "fss1000",
    "coco20i-to-pascal5i",
    "coco20i-to-fss1000",
    "pascal-to-fss1000",
    "pascal-to-deepglobe",
    "pascal-to-isic2018",
    "pascal-to-chestxray",
    "pascal5i-to-suim",
)

BOUDIAF_1_BASED = (  # protocols.md 4.4, as FPTrans's released table has it
    (1, 4, 9, 11, 12, 15),
    (2, 6, 13, 18),
    (3, 7, 16, 17, 19, 20),
    (5, 8, 10, 14),
)


def test_the_ten_and_their_suites():
    assert tuple(BENCHMARKS) == TEN == SUITES["paper"]
    assert SUITES["cross-category"] == TEN[:3]
    assert SUITES["cross-dataset"] == TEN[3:6]
    assert SUITES["cross-domain"] == TEN[6:]
    assert [m.benchmark.benchmark.id for m in find_suite("paper").members] == list(TEN)
    assert set(SUITES) == {"cross-category", "cross-dataset", "cross-domain", "paper"}


@pytest.mark.parametrize(
    ("name", "folds", "episodes", "shots", "split"),
    [
        ("pascal5i", [5] * 4, 1000, (1, 5), "val"),
        ("coco20i", [20] * 4, 1000, (1, 5), "val"),
        ("coco20i:contiguous", [20] * 4, 1000, (1, 5), "val"),
        ("fss1000", [240], 2400, (1, 5), "test"),
        ("coco20i-to-pascal5i", [6, 4, 6, 4], 1000, (1, 5), "val"),
        ("coco20i-to-pascal5i:naive5i", [5] * 4, 1000, (1, 5), "val"),
        ("coco20i-to-fss1000", [240] * 4, 2400, (1,), "test"),
        ("pascal-to-fss1000", [240], 2400, (1, 5), "test"),
        ("pascal-to-deepglobe", [6], 600, (1, 5), "test"),
        ("pascal-to-isic2018", [1], 600, (1, 5), "test"),
        ("pascal-to-isic2018:isic3", [3], 600, (1, 5), "test"),
        ("pascal-to-chestxray", [1], 600, (1, 5), "test"),
        ("pascal5i-to-suim", [7] * 4, 600, (1,), "test"),
        ("pascal5i-to-suim:suim8", [8] * 4, 600, (1,), "test"),
    ],
)
def test_shape(name, folds, episodes, shots, split):
    resolved = find_benchmark(name)
    assert [len(f) for f in resolved.folds] == folds
    record = resolved.benchmark
    assert (record.episodes, record.shots, record.split) == (episodes, shots, split)
    assert record.size == 400
    assert record.pitfalls
    assert record.meter
    assert record.origin


@pytest.mark.parametrize("name", ["pascal5i", "coco20i", "coco20i:contiguous", "coco20i-to-pascal5i:naive5i"])
def test_folds_of_one_data_set_share_no_class(name):
    folds = find_benchmark(name).folds
    assert len(set().union(*folds)) == sum(map(len, folds))


def test_the_four_source_folds_of_a_single_target_test_the_same_classes():
    for name in ("coco20i-to-fss1000", "pascal5i-to-suim"):
        assert len(set(find_benchmark(name).folds)) == 1
        assert len(find_benchmark(name).folds) == 4


def test_coco_folds_as_the_reference_numbers_them():
    assert find_benchmark("coco20i").folds[1] == (1, *range(5, 78, 4))
    assert find_benchmark("coco20i:contiguous").folds[1] == tuple(range(20, 40))


def voc_classes_new_to(coco_folds: Folds) -> Folds:
    """VOC class ids by fold whose COCO twin is held out in that COCO fold, hence unseen in training."""
    twins = find_class_twins("pascal", "coco")
    return tuple(tuple(voc for voc, coco in twins.items() if coco in fold) for fold in coco_folds)


def test_the_boudiaf_classes_are_derived_and_equal_the_published_table():
    assert (
        tuple(tuple(c + 1 for c in fold) for fold in find_benchmark("coco20i-to-pascal5i").folds)
        == BOUDIAF_1_BASED
    )
    assert voc_classes_new_to(COCO_INTERLEAVED) == find_benchmark("coco20i-to-pascal5i:boudiaf").folds
    twins = find_class_twins("pascal", "coco")
    assert len(twins) == len(set(twins.values())) == 20
    assert find_class_twins("coco", "pascal") == {there: here for here, there in twins.items()}


def test_contiguous_coco_folds_would_leave_one_class_in_fold_1():
    blocks = find_benchmark("coco20i:contiguous").folds
    voc = DATASETS.get("pascal")(None).classes()
    unseen = [[voc[v] for v in fold] for fold in voc_classes_new_to(blocks)]
    assert [len(fold) for fold in unseen] == [14, 1, 3, 2]
    assert unseen[1:] == [["bottle"], ["chair", "pottedplant", "sofa"], ["diningtable", "tvmonitor"]]


def test_classes_seen_in_training_are_known():
    assert find_benchmark("coco20i-to-pascal5i").seen == ((), (), (), ())
    seen = find_benchmark("coco20i-to-pascal5i:naive5i").seen
    assert [len(fold) for fold in seen] == [3, 4, 5, 5]
    assert find_benchmark("pascal5i").seen is None


@pytest.mark.parametrize(
    ("name", "settled", "dataset_variant"),
    [
        ("coco20i", "coco20i:interleaved", None),
        ("coco20i-to-pascal5i", "coco20i-to-pascal5i:boudiaf", None),
        ("pascal-to-isic2018", "pascal-to-isic2018:isic1", "isic1"),
        ("pascal-to-chestxray", "pascal-to-chestxray:lung566", "lung566"),
        ("pascal-to-chestxray:lung704", "pascal-to-chestxray:lung704", "lung704"),
        ("pascal5i-to-suim", "pascal5i-to-suim:suim7", "suim7"),
        ("pascal5i", "pascal5i", None),
    ],
)
def test_an_id_always_says_its_variant(name, settled, dataset_variant):
    resolved = find_benchmark(name)
    assert resolved.id == settled
    assert resolved.dataset_variant == dataset_variant
    assert find_benchmark(settled) == resolved


def test_records_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        BENCHMARKS["pascal5i"].episodes = 10
    with pytest.raises(ValidationError, match="Extra inputs"):
        type(BENCHMARKS["pascal5i"]).model_validate({**BENCHMARKS["pascal5i"].model_dump(), "images": 3})


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pascal5", "Did you mean pascal5i"),
        ("coco20i:contigous", "Did you mean contiguous"),
        ("pascal5i:interleaved", "Next: use `pascal5i` without a variant"),
        ("suim", "suim is a data set of the benchmarks pascal5i-to-suim"),
        ("", "fssbench list benchmarks"),
    ],
)
def test_an_unknown_name_tells_its_neighbours(name, told):
    with pytest.raises(UsageError) as caught:
        find_benchmark(name)
    assert told in str(caught.value)


def test_an_unknown_suite_tells_its_neighbours():
    with pytest.raises(UsageError, match="Did you mean cross-domain"):
        find_suite("crossdomain")


def test_every_listed_name_is_found_and_every_target_is_a_registered_data_set():
    for name in list_benchmark_names():
        if name in BENCHMARKS or ":" in name:
            assert find_benchmark(name).benchmark.target in DATASETS.names()


def test_every_dataset_variant_is_one_of_its_data_set():
    for record in BENCHMARKS.values():
        for variant in record.variants:
            if variant.dataset_variant is not None:
                assert variant.dataset_variant in DATASETS.get(record.target).card.variants


def test_a_strangers_data_set_is_a_benchmark(toy: type[Dataset]):
    resolved = find_benchmark("toy")
    assert resolved.id == "toy:three"
    assert resolved.folds == ((2, 5, 9),)
    assert (resolved.benchmark.category, resolved.benchmark.sampler) == ("custom", "round-robin")
    assert (resolved.benchmark.episodes, resolved.benchmark.shots, resolved.benchmark.absent) == (
        600,
        (1, 5),
        "exclude",
    )
    assert "toy_plugin.py" in resolved.benchmark.origin
    assert find_benchmark("toy:two").folds == ((2, 5),)
    assert find_benchmark("toy:two").dataset_variant == "two"
    assert "toy" in list_benchmark_names()


def test_a_data_set_that_cannot_name_its_classes_is_told_so(toy, monkeypatch):
    def classes(self):
        return self.path("classes.txt").read_text()

    monkeypatch.setattr(toy, "classes", classes)
    with pytest.raises(PluginError, match="must work with root None"):
        find_benchmark("toy")
