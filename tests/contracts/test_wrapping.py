"""`wrap`: what a foreign model receives, what it may return, and that its weights identify a run."""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from messages import error_names
from torch import Tensor, nn

from fssbench.api import ImageMethod, MarkKind, PluginError, wrap
from fssbench.contracts.held_modules import find_held_modules
from fssbench.contracts.methods import Method
from fssbench.episodes.synthetic import Synthetic
from fssbench.errors import DataError
from fssbench.evaluation.isolation import isolated
from fssbench.files.state_dicts import digest_state
from fssbench.loading.load import load_method
from fssbench.plugins.live_code import hash_live_code
from fssbench.plugins.registry import METHODS, load_plugin


def segment(cls: type[ImageMethod], episodes: Synthetic) -> Tensor:
    method = load_method(cls)
    with isolated(0):
        return method.segment(episodes.query, episodes.support, episodes.mask)


class Net(nn.Module):
    """Compares channels of a convolution with their mean over the supports."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, images: Tensor, masks: Tensor, query: Tensor) -> Tensor:
        maps = self.norm(self.conv(images))
        mean = (maps * masks[:, None]).sum((0, 2, 3)) / masks.sum().clamp(min=1)
        return 1 - (self.norm(self.conv(query[None]))[0] - mean[:, None, None]).square().mean(0)


# --- what a model returns ----------------------------------------------------------------------------


def is_bright(images: Tensor, masks: Tensor, query: Tensor) -> Tensor:
    """A mask (..., H, W), bool, of a query (..., 3, H, W)."""
    return query.mean(-3) > 0.1


ANSWERS = {
    "bool mask": ("mask", lambda mask: mask),
    "uint8 mask": ("mask", lambda mask: mask.to(torch.uint8)),
    "int64 mask with a channel": ("mask", lambda mask: mask.long().unsqueeze(-3)),
    "float mask": ("mask", lambda mask: mask.float()),
    "probability": ("probabilities", lambda mask: mask * 0.4 + 0.3),
    "probability with a channel": ("probabilities", lambda mask: (mask * 0.4 + 0.3).unsqueeze(-3)),
    "two probabilities": (
        "probabilities",
        lambda mask: torch.stack([0.7 - mask * 0.4, mask * 0.4 + 0.3], -3),
    ),
    "logit": ("logits", lambda mask: mask * 4.0 - 2),
    "half a logit": ("logits", lambda mask: (mask * 4.0 - 2).half().unsqueeze(-3)),
    "two logits": ("logits", lambda mask: torch.stack([3 - mask * 4.0, mask * 4.0], -3)),
}


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("form", ANSWERS)
def test_every_form_of_an_answer_is_the_same_mask(form: str, batched: bool) -> None:
    returns, convert = ANSWERS[form]
    episodes = Synthetic.make(3, 2, 24, 32)
    cls = wrap(lambda a, b, c: convert(is_bright(a, b, c)), name="x", returns=returns, batched=batched)  # type: ignore[arg-type]
    assert torch.equal(segment(cls, episodes), episodes.query.mean(1) > 0.1)


REFUSED: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "numpy": ("mask", lambda q: np.zeros((24, 32)), ("ndarray", "(24, 32)", "torch.from_numpy")),
    "dictionary": ("logits", lambda q: {"out": q}, ("dict",)),
    "nothing": ("logits", lambda q: None, ("NoneType",)),
    "image": ("logits", lambda q: q, ("(3, 24, 32)", "(2, h, w)")),
    "batch of one": ("logits", lambda q: q[None, :2], ("(1, 2, 24, 32)",)),
    "vector": ("logits", lambda q: q[0, 0], ("(32,)",)),
    "no pixel": ("logits", lambda q: q[0, :0], ("(0, 32)",)),
    "integers": ("logits", lambda q: q[0].long(), ("int64", "returns='mask'")),
    "nan": ("logits", lambda q: q[0] * float("nan"), ("768", "NaN")),
    "infinite": ("probabilities", lambda q: q[0] / 0, ("infinite",)),
    "other device": ("logits", lambda q: q[0].to("meta"), ("meta", "cpu")),
    "logits as probabilities": ("probabilities", lambda q: q[0] * 5, ("between 0 and 1", "returns='logits'")),
    "bytes as mask": ("mask", lambda q: (q[0] > 0) * 255, ("255", "0 and 1")),
    "probabilities as mask": ("mask", lambda q: q[0].sigmoid(), ("returns='probabilities'",)),
    "turned mask": ("mask", lambda q: q[0].T > 0, ("32 x 24", "24 x 32")),
    "small mask": ("mask", lambda q: q[0, ::2, ::2] > 0, ("12 x 16",)),
    "two masks": ("mask", lambda q: q[:2] > 0, ("(2, 24, 32)",)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_answer_is_refused_by_name(case: str) -> None:
    returns, answer, words = REFUSED[case]

    def foreign(images: Tensor, masks: Tensor, query: Tensor) -> Any:
        return answer(query)

    with pytest.raises(PluginError) as refusal:
        segment(wrap(foreign, name="odd-one", returns=returns), Synthetic.make(1, 1, 24, 32))  # type: ignore[arg-type]
    assert error_names(refusal.value, "odd-one", "foreign", *words)


def test_probabilities_that_are_returned_as_logits_are_refused() -> None:
    method = load_method(wrap(lambda a, b, c: c[0].sigmoid(), name="x", returns="logits"))
    for _ in range(2):
        segment_one(method)
    with pytest.raises(PluginError, match="between 0 and 1"):
        segment_one(method)
    sound = load_method(wrap(lambda a, b, c: c[0].sigmoid() - 0.5, name="x", returns="logits"))
    for _ in range(5):
        segment_one(sound)


def segment_one(method: Method) -> Tensor:
    episodes = Synthetic.make(1, 1, 24, 24)
    with isolated(0):
        return method.segment(episodes.query, episodes.support, episodes.mask)


# --- what a model receives ---------------------------------------------------------------------------


def received(episodes: Synthetic, **options: Any) -> list[tuple[Tensor, ...]]:
    calls: list[tuple[Tensor, ...]] = []

    def keep(*arguments: Tensor) -> Tensor:
        calls.append(tuple(argument.clone() for argument in arguments))
        for argument in arguments:
            argument.zero_()  # a model may write into what it received
        lead = (len(episodes.query),) if options.get("batched") else ()
        return torch.zeros(*lead, *episodes.query.shape[-2:])

    before = episodes.query.clone(), episodes.support.clone(), episodes.mask.clone()
    segment(wrap(keep, name="x", returns="mask", **options), episodes)
    after = episodes.query, episodes.support, episodes.mask
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    return calls


def test_a_model_receives_single_episodes_or_batches() -> None:
    episodes = Synthetic.make(2, 3, 24, 32)
    first, second = received(episodes)
    assert [tuple(value.shape) for value in first] == [(3, 3, 24, 32), (3, 24, 32), (3, 24, 32)]
    assert torch.equal(first[0], episodes.support[0])
    assert torch.equal(second[2], episodes.query[1])
    (batch,) = received(episodes, batched=True)
    assert all(
        torch.equal(a, b)
        for a, b in zip(batch, (episodes.support, episodes.mask, episodes.query), strict=True)
    )


def test_a_model_that_votes_receives_one_support_at_a_time() -> None:
    calls = received(Synthetic.make(1, 3, 24, 24), shots="vote")
    assert [tuple(call[0].shape) for call in calls] == [(1, 3, 24, 24)] * 3


def test_the_order_of_the_arguments_is_chosen() -> None:
    episodes = Synthetic.make(1, 1, 24, 24)
    (call,) = received(episodes, order=("query_image", "support_masks", "support_images"))
    assert torch.equal(call[0], episodes.query[0])
    assert torch.equal(call[1], episodes.mask[0])


def test_pixels_are_those_of_the_image() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    wanted = torch.from_numpy(pixels).permute(2, 0, 1)
    image = wanted / 255  # what the harness gives to a method whose card asks for raw pixels
    episodes = Synthetic(image[None], image[None, None], torch.ones(1, 1, 24, 24))
    ((_, _, unit),) = received(episodes, pixels="unit")
    ((_, _, raw),) = received(episodes, pixels="bytes")
    assert torch.equal(raw, wanted)
    assert torch.equal(unit, image)


@pytest.mark.parametrize(
    ("pixels", "asked"), [("normalised", "normalised"), ("unit", "raw"), ("bytes", "raw")]
)
def test_the_card_asks_for_the_pixels_and_the_size_that_the_model_takes(pixels: Any, asked: str) -> None:
    cls = wrap(by_global, name="x", returns="logits", pixels=pixels, input_size=1024)
    assert (cls.card.pixels, cls.card.input_size, cls.card.size) == (asked, 1024, 1024)


# --- weights -----------------------------------------------------------------------------------------

NET = Net()
HOLDER = SimpleNamespace(net=NET)


def by_global(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return NET(a, b, c)


def by_helper(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return by_global(a, b, c)


def by_inner(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return (lambda: NET(a, b, c))()


def by_default(a: Tensor, b: Tensor, c: Tensor, net: nn.Module = NET) -> Tensor:
    return net(a, b, c)


@functools.wraps(by_global)
def by_decorated(*arguments: Tensor) -> Tensor:
    return by_global(*arguments)


def make_closure() -> Any:
    parts = {"nets": [NET]}
    return lambda a, b, c: parts["nets"][0](a, b, c)


class Caller:
    def __init__(self) -> None:
        self.net = NET

    def __call__(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return self.net(a, b, c)

    def method(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return self.net(a, b, c)


HOLDING = {
    "global": by_global,
    "helper": by_helper,
    "inner function": by_inner,
    "default": by_default,
    "decorated": by_decorated,
    "closure": make_closure(),
    "object": Caller(),
    "bound method": Caller().method,
    "method of the module": NET.forward,
    "partial": functools.partial(lambda net, a, b, c: net(a, b, c), NET),
}


@pytest.mark.parametrize("way", HOLDING)
def test_the_weights_of_a_module_that_a_function_uses_are_known(way: str) -> None:
    assert find_held_modules(HOLDING[way]) == [NET]
    method = load_method(wrap(HOLDING[way], name="x", returns="logits"))
    before = digest_state(method.state_dict())
    assert {name.split(".", 2)[2] for name in method.state_dict()} == set(NET.state_dict())
    assert MarkKind.LOCAL_WEIGHTS in method.provenance.marks
    with torch.no_grad():
        NET.conv.bias.add_(1)
    assert digest_state(load_method(wrap(HOLDING[way], name="x", returns="logits")).state_dict()) != before


def test_a_network_that_is_built_while_it_predicts_is_refused() -> None:
    built: list[nn.Module] = []

    def lazy(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        if not built:
            built.append(Net())
        return built[0](a, b, c)

    with pytest.raises(PluginError) as refusal:
        segment(wrap(lazy, name="x", returns="logits"), Synthetic.make(1, 1, 24, 24))
    assert error_names(refusal.value, "lazy", "built a network", "without arguments")


def test_a_module_is_copied_stays_in_eval_mode_and_is_not_trained() -> None:
    net = Net().train()
    cls = wrap(net, name="x", returns="logits", trained=True)
    method = load_method(cls)
    assert not method.train().training
    assert net.training
    method.model.conv.weight.data.zero_()
    assert net.conv.weight.abs().sum() > 0
    assert load_method(cls).provenance.marks == (MarkKind.LOCAL_WEIGHTS,)
    assert not method.provenance.untrained
    assert method.provenance.learnable == sum(p.numel() for p in net.parameters())


def test_a_class_needs_a_checkpoint_with_its_own_names(tmp_path: Path) -> None:
    cls = wrap(functools.partial(Net, width=5), name="x", returns="logits", trained=True)
    with pytest.raises(DataError, match="needs trained weights"):
        load_method(cls)
    assert load_method(cls, untrained=True).provenance.untrained
    weights = Net(5).state_dict()
    torch.save(weights, tmp_path / "weights.pth")
    method = load_method(cls, checkpoint=tmp_path / "weights.pth")
    assert not method.provenance.untrained
    assert torch.equal(method.state_dict()["model.conv.weight"], weights["conv.weight"])
    torch.save(Net(6).state_dict(), tmp_path / "other.pth")
    with pytest.raises(DataError, match=r"conv\.weight"):
        load_method(cls, checkpoint=tmp_path / "other.pth")


def test_a_builder_whose_weights_depend_on_the_seed_is_marked() -> None:
    random = load_method(wrap(lambda: Net(), name="x", returns="logits", trained=True))
    assert MarkKind.RANDOM_WEIGHTS in random.provenance.marks

    def build() -> Net:
        net = Net()
        net.load_state_dict(NET.state_dict())
        return net

    fixed = load_method(wrap(build, name="x", returns="logits", trained=True))
    assert fixed.provenance.marks == (MarkKind.LOCAL_WEIGHTS,)


def test_a_builder_of_something_else_is_named() -> None:
    with pytest.raises(PluginError) as refusal:
        load_method(wrap(lambda: 3, name="x", returns="logits"))
    assert error_names(refusal.value, "returned a int", "torch.nn.Module")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_code_of_a_compiled_module_identifies_it() -> None:
    class Times(nn.Module):
        def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
            return c[0] * 2

    class Plus(nn.Module):
        def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
            return c[0] + 2

    arguments = (torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8), torch.zeros(3, 8, 8))
    times, plus = (torch.jit.trace(module(), arguments) for module in (Times, Plus))
    digests = [
        digest_state(load_method(wrap(each, name="x", returns="logits")).state_dict())
        for each in (times, plus, times)
    ]
    assert digests[0] == digests[2] != digests[1]


# --- the class and its plugin ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"returns": "logit"}, ("returns='logit'", "probabilities")),
        ({"pixels": "raw"}, ("pixels='raw'", "bytes")),
        ({"shots": "all"}, ("shots='all'",)),
        ({"order": ("query_image",)}, ("order", "support_masks")),
        ({"year": "soon"}, ("year", "soon")),
        ({"kind": "best"}, ("kind", "best")),
        ({"model": 3}, ("int",)),
        ({"model": ImageMethod}, ("ImageMethod", "method already")),
    ],
)
def test_an_argument_that_is_not_allowed_is_named(options: dict[str, Any], words: tuple[str, ...]) -> None:
    given: dict[str, Any] = {"model": by_global, "name": "x", "returns": "logits", **options}
    with pytest.raises(PluginError) as refusal:
        wrap(given.pop("model"), **given)
    assert error_names(refusal.value, *words)


FIVE_LINES = """
from fssbench.api import wrap
from network import Net

