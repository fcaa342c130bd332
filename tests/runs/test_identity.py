"""Identity by mutation: whatever can move a number changes it, whatever cannot does not."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import fssbench
from fssbench.api import Plan
from fssbench.contracts.provenance import Provenance
from fssbench.data.data_files import hash_item_files
from fssbench.errors import DataError
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.settings import Settings
from fssbench.files.canonical_json import digest
from fssbench.plugins.registry import load_plugin
from fssbench.runs.early_marks import make_method_marks
from fssbench.runs.identity import make_context, make_identity, make_label
from fssbench.runs.redaction import redact
from fssbench.runs.store import read_run


def manifest(null, plan: Plan, method=None, out: str = "runs", **settings):
    (run,) = null.run(out, plan, method or null.method(), panels=0, **settings)
    return read_run(run.path).manifest.as_stored()


@pytest.fixture
def block(null):
    return manifest(null, null.plan(3))["block"]


def changed(value):
    """Another value of the same kind."""
    if isinstance(value, bool) or value is None:
        return "something"
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, list):
        return value[:-1] if value else ["x"]
    return {**value, "x": 1}


def test_every_field_of_the_block_changes_the_digest(block):
    assert len(block) >= 28
    seen = {digest(block)}
    for field in block:
        seen.add(digest({**block, field: changed(block[field])}))
        seen.add(digest({k: v for k, v in block.items() if k != field}))
    assert len(seen) == 1 + 2 * len(block)


def test_digest_is_of_the_content_not_of_its_order(block):
    assert digest(dict(reversed(block.items()))) == digest(block)
    assert digest(json.loads(json.dumps(block))) == digest(block)
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # sha256 of {}
    with pytest.raises(ValueError):
        digest({"x": float("nan")})


def test_stored_identity_is_that_of_the_stored_block(null):
    for settings in ({}, {"shard": (1, 2)}, {"score_size": "original"}):
        result = manifest(null, null.plan(4), **settings)
        assert digest(result["block"]) == result["identity"]


@pytest.mark.parametrize(
    "mutate",
    [
        lambda p: replace(p, seed=1),
        lambda p: replace(p, protocol="fssbench/1"),
        lambda p: replace(p, version=2),
        lambda p: replace(p, fold=1),
        lambda p: replace(p, size=p.size + 1),
        lambda p: replace(p, split="val"),
        lambda p: replace(p, lists="other lists"),
        lambda p: replace(p, classes=(*p.classes, 9), class_names=(*p.class_names, "x")),
        lambda p: replace(p, dataset_variant="other"),
        lambda p: p.head(2),
        lambda p: replace(p, episodes=(p[1], p[0], *p[2:])),
        lambda p: replace(p, episodes=(replace(p[0], query="1/0011"), *p[1:])),
        lambda p: replace(p, episodes=(replace(p[0], class_id=(p[0].class_id + 1) % 3), *p[1:])),
        lambda p: replace(p, episodes=(replace(p[0], supports=("1/0011",)), *p[1:])),
    ],
)
def test_plan_is_part_of_the_identity(null, mutate):
    plan, method = null.plan(4), null.method()

    def of(p: Plan) -> str:
        return make_identity(
            p,
            method,
            data="d",
            reader="r",
            distributions={},
            absent="zero",
            score_size="input",
            device="cpu",
        ).sha256

    assert of(mutate(plan)) != of(plan)
    assert of(replace(plan, data=Path("/elsewhere"), splits=Path("/lists"))) == of(plan)
    assert of(replace(plan, marks=("capped",))) == of(plan), "a mark says what the rest already tells"


@pytest.mark.parametrize("field", ["data", "reader", "absent", "score_size", "device", "distributions"])
def test_arguments_are_part_of_the_identity(null, field):
    given = {"data": "d", "reader": "r", "absent": "zero", "score_size": "input", "device": "cpu"}
    given["distributions"] = {"scipy": "1.14.0"}
    plan, method = null.plan(2), null.method()
    other = {**given, field: {"scipy": "1.15.0"} if field == "distributions" else "other"}
    assert make_identity(plan, method, **given) != make_identity(plan, method, **other)
    assert make_identity(plan, method, **given).sha256 != make_identity(plan, method, **other).sha256


FILE_DATA = """
from pathlib import Path
import numpy as np
from PIL import Image
from fssbench.api import Dataset, DatasetCard, Entry, Pool, Verification

