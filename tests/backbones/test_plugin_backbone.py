"""A backbone from one file of somebody else's: found, built, run, cached, and part of a run's identity."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from places import PLUGIN_PACKAGE, TEMPLATES
from registries import add_lazily, forget

import fssbench
from fssbench.api import FeatureMethod, FssbenchError, MethodCard, MethodConfig, Taps
from fssbench.cli import main
from fssbench.errors import DataError, PluginError, UsageError
from fssbench.evaluation.inputs import feature_key
from fssbench.loading.backbone_weights import find_download_address, find_published_weights
from fssbench.loading.backbones import build_backbone
from fssbench.plugins.registry import BACKBONES, load_plugin
from fssbench.runs.store import read_run

START = (TEMPLATES / "backbone.py").read_text()
TOY = (PLUGIN_PACKAGE / "src" / "fssbench_toys" / "backbones.py").read_text().replace("toy-stages", "mine")
MINIATURE = (
    "--benchmark",
    "pascal-to-isic2018",
    "--data",
    "mini",
    "--episodes",
    "2",
    "--shot",
    "1",
    "--size",
    "64",
)

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the toy backbone as a single file, with changes, each into a folder of its own, and loads it."""
    count = 0

    def write_one(*changes: tuple[str, str], text: str = TOY) -> Path:
        nonlocal count
        count += 1
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / str(count) / "mine.py"
        path.parent.mkdir()
        path.write_text(text)
        return path

    return write_one