Method = wrap(Net(), name="net", title="Their net", reference="them/net@1a2b3c4", trained=True, returns="logits")
"""
NETWORK = """
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(nn.init.constant_(nn.Parameter(__import__("torch").zeros(1)), 2.0))
    def forward(self, images, masks, query):
        return query[0] * self.scale
"""


@pytest.mark.parametrize("target", ["mine.py", ""])
def test_five_lines_are_a_plugin_whose_identity_covers_the_network(tmp_path: Path, target: str) -> None:
    """The name of the method gives a class of the same name as the network, which must not be confused."""
    hashes = []
    for place, network in (("one", NETWORK), ("two", NETWORK.replace("query[0]", "query[1]"))):
        folder = tmp_path / place
        folder.mkdir()
        (folder / "mine.py").write_text(FIVE_LINES.replace('"net"', f'"{place}"'))
        (folder / "network.py").write_text(network)
        assert load_plugin(folder / target) == [f"method {place}"]
        method = load_method(place)
        assert method.card.reference == "them/net@1a2b3c4"
        assert set(method.provenance.sources) == {"mine", "network"}
        hashes.append(method.provenance.sources["network"])
    assert len(set(hashes)) == 2


def test_a_method_and_its_network_may_have_one_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FIVE_LINES.replace("from network import Net", NETWORK))
    load_plugin(tmp_path / "mine.py")
    assert load_method("net").provenance.source_sha256
    assert METHODS.get("net").__name__ != "Net"


def test_a_function_of_a_notebook_is_known_by_its_code() -> None:
    def hashed(body: str) -> str | None:
        names: dict[str, Any] = {"__name__": "__main__"}
        code = f"from fssbench.api import wrap\ndef predict(a, b, c):\n    return {body}\n"
        exec(compile(code + "Mine = wrap(predict, name='mine', returns='logits')", "<cell>", "exec"), names)
        return hash_live_code(names["Mine"], base=ImageMethod, known=())

    assert hashed("c[0]") == hashed("c[0]") != hashed("c[1]")