class OnDisk(Dataset):
    card = DatasetCard(name="ondisk", title="t", domain="d", folders=("ondisk",), url="u", licence="l",
                       citation="c", layout="l")
    def classes(self):
        return {0: "thing"}
    def pool(self, split):
        return Pool(tuple(Entry(f"{i}.png", 0) for i in range(4)), "rule")
    def files(self, item):
        return self.path(item), self.path("m" + item)
    def image(self, item):
        return Image.open(self.path(item)).convert("RGB")
    def label(self, item):
        return np.asarray(Image.open(self.path("m" + item)))
    def mask(self, item, class_id):
        return (self.label(item) > THRESHOLD).astype(np.uint8)
    def verify(self):
        return Verification("ondisk", self.root)
    @classmethod
    def miniature(cls, data, seed):
        raise NotImplementedError

THRESHOLD = 127
"""


@pytest.fixture
def on_disk(null):
    """A data set of eight PNG files, and a plan of it."""
    rng = np.random.default_rng(0)
    folder = null.data / "ondisk"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        Image.fromarray(rng.integers(0, 255, (20, 20), dtype=np.uint8)).save(folder / f"m{i}.png")
    (null.folder / "ondisk.py").write_text(FILE_DATA)
    return folder


def registered(monkeypatch, file: Path):
    from fssbench.plugins import registry

    fresh = registry.Registry("dataset", "none", "fssbench.api.Dataset")
    monkeypatch.setattr(registry, "DATASETS", fresh)
    for module in ("fssbench.data.location", "fssbench.benchmarks.catalogue"):
        monkeypatch.setattr(f"{module}.DATASETS", fresh)
    load_plugin(file)


def test_a_query_among_its_own_supports_marks_the_run(null, on_disk, monkeypatch):
    registered(monkeypatch, null.folder / "ondisk.py")
    plan = replace(fssbench.plan("ondisk", shot=1, data=null.data, episodes=20), size=16)
    assert not any(m.startswith("query") for m in manifest(null, plan)["context"]["marks"])
    (on_disk / "1.png").write_bytes((on_disk / "0.png").read_bytes())
    count = sum({e.query, *e.supports} == {"0.png", "1.png"} for e in plan)
    assert count > 0
    marks = manifest(null, plan, out="twins")["context"]["marks"]
    assert f"query among its supports ({count} of 20 episodes)" in marks


def test_one_byte_of_an_image_or_mask_is_another_measurement(null, on_disk, monkeypatch):
    registered(monkeypatch, null.folder / "ondisk.py")
    plan = replace(fssbench.plan("ondisk", shot=1, data=null.data, episodes=5), size=16)
    first = manifest(null, plan)
    assert manifest(null, plan)["identity"] == first["identity"]
    for name in ("0.png", "m0.png"):
        data = bytearray((on_disk / name).read_bytes())
        original = bytes(data)
        # the last chunk's own CRC: Pillow does not look at it, the picture is the same
        data[-1] ^= 1
        (on_disk / name).write_bytes(data)
        other = manifest(null, plan)
        assert other["identity"] != first["identity"]
        assert [k for k in first["block"] if first["block"][k] != other["block"][k]] == ["data_sha256"]
        (on_disk / name).write_bytes(original)
    # a copy elsewhere is the same data
    (null.folder / "copy").mkdir()
    on_disk.rename(null.folder / "copy" / "ondisk")
    moved = replace(plan, data=null.folder / "copy")
    assert manifest(null, moved, out="moved")["identity"] == first["identity"]
    (null.folder / "copy" / "ondisk" / "m1.png").unlink()
    with pytest.raises(DataError, match=r"ondisk: 1 file is missing .* The first is .*m1\.png"):
        null.run("runs", moved)


def test_rule_of_the_reader_is_part_of_the_identity(null, on_disk, monkeypatch):
    result = []
    for threshold in ("127", "90"):
        file = null.folder / "ondisk.py"
        file.write_text(FILE_DATA.replace("THRESHOLD = 127", f"THRESHOLD = {threshold}"))
        registered(monkeypatch, file)
        plan = replace(fssbench.plan("ondisk", shot=1, data=null.data, episodes=5), size=16)
        result.append(manifest(null, plan))
    assert result[0]["identity"] != result[1]["identity"]
    assert result[0]["block"]["reader_sha256"] != result[1]["block"]["reader_sha256"]


def test_files_are_read_once_for_all_plans_and_again_when_changed(tmp_path, monkeypatch):
    class Files:
        card = SimpleNamespace(name="files")
        places = (tmp_path,)

        def files(self, item):
            return (tmp_path / item,)

    read = []
    digest = hashlib.file_digest
    monkeypatch.setattr(
        hashlib, "file_digest", lambda file, kind: read.append(file.name) or digest(file, kind)
    )
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    first = hash_item_files(Files(), "abc", "a plan")
    assert hash_item_files(Files(), "cba", "another plan") == first
    assert hash_item_files(Files(), "ab", "a third plan") != first
    assert len(read) == 3
    (tmp_path / "b").write_bytes(b"B")
    os.utime(tmp_path / "b", ns=(1, 1))
    assert hash_item_files(Files(), "abc", "a plan") != first
    assert len(read) == 4


def with_weight(null, value: float):
    def init(self, config, backbone=None):
        super(null.base, self).__init__(config, backbone)
        self.scale = torch.nn.Parameter(torch.tensor([value]))

    return null.make_broken("weighted", __init__=init)


def test_one_weight_is_another_measurement(null):
    plan = null.plan(2)
    one, same, other = (manifest(null, plan, with_weight(null, v)) for v in (1.0, 1.0, 1.0000001))
    assert one["identity"] == same["identity"] != other["identity"]
    assert one["block"]["head_sha256"] != other["block"]["head_sha256"]


def test_config_score_size_seed_cap_are_other_measurements(null):
    plan = null.plan(6)
    result = [
        manifest(null, plan),
        manifest(null, plan, null.method(bias=0.1)),
        manifest(null, plan, null.method(bias="0.2")),
        manifest(null, plan, score_size="original"),
        manifest(null, null.plan(6, seed=1)),
        manifest(null, null.plan(6, shot=2)),
        manifest(null, null.plan(6, size=17)),
        manifest(null, plan.head(5)),
        manifest(null, plan, shard=(1, 2)),
        manifest(null, plan, null.make_broken("renamed")),
    ]
    assert len({m["identity"] for m in result}) == len(result)
    assert manifest(null, plan, null.method(bias="0.1"))["identity"] == result[1]["identity"]


def test_where_and_how_a_run_was_made_is_not_part_of_it(null, monkeypatch):
    plan = null.plan(4)
    first = manifest(null, plan)
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    monkeypatch.setattr("sys.argv", ["fssbench", "other", "arguments"])
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.chdir(null.folder)
    for out, settings in (("b", {"cache_mb": 0}), ("c", {})):
        other = manifest(null, plan, out=out, **settings)
        assert other["identity"] == first["identity"]
        assert other["block"] == first["block"]
        assert other["context"] != first["context"]


def test_context_holds_no_home_host_or_environment(null, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "planted")
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setattr("sys.argv", ["fssbench", "run", "--out", "/home/somebody/runs", "--token", "planted"])
    context = make_context(null.method(), null.plan(2)).as_stored()
    text = json.dumps(context)
    assert "planted" not in text
    assert "somebody" not in text
    assert "host" not in context
    assert context["arguments"] == ["run", "--out", ".../runs", "--token", "[hidden]"]
    assert set(context["variables"]) <= {
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "CUDA_VISIBLE_DEVICES",
        "CUBLAS_WORKSPACE_CONFIG",
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["--token", "S3CRET"],
        ["--hf-token", "S3CRET"],
        ["--hf-token=S3CRET"],
        ["--api-key=S3CRET"],
        ["--set", "api_key=S3CRET"],
        ["--set", "my.password=S3CRET"],
        ["AWS_SECRET_ACCESS_KEY=S3CRET"],
        ["--data", "https://user:S3CRET@example.org/x"],
        ["--data", "https://example.org/x?sig=S3CRET&a=b"],
        ["--data", "s3://S3CRET@bucket/x"],
        ["--set", "authorization=S3CRET"],
        ["--set", "credentials=S3CRET"],
        ["--passwd", "S3CRET"],
        ["--weights", "hf_S3CRETS3CRETS3CRET"],
        ["--set", "x=ghp_S3CRETS3CRETS3CRET"],
        ["--key", "S3CRET"],
    ],
)
def test_secrets_in_arguments_are_hidden(arguments):
    kept = redact(["run", *arguments, "-m", "null"])
    assert "S3CRET" not in " ".join(kept)
    assert kept[0] == "run"
    assert kept[-2:] == ["-m", "null"], "what follows is kept"
    assert "[hidden]" in " ".join(kept)


def test_harmless_arguments_are_kept():
    arguments = [
        "run",
        "--set",
        "temperature=20",
        "--out",
        "runs",
        "--keypoints=3",
        "-b",
        "a:b",
        "--author",
        "me",
    ]
    assert redact(arguments) == arguments


def test_label_and_marks(null):
    method = null.method(bias=0.5)
    assert make_label(method) == "null (bias=0.5)"
    assert make_method_marks(method) == []
    trained = null.make_broken("t")
    trained.provenance = trained.provenance.changed(untrained=True)
    assert make_method_marks(trained) == ["untrained"]
    assert make_label(trained) == "t"
    bare = copy.copy(trained)
    bare.provenance = Provenance()
    assert make_method_marks(bare) == []


def test_runs_of_two_identities_never_share_a_folder(null):
    plan = null.plan(2)
    methods = [null.method(bias=b) for b in (0.0, 0.1, 0.2)]
    done, failed = evaluate_all(methods, plan, Settings(out=null.folder / "many", panels=0))
    assert not failed
    assert len({d.path for d in done}) == 3
