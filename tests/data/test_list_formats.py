"""A stranger's data set brings its own lists and class twins, by the contract that the built-in ones use."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from registries import add_lazily, scan_again

from fssbench.benchmarks.class_twins import find_class_twins
from fssbench.cli import main
from fssbench.contracts.checkpoint import TrainingManifest
from fssbench.contracts.lists import ListFormat
from fssbench.data.list_formats import describe_line, list_formats
from fssbench.data.list_judgement import hash_list, judge_list
from fssbench.data.reference_lists import find_list_folder, import_lists
from fssbench.errors import DataError, ListError, PluginError
from fssbench.loading.contamination import find_seen_classes
from fssbench.plugins.registry import DATASETS, load_plugin

TRAIN, TEST = ["rock", "sand"], ["kelp", "wreck"]

PLUGIN = f'''
from fssbench.api import DataError, Dataset, DatasetCard, Entry, ListFormat, Pool, PublishedList, Verification
from fssbench.api import read_list_lines


class ReefLists(ListFormat[list[str]]):
    family = "reef"
    file_pattern = "reef/{{train,test}}.lst"
    origin = "the lists of example.org/reef"
    published = (
        PublishedList("train", None, 2, "{hash_list(TRAIN)}", "{hash_list(sorted(TRAIN))}"),
        PublishedList("test", None, 2, "{hash_list(TEST)}", "{hash_list(sorted(TEST))}"),
    )
    unit = ("name", "names")
    mixed_up = "dives"
    line_forms = ((r"dive \\d+", "a dive of Reef"),)

    def file_names(self, split, fold):
        return (f"reef/{{split}}.lst",)

    def read(self, path):
        lines = read_list_lines(path)
        for number, line in lines:
            if not line.isalpha():
                raise DataError(f"{{path}}, line {{number}}: {{line!r}} is no name")
        return [line for _, line in lines]

    def hashed_lines(self, content):
        return content


class Reef(Dataset):
    card = DatasetCard(
        name="reef", title="Reef", domain="underwater", folders=("Reef",), url="https://example.org/reef",
        licence="CC0", citation="none", layout="none",
    )
    list_formats = (ReefLists(),)
    class_twins = {{"pascal": {{7: 3}}}}

    def classes(self):
        return {{7: "vessel"}}

    def pool(self, split):
        names = ReefLists().read(ReefLists().path(self.splits, split))
        return Pool(tuple(Entry(name, 7) for name in names), "lists")

    def image(self, item): ...
    def label(self, item): ...
    def mask(self, item, class_id): ...
    def verify(self): ...

    @classmethod
    def miniature(cls, data, seed): ...
'''


@pytest.fixture
def registry() -> None:
    """A registry of the installed data sets alone."""
    scan_again(DATASETS)


@pytest.fixture
def plugin(tmp_path: Path, registry: None) -> Path:
    path = tmp_path / "reef_plugin.py"
    path.write_text(PLUGIN)
    return path


def write_lists(folder: Path, **lists: list[str]) -> Path:
    (folder / "reef").mkdir(parents=True, exist_ok=True)
    for split, lines in lists.items():
        (folder / f"reef/{split}.lst").write_text("".join(f"{line}\n" for line in lines))
    return folder


def reef_format() -> ListFormat[list[str]]:
    return next(form for form in list_formats() if form.family == "reef")


def test_the_verb_imports_and_judges_a_strangers_lists(tmp_path: Path, plugin: Path) -> None:
    source = write_lists(tmp_path / "lists", train=TRAIN, test=TEST[::-1])
    arguments = ["data", "splits", str(source), "--into", str(tmp_path / "in"), "--plugin", str(plugin)]
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == 0, outcome.output
    test, train = outcome.stdout.splitlines()
    assert train.startswith("reef/train.lst: 2 entries, the reference list, sha256 ")
    assert "the reference's names in another order" in test
    assert (tmp_path / "in/reef/train.lst").read_bytes() == (source / "reef/train.lst").read_bytes()


def test_without_the_plugin_the_same_folder_holds_no_list(tmp_path: Path, registry: None) -> None:
    source = write_lists(tmp_path / "lists", train=TRAIN)
    with pytest.raises(DataError, match="holds no reference list"):
        import_lists(source, tmp_path / "in")
    with pytest.raises(DataError, match="holds no reference lists"):
        find_list_folder(source)


def test_a_folder_of_a_strangers_lists_is_a_list_folder(tmp_path: Path, plugin: Path) -> None:
    load_plugin(plugin)
    source = write_lists(tmp_path / "lists", test=TEST)
    assert find_list_folder(source) == source
    with pytest.raises(DataError, match=r"reef/.*example\.org/reef"):
        find_list_folder(tmp_path)


def test_a_missing_split_and_a_malformed_line_are_named(tmp_path: Path, plugin: Path) -> None:
    load_plugin(plugin)
    source = write_lists(tmp_path / "lists", train=TRAIN)
    assert import_lists(source, tmp_path / "in")[-1].startswith("reef lacks test")
    write_lists(source, train=["rock", "7"])
    with pytest.raises(DataError, match=r"train\.lst, line 2: '7'"):
        import_lists(source, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_list_of_another_split_is_refused_in_the_words_of_the_format(plugin: Path) -> None:
    load_plugin(plugin)
    with pytest.raises(
        ListError, match=r"2 names of the reference's train: dives of one split.*example\.org"
    ):
        judge_list(reef_format(), "test", None, TRAIN)
    assert judge_list(reef_format(), "test", None, TEST).proven
    assert judge_list(reef_format(), "test", None, ["kelp"]).problem == "1 name, the reference has 2"


def test_errors_about_other_lists_know_a_strangers_lines(plugin: Path) -> None:
    assert "Reef" not in describe_line("dive 12")
    load_plugin(plugin)
    assert describe_line("dive 12") == " (it is a dive of Reef)"
    assert "PASCAL" in describe_line("2007_000032__01"), "the built-in forms stay"


def test_a_data_set_that_does_not_load_stops_no_other(tmp_path: Path, plugin: Path) -> None:
    def fail() -> type:
        raise ImportError("no such library")

    load_plugin(plugin)
    add_lazily(DATASETS, "broken", "nowhere", fail)
    source = write_lists(tmp_path / "lists", train=TRAIN, test=TEST)
    assert len(import_lists(source, tmp_path / "in")) == 2
    assert find_class_twins("broken", "reef") == {}


def test_two_formats_of_one_family_are_refused_by_name(tmp_path: Path, plugin: Path) -> None:
    plugin.write_text(PLUGIN.replace('family = "reef"', 'family = "pascal"'))
    load_plugin(plugin)
    with pytest.raises(PluginError, match=r"'pascal' and 'reef'.*family 'pascal'"):
        import_lists(tmp_path, tmp_path / "in")


def test_an_inherited_format_is_one_format(tmp_path: Path, plugin: Path) -> None:
    plugin.write_text(
        f"{PLUGIN}\n\nclass Mine(Reef):\n    card = Reef.card.model_copy(update={{'name': 'mine'}})\n"
    )
    load_plugin(plugin)
    source = write_lists(tmp_path / "lists", train=TRAIN, test=TEST)
    assert len(import_lists(source, tmp_path / "in")) == 2


def test_what_is_no_list_format_is_refused(tmp_path: Path, plugin: Path) -> None:
    plugin.write_text(PLUGIN.replace("(ReefLists(),)", "(ReefLists,)"))
    load_plugin(plugin)
    with pytest.raises(PluginError, match=r"list_formats.*'reef'"):
        import_lists(tmp_path, tmp_path / "in")


def test_class_twins_count_in_both_directions(plugin: Path) -> None:
    load_plugin(plugin)
    assert find_class_twins("reef", "pascal") == {7: 3}
    assert find_class_twins("pascal", "reef") == {3: 7}
    assert find_seen_classes(
        TrainingManifest(dataset="reef", classes=(7,)), "pascal", [3, 4], ["boat", "bottle"]
    ) == (3,)
    assert find_seen_classes(TrainingManifest(dataset="pascal", classes=(3,)), "reef", [7], ["vessel"]) == (
        7,
    )
    assert find_seen_classes(TrainingManifest(dataset="pascal", classes=(4,)), "reef", [7], ["vessel"]) == ()