def command(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def run_mini(plugin: Path, out: Path, *words: str) -> dict[str, Any]:
    """Run PANet on the miniature; return the manifest of the run."""
    given = ("--plugin", str(plugin), "--backbone", "mine", "--method", "panet", "--out", str(out))
    done = command("run", *given, *MINIATURE, *words, "--quiet")
    assert done.exit_code == 0, done.output
    (run,) = out.iterdir()
    manifest: dict[str, Any] = json.loads((run / "manifest.json").read_text())
    return manifest


# --- the start that `fssbench new` writes -------------------------------------------------------


def test_the_start_of_a_backbone_keeps_its_contract_and_names_a_file_of_torchvision(tmp_path: Path) -> None:
    path = tmp_path / "my_backbone.py"
    path.write_text(START)
    done = command("check", str(path), "--json")
    assert done.exit_code == 0, done.output
    load_plugin(path)
    record = find_published_weights("mine", "v1")
    assert find_download_address(record).endswith(f"/{record.file}")
    assert record.sha256 in record.file


def test_the_start_of_a_backbone_runs_a_built_in_method(tmp_path: Path) -> None:
    path = tmp_path / "my_backbone.py"
    path.write_text(START)
    words = (
        "--plugin",
        str(path),
        "--backbone",
        "mine",
        "--method",
        "panet",
        "--out",
        str(tmp_path / "runs"),
    )
    lacking = command("run", *words, *MINIATURE)
    assert lacking.exit_code != 0
    assert "mobilenet_v2-b0353104.pth" in lacking.output
    done = command("run", *words, *MINIATURE, "--weights", "random")
    assert done.exit_code == 0, done.output


# --- identity and features ---------------------------------------------------------------------------


def test_a_run_names_the_backbone_its_layout_weights_and_source(write: Write, tmp_path: Path) -> None:
    manifest = run_mini(write(), tmp_path / "runs", "--weights", "random")
    block = manifest["block"]
    assert (block["backbone"], block["layout"]) == ("mine", "standard")
    assert len(block["weights_sha256"]) == len(block["backbone_source_sha256"]) == 64
    assert "backbone/mine" in manifest["context"]["sources"]
    assert any("random backbone" in mark for mark in manifest["context"]["marks"])


def test_an_edit_of_the_backbone_is_another_measurement_and_a_comment_is_not(write: Write) -> None:
    def source(*changes: tuple[str, str]) -> str:
        forget(BACKBONES, "mine")
        load_plugin(write(*changes))
        method = fssbench.load_method("panet", backbone="mine", weights="random")
        assert method.provenance.backbone_source_sha256 is not None
        return method.provenance.backbone_source_sha256

    before = source()
    assert source(("factor = 2", "# wider\n        factor = 2")) == before
    assert source(("maps[name].relu()", "maps[name].tanh()")) != before


def test_two_backbones_of_one_name_never_share_features(write: Write) -> None:
    keys = []
    for change in (("relu()", "relu()"), ("relu()", "tanh()")):
        forget(BACKBONES, "mine")
        load_plugin(write(change))
        method = fssbench.load_method("panet", backbone="mine", weights="random")
        assert method.backbone is not None
        keys.append((method.backbone.weights_sha256, repr(method.backbone), feature_key(method)))
    assert keys[0][:2] == keys[1][:2]  # the weights and the modules are equal, the code is not
    assert keys[0][2] != keys[1][2]


def test_packages_that_a_backbone_imports_are_part_of_the_identity(write: Write) -> None:
    load_plugin(write(("import torch\n", "import torch, sklearn\n")))
    method = fssbench.load_method("panet", backbone="mine", weights="random")
    assert set(method.provenance.distributions) == {"scikit-learn"}


def test_a_built_in_backbone_consists_of_its_own_modules() -> None:
    method = fssbench.load_method("panet", backbone="efficientnet-lite0", weights="random")
    sources = {name for name in method.provenance.sources if name.startswith("backbone/")}
    assert sources == {"backbone/efficientnet", "backbone/__init__"}


# --- weights -----------------------------------------------------------------------------------------


def test_weights_from_a_file_are_loaded_marked_and_known_by_their_hash(write: Write, tmp_path: Path) -> None:
    plugin = write()
    load_plugin(plugin)
    first = build_backbone("mine", seed=7)
    torch.save(first.state_dict(), tmp_path / "weights.pth")
    manifest = run_mini(plugin, tmp_path / "runs", "--weights", str(tmp_path / "weights.pth"))
    assert manifest["block"]["weights_sha256"] == first.weights_sha256
    assert manifest["context"]["weights"].startswith("file:")


def test_weights_of_another_network_are_refused_by_name(write: Write, tmp_path: Path) -> None:
    load_plugin(write())
    torch.save(build_backbone("mine", layout="wide").state_dict(), tmp_path / "weights.pth")
    with pytest.raises(DataError) as caught:
        build_backbone("mine", weights=str(tmp_path / "weights.pth"))
    assert "mine" in str(caught.value)
    assert "stages.0.weight" in str(caught.value)


def test_a_backbone_reads_files_of_its_own_form(write: Write, tmp_path: Path) -> None:
    reader = (
        "    @classmethod\n    def read_weights(cls, path):\n"
        "        return torch.load(path)['inside']\n\n    @property\n    def taps"
    )
    load_plugin(write(("    @property\n    def taps", reader)))
    state = build_backbone("mine", seed=3).state_dict()
    torch.save({"inside": state}, tmp_path / "weights.pth")
    assert build_backbone("mine", weights=str(tmp_path / "weights.pth")).weights.startswith("file:")


def test_random_weights_fill_every_tensor_and_leave_the_global_generator(write: Write) -> None:
    """A constructor that draws random numbers, and a token of no known module."""
    load_plugin(
        write(
            (
                'with torch.device("meta"):',
                "if True:\n            self.token = nn.Parameter(torch.empty(2, 3))",
            )
        )
    )
    before = torch.get_rng_state()
    first, second, other = (build_backbone("mine", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert first.weights_sha256 == second.weights_sha256 != other.weights_sha256


# --- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (("        self.freeze()\n", ""), ["mine", "freeze()"]),
        (("inputs = 3\n", "inputs = 3 / 0\n"), ["mine", "ZeroDivisionError", "mine.py"]),
    ],
)
def test_a_backbone_that_does_not_build_is_an_error_that_names_it(
    write: Write, change: tuple[str, str], parts: list[str]
) -> None:
    load_plugin(write(change))
    with pytest.raises(PluginError) as caught:
        build_backbone("mine")
    for part in parts:
        assert part in str(caught.value)


def test_a_layout_without_a_card_of_its_own_is_no_plugin(write: Write) -> None:
    path = write(text=TOY + "\n\nclass Deeper(ToyStages):\n    layout = 'deeper'\n")
    assert load_plugin(path) == ["backbone mine"]
    assert BACKBONES.get("mine").__name__ == "ToyStages"


def test_a_broken_backbone_is_listed_with_its_reason_and_hides_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> Any:
        raise ValueError("broken on purpose")

    add_lazily(BACKBONES, "broken", "somewhere", fail)
    rows = [json.loads(line) for line in command("list", "backbones", "--json").stdout.splitlines()]
    status = {row["name"]: (row["status"], row["reason"]) for row in rows}
    assert status["broken"][0] == "broken"
    assert "broken on purpose" in status["broken"][1]
    assert status["resnet50"][0] == "ok"


class Layered(FeatureMethod):
    """Names a layout that not every backbone has."""

    card = MethodCard(
        name="layered",
        title="Layered",
        paper="none",
        year=2026,
        kind="other",
        backbone="resnet50",
        size=64,
        trained=False,
        reference="none",
        licence="none",
    )

    @classmethod
    def backbone_layout(cls, backbone: str, config: MethodConfig) -> str:
        return "deeplab"

    @property
    def taps(self) -> Taps:
        return Taps((), ())

    def logits(self, query: Any, support: Any, support_mask: torch.Tensor) -> torch.Tensor:
        return support_mask


def test_a_method_whose_layout_the_backbone_lacks_says_which_backbones_have_it(write: Write) -> None:
    load_plugin(write())
    with pytest.raises(UsageError) as caught:
        fssbench.load_method(Layered, backbone="mine", weights="random")
    for part in ("layered", "deeplab", "mine", "standard", "wide", "resnet50", "vgg16"):
        assert part in str(caught.value)


@pytest.mark.parametrize("method", ["ssp", "scl"])
def test_a_method_that_needs_more_than_taps_names_another_backbone(write: Write, method: str) -> None:
    load_plugin(write())
    images, mask = torch.zeros(1, 3, 64, 64), torch.ones(1, 1, 64, 64)

    def predict() -> None:
        model = fssbench.load_method(method, backbone="mine", weights="random", untrained=True)
        model.predict(images, images[:, None], mask)

    with pytest.raises(FssbenchError) as caught:
        predict()
    for part in ("mine", "--backbone resnet50"):
        assert part in str(caught.value)


def test_a_method_whose_stages_the_backbone_lacks_says_how_many_there_are(write: Write) -> None:
    load_plugin(write((", number)\n            for", ", 0)\n            for")))
    with pytest.raises(FssbenchError) as caught:
        fssbench.load_method("panet", backbone="mine", weights="random")
    for part in ("mine", "0 stages", "--backbone"):
        assert part in str(caught.value)


# --- other verbs -------------------------------------------------------------------------------------


def test_it_is_measured(write: Write) -> None:
    words = (
        "--plugin",
        str(write()),
        "--backbone",
        "mine",
        "--method",
        "panet",
        "--size",
        "64",
        "--shot",
        "1",
    )
    done = command("bench", *words, "--repeats", "1", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "mine" in done.output


def test_a_stored_run_is_verified_with_the_plugin_and_not_without(write: Write, tmp_path: Path) -> None:
    plugin = write()
    run_mini(plugin, tmp_path / "runs", "--weights", "random")
    assert read_run(next((tmp_path / "runs").iterdir())).done == 2
    words = ("verify", str(tmp_path / "runs"), "--data", "mini")
    done = command(*words, "--plugin", str(plugin))
    assert done.exit_code == 0, done.output


# --- while features are computed ---------------------------------------------------------------------

BODY = "        return {tap: maps[tap] for tap in taps}"


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ("raise ValueError('no such cell')", ["ValueError", "no such cell", "mine.py"]),
        ("raise SystemExit", ["SystemExit"]),
        ("return maps['stage3']", ["Tensor", "stage3"]),
        ("return {}", ["stage3"]),
        ("return {tap: maps[tap][0] for tap in taps}", ["stage3", "(16, 4, 4)", "(1, 16, h, w)"]),
        ("return {tap: maps[tap][:, :7] for tap in taps}", ["stage3", "(1, 7, 4, 4)"]),
        ("return {tap: maps[tap].long() for tap in taps}", ["stage3", "int64"]),
        ("return {tap: maps[tap] / 0 for tap in taps}", ["NaN or infinite"]),
        ("self.stages[0].bias.add_(1)\n        return maps", ["weights changed"]),
        (
            "exec(open(__file__.replace('mine.py', 'late.py')).read())\n        return maps",
            ["late.py", "files ="],
        ),
    ],
)
def test_features_that_are_no_features_end_the_run_with_the_backbones_name(
    write: Write, tmp_path: Path, body: str, parts: list[str]
) -> None:
    plugin = write((BODY, f"        maps = {{tap: maps[tap] for tap in taps}}\n        {body}"))
    plugin.with_name("late.py").write_text("value = 1\n")
    given = (
        "--plugin",
        str(plugin),
        "--backbone",
        "mine",
        "--weights",
        "random",
        "--out",
        str(tmp_path / "runs"),
    )
    done = command("run", *given, "--method", "panet", *MINIATURE)
    assert done.exit_code == 4, done.output
    text = " ".join(done.output.split())
    for part in ("backbone 'mine'", "image", *parts):
        assert part in text
    assert "Traceback" not in done.output


def test_random_numbers_of_a_backbone_depend_on_the_image_alone(write: Write, tmp_path: Path) -> None:
    plugin = write(
        (
            BODY,
            "        noise = torch.rand(()) + random.random()\n        return {tap: maps[tap] + noise for tap in taps}",
        )
    )
    plugin.write_text(plugin.read_text().replace("import torch\n", "import random\nimport torch\n", 1))
    alone = run_mini(plugin, tmp_path / "alone", "--weights", "random")
    given = (
        "--plugin",
        str(plugin),
        "--backbone",
        "mine",
        "--weights",
        "random",
        "--out",
        str(tmp_path / "both"),
    )
    done = command(
        "run", *given, "--method", "hsnet", "--method", "panet", "--untrained", *MINIATURE, "--quiet"
    )
    assert done.exit_code == 0, done.output
    runs = [read_run(run) for run in sorted((tmp_path / "both").iterdir())]
    (panet,) = [run for run in runs if run.manifest.block.method == "panet"]
    assert panet.identity == alone["identity"]
    assert panet.records == read_run(next((tmp_path / "alone").iterdir())).records
