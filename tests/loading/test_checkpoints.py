"""Reading what strangers wrote, the authors' layouts, and our own format."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from fssbench.api import FeatureMethod, Features, ImageMethod, MethodCard, MethodConfig, Taps
from fssbench.contracts.backbones import Backbone
from fssbench.contracts.checkpoint import TrainingManifest
from fssbench.contracts.methods import collect_method_weights, load_reference
from fssbench.errors import DataError
from fssbench.files.hashing import hash_weights_file
from fssbench.files.state_dicts import NO_FALLBACK, assign_state, digest_state, read_state_dict
from fssbench.loading.backbones import build_backbone
from fssbench.loading.checkpoints import load, load_own, read_header, save
from fssbench.runs.early_marks import make_method_marks

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.tensor([1.0, -1.0])}


# --- secrets ---


def test_a_checkpoint_holds_no_secret_and_fits_every_secret(tmp_path: Path) -> None:
    class Remote(ImageMethod):
        class Config(MethodConfig):
            api_key: str = ""
            address: str = ""
            width: int = 4

        card: ClassVar = MethodCard(
            name="remote", title="x", paper="x", year=2026, kind="other", backbone="none", size=32, trained=True,
            reference="x", licence="x",
        )  # fmt: skip

        def __init__(self, config: MethodConfig, backbone: None = None) -> None:
            super().__init__(config, backbone)
            self.layer = nn.Linear(2, 2)

        def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
            raise NotImplementedError

    secret = "s3cretvalue"
    trained = Remote(Remote.Config(api_key=secret, address=f"https://a:{secret}@host", width=8), None)
    save(trained, tmp_path / "c.safetensors", TrainingManifest())
    assert secret.encode() not in (tmp_path / "c.safetensors").read_bytes()
    load_own(Remote(Remote.Config(api_key="another-secret", width=8), None), tmp_path / "c.safetensors")
    with pytest.raises(DataError, match="width"):
        load_own(Remote(Remote.Config(), None), tmp_path / "c.safetensors")


# --- reading ---


@pytest.mark.parametrize("wrap", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrappers_and_data_parallel_prefixes_come_off(tmp_path: Path, wrap: str | None, prefix: str) -> None:
    state: Any = OrderedDict((f"{prefix}{k}", v) for k, v in STATE.items())
    torch.save({wrap: state, "epoch": 3} if wrap else state, tmp_path / "c.pt")
    assert_same(read_state_dict(tmp_path / "c.pt"), STATE)


@pytest.mark.parametrize("legacy", [True, False])
def test_both_torch_formats_are_read(tmp_path: Path, legacy: bool) -> None:
    torch.save(STATE, tmp_path / "c.pth", _use_new_zipfile_serialization=not legacy)
    assert_same(read_state_dict(tmp_path / "c.pth"), STATE)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file({f"module.{k}": v for k, v in STATE.items()}, tmp_path / "c.safetensors")
    assert_same(read_state_dict(tmp_path / "c.safetensors"), STATE)


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert sorted(one) == sorted(other)
    assert all(torch.equal(one[k], other[k]) for k in one)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.pt does not exist"):
        read_state_dict(tmp_path / "none.pt")


@pytest.mark.parametrize(
    "content", [[1, 2], {}, {"epoch": 3}, {"a": STATE["a.bias"], "step": 4}, torch.zeros(2)]
)
def test_what_is_no_state_dict_is_said(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(DataError, match="state dict"):
        read_state_dict(tmp_path / "c.pt")


# --- attacks: the canary must never appear, the refusal always names the way out ---


class Shell:
    """Runs a command when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


class Writer(Shell):
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(self.canary)!r}, 'w').close()",)


class Getattr(Shell):
    """Reaches for code through an attribute of something harmless."""

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (Shell(self.canary), "canary")


class Custom:
    """A class of the authors' own, as an argparse.Namespace or a config would be."""


def raw_pickle(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


def zipped(value: object, path: Path, *, twice: bool = False) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({"a": 1} if twice else value))
        if twice:
            file.writestr("other/data.pkl", pickle.dumps(value))
        file.writestr("archive/version", "3\n")


ATTACKS: dict[str, Callable[[Path, Path], object]] = {
    "raw pickle, os.system": lambda p, c: raw_pickle(Shell(c), p),
    "raw pickle, exec": lambda p, c: raw_pickle({"a": Writer(c)}, p),
    "torch zip, os.system": lambda p, c: torch.save({"a": STATE["a.bias"], "x": Shell(c)}, p),
    "torch zip, custom class": lambda p, c: torch.save({"args": Custom(), **STATE}, p),
    "torch zip, getattr": lambda p, c: torch.save({"a": Getattr(c)}, p),
    "torch legacy, os.system": lambda p, c: torch.save(
        {"a": Shell(c)}, p, _use_new_zipfile_serialization=False
    ),
    "zip by hand": lambda p, c: zipped({"a": Writer(c)}, p),
    "zip with two pickles": lambda p, c: zipped({"a": Writer(c)}, p, twice=True),
    "whole module": lambda p, c: torch.save(nn.Linear(2, 2), p),
    "old tar": lambda p, c: tarred(p, c),
    "key that runs": lambda p, c: raw_pickle({Writer(c): 1}, p),
    "state dict that is nested code": lambda p, c: torch.save({"state_dict": {"a": Shell(c)}}, p),
}


def tarred(path: Path, canary: Path) -> None:
    with tarfile.open(path, "w") as file:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps({"a": Shell(canary)})
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_no_attack_runs_and_the_way_out_is_named(tmp_path: Path, attack: str, suffix: str) -> None:
    canary, path = tmp_path / "canary", tmp_path / f"weights{suffix}"
    ATTACKS[attack](path, canary)
    with pytest.raises(DataError) as caught:
        read_state_dict(path)
    assert not canary.exists()
    assert NO_FALLBACK in str(caught.value)
    assert "Next:" in str(caught.value)
    if suffix == ".pt":
        assert "safetensors" in str(caught.value)


def test_the_attacks_are_real(tmp_path: Path) -> None:
    """With an unsafe loader the same file does act: the canary test can fail."""
    canary, path = tmp_path / "canary", tmp_path / "w.pt"
    ATTACKS["torch zip, os.system"](path, canary)
    torch.load(path, weights_only=False)
    assert canary.exists()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"\0", b"\x80", b"PK\x03\x04", b"<html>login</html>", bytes(range(256))]
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=NO_FALLBACK):
        read_state_dict(path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, part: float) -> None:
    path = tmp_path / f"w{suffix}"
    save_file(STATE, path) if suffix == ".safetensors" else torch.save(STATE, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(DataError, match=NO_FALLBACK):
        read_state_dict(path)


def safetensors_bytes(entries: object, data: bytes, length: int | None = None) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


@pytest.mark.parametrize(
    "content",
    [
        safetensors_bytes(
            {n: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in ("a", "b")}, bytes(8)
        ),
        safetensors_bytes({}, b"", length=1 << 40),
        safetensors_bytes({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 8]}}, bytes(8)),
        safetensors_bytes({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]}}, bytes(8)),
    ],
    ids=["overlapping", "huge header", "shape beyond data", "offset beyond file"],
)
def test_hostile_safetensors_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a complete safetensors file"):
        read_state_dict(path)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_fuzzed_files_raise_nothing_but_our_error(tmp_path: Path, data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from([".pt", ".safetensors"]))
    path = tmp_path / f"fuzz{suffix}"
    save_file(STATE, path) if suffix == ".safetensors" else torch.save(STATE, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        assert all(isinstance(v, Tensor) for v in read_state_dict(path).values())
        read_header(path)
    except DataError:
        pass


# --- assigning ---


def test_assign_names_up_to_five_of_each_and_copies_nothing() -> None:
    own = {f"m{i}": torch.zeros(1) for i in range(7)} | {"s": torch.zeros(2), "ok": torch.zeros(1)}
    given_ = {f"x{i}": torch.ones(1) for i in range(2)} | {"s": torch.ones(3), "ok": torch.ones(1)}
    with pytest.raises(DataError) as caught:
        assign_state(own, given_, "entries of the test")
    said = str(caught.value)
    assert "7 missing: m0, m1, m2, m3, m4 and 2 more" in said
    assert "2 unknown: x0, x1" in said
    assert "1 with another shape: s (3,) instead of (2,)" in said
    assert own["ok"].item() == 0


def test_digest_depends_on_names_types_shapes_and_bytes() -> None:
    seen = {
        digest_state(state)
        for state in (
            {"a": torch.zeros(2)},
            {"b": torch.zeros(2)},
            {"a": torch.zeros(2, 1)},
            {"a": torch.zeros(2, dtype=torch.int32)},
            {"a": torch.ones(2)},
            {"a": torch.zeros(2), "b": torch.zeros(())},
        )
    }
    assert len(seen) == 6
    assert digest_state({"a": torch.ones(1), "b": torch.zeros(2)}) == digest_state(
        {"b": torch.zeros(2), "a": torch.ones(1)}
    )


# --- methods ---


class Settings(MethodConfig):
    width: int = 4
    norm: Literal["batch", "group"] = "batch"


def card(name: str, *, trained: bool = True) -> MethodCard:
    return MethodCard(
        name=name,
        title=name,
        paper="none",
        year=2026,
        kind="other",
        backbone="efficientnet-lite0",
        size=32,
        trained=trained,
        reference="none",
        licence="none",
    )


class Toy(FeatureMethod):
    card: ClassVar[MethodCard] = card("toy")
    Config: ClassVar[type[MethodConfig]] = Settings
    reference_backbone: ClassVar[str] = "encoder.net."

    def __init__(self, config: Settings, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self.neck = nn.Sequential(nn.Conv2d(320, config.width, 1), nn.BatchNorm2d(config.width))
        self.register_buffer("grid", torch.zeros(3), persistent=False)

    @property
    def taps(self) -> Taps:
        return Taps(("blocks.15",), ("blocks.15",))

    def rename_reference(self, name: str) -> str | None:
        return None if name == "grid" else name.replace("head.", "neck.")

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        return self.neck(query["blocks.15"])[:, :2]


class Plain(ImageMethod):
    card: ClassVar[MethodCard] = card("plain")

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self.conv = nn.Conv2d(3, 2, 1)

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        return self.conv(query)


class Bare(Toy):
    card: ClassVar[MethodCard] = card("bare", trained=False)

    def __init__(self, config: Settings, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        del self.neck


def toy(seed: int = 0, **config: Any) -> Toy:
    torch.manual_seed(seed)
    return Toy(Settings(**config), build_backbone("efficientnet-lite0", seed=seed))


def authors(method: Toy) -> dict[str, Tensor]:
    """The method's state in the layout its imagined authors publish."""
    assert method.backbone is not None
    state = {f"encoder.net.{k}": v for k, v in method.backbone.state_dict().items()}
    state |= {k.replace("neck.", "head."): v for k, v in collect_method_weights(method).items()}
    return {f"module.{k}": v.clone() for k, v in state.items()}


def test_the_authors_layout_loads_backbone_and_head() -> None:
    first, second = toy(1), toy(2)
    state = authors(first) | {
        "module.encoder.net._fc.weight": torch.zeros(1000, 1280),  # ImageNet classifier
        "module.encoder.net.stem.1.num_batches_tracked": torch.tensor(7),
        "module.grid": torch.zeros(9),  # computed: known and not needed
    }
    second.load_reference({k: v for k, v in state.items() if not k.endswith("1.num_batches_tracked")})
    assert_same(second.state_dict(), first.state_dict())
    assert first.backbone is not None
    assert second.backbone is not None
    assert second.backbone.weights == "reference"
    assert second.backbone.weights_sha256 == first.backbone.weights_sha256
    assert second.provenance.untrained is False
    assert second.provenance.weights == "reference"
    assert len(second.provenance.checkpoint_sha256) == 64


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("module.head.0.bias"), "1 missing: neck.0.bias"),
        (lambda s: s.pop("module.encoder.net.stem.0.weight"), "1 missing: encoder.net.stem.0.weight"),
        (lambda s: s.update({"module.tail.w": torch.zeros(1)}), "1 unknown: tail.w"),
        (lambda s: s.update({"module.encoder.net.tail": torch.zeros(1)}), "1 unknown: encoder.net.tail"),
        (lambda s: s.update({"module.head.0.bias": torch.zeros(9)}), r"neck.0.bias \(9,\) instead of \(4,\)"),
    ],
)
def test_a_reference_that_does_not_fit_changes_nothing(
    change: Callable[[dict[str, Tensor]], object], said: str
) -> None:
    method = toy(2)
    given = method.provenance
    before = digest_state(method.state_dict())
    state = authors(toy(1))
    change(state)
    with pytest.raises(DataError, match=rf"method 'toy' on efficientnet-lite0.*{said}"):
        load_reference(method, state)
    assert digest_state(method.state_dict()) == before
    assert method.backbone is not None
    assert method.backbone.weights == "random"
    assert method.provenance == given


def test_a_method_without_backbone_loads_all_as_its_own() -> None:
    first, second = Plain(MethodConfig()), Plain(MethodConfig())
    second.load_reference({f"module.{k}": v for k, v in first.state_dict().items()})
    assert_same(second.state_dict(), first.state_dict())


def test_our_own_checkpoint_comes_back(tmp_path: Path) -> None:
    first = toy(1)
    assert first.backbone is not None
    path = tmp_path / "deep" / "toy.safetensors"
    save(first, path, TrainingManifest(steps=10))
    assert [p.name for p in path.parent.iterdir()] == ["toy.safetensors"]
    header = read_header(path)
    assert header is not None
    assert header.manifest == TrainingManifest(steps=10)
    assert header.config == {"width": 4, "norm": "batch"}
    second = Toy(Settings(), build_backbone("efficientnet-lite0", seed=1))
    load(second, path)
    assert_same(second.state_dict(), first.state_dict())
    assert second.provenance.checkpoint == "toy.safetensors"
    assert second.provenance.checkpoint_sha256 == hash_weights_file(path)
    assert second.backbone is not None
    assert second.backbone.weights == "random"
    assert not any(k.startswith("backbone.") for k in read_state_dict(path))


def test_our_own_checkpoint_of_something_else_names_the_difference(tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    save(toy(1), path, TrainingManifest())
    with pytest.raises(DataError, match=r"setting norm='batch' \(here 'group'\)"):
        load_own(Toy(Settings(norm="group"), build_backbone("efficientnet-lite0", seed=1)), path)
    with pytest.raises(DataError, match="weights_sha256"):
        load_own(toy(2), path)
    with pytest.raises(DataError, match=r"method 'toy' \(here 'plain'\)"):
        load_own(Plain(MethodConfig()), path)
    with pytest.raises(DataError, match="setting width=4"):
        load_own(toy(1, width=8), path)


def test_there_is_nothing_to_save_of_a_training_free_method(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no weights of its own"):
        save(
            Bare(Settings(), build_backbone("efficientnet-lite0")),
            tmp_path / "bare.safetensors",
            TrainingManifest(),
        )
    assert list(tmp_path.iterdir()) == []


def test_headers_of_other_files(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "other.safetensors")
    assert read_header(tmp_path / "other.safetensors") is None
    torch.save(STATE, tmp_path / "other.pt")
    assert read_header(tmp_path / "other.pt") is None
    with pytest.raises(DataError, match="not written by fssbench"):
        load_own(toy(), tmp_path / "other.pt")
    for text, said in (("{", "damaged"), ("[]", "damaged"), ("{}", "damaged"), ('{"format": 99}', "up to 1")):
        save_file(STATE, tmp_path / "new.safetensors", metadata={"fssbench": text})
        with pytest.raises(DataError, match=said):
            read_header(tmp_path / "new.safetensors")


def test_load_tells_the_layouts_apart(tmp_path: Path) -> None:
    first, second = toy(1), toy(2)
    torch.save({"state_dict": authors(first)}, tmp_path / "best_model.pt")
    load(second, tmp_path / "best_model.pt")
    assert_same(second.state_dict(), first.state_dict())
    assert second.provenance.checkpoint == "best_model.pt"
    save_file(authors(first), tmp_path / "best_model.safetensors")
    third = toy(3)
    load(third, tmp_path / "best_model.safetensors")
    assert_same(third.state_dict(), first.state_dict())


@pytest.mark.parametrize("own", [True, False])
def test_weights_that_are_changed_after_a_checkpoint_was_loaded_are_marked_as_local(
    tmp_path: Path, own: bool
) -> None:
    """The manifest of the checkpoint does not say what they have learned."""
    path = tmp_path / ("toy.safetensors" if own else "toy.pt")
    if own:
        save(toy(1), path, TrainingManifest(steps=10))
    else:
        torch.save({"state_dict": authors(toy(1))}, path)
    method = toy(1)
    load(method, path)
    before = make_method_marks(method)
    assert not any(mark.kind == "local weights" for mark in before)
    with torch.no_grad():
        next(iter(collect_method_weights(method).values())).add_(1)
    assert make_method_marks(method) == [*before, f"local weights (changed after {path.name} was loaded)"]
    load(method, path)
    assert make_method_marks(method) == before


def test_hash_of_an_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        hash_weights_file(tmp_path / "none")
