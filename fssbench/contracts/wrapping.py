"""Makes a method of a model that knows nothing of fssbench: a `torch.nn.Module`, or any callable."""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from fssbench.contracts.held_modules import find_held_modules
from fssbench.contracts.method_card import MethodCard
from fssbench.contracts.methods import ImageMethod, Method, MethodConfig
from fssbench.contracts.model_answers import Answer, Returns, convert_answer
from fssbench.errors import PluginError

if TYPE_CHECKING:
    from fssbench.contracts.backbones import Backbone

Pixels = Literal["normalised", "unit", "bytes"]
"""Values of the images that a model receives: normalised with ImageNet's statistics, 0 to 1, or uint8."""
Argument = Literal["support_images", "support_masks", "query_image"]
"""Inputs that a model receives."""
ARGUMENTS: tuple[Argument, ...] = get_args(Argument)


def wrap(
    model: nn.Module | Callable[..., Any],
    *,
    name: str,
    returns: Returns,
    pixels: Pixels = "normalised",
    batched: bool = False,
    order: tuple[Argument, ...] = ARGUMENTS,
    shots: Literal["joint", "vote"] = "joint",
    trained: bool = False,
    title: str = "",
    paper: str = "unpublished",
    year: int | None = None,
    kind: Literal["prototype", "pixelwise", "adaptation", "other"] = "other",
    size: int = 400,
    input_size: int | None = None,
    reference: str = "the wrapped code",
    licence: str = "none",
) -> type[ImageMethod]:
    """Make a method of a model, in a plugin file.

    `Mine = wrap(predict, name="mine", returns="probabilities")` is enough.  The model is called with the images and
    masks of one episode, without gradients and in eval mode.  Its weights are part of the identity of a run: those of
    a module, and those of modules that a function uses.  fssbench does not train it.

    Args:
        model: one of

            - a function, or another callable: `model(support_images, support_masks, query_image)`;
            - a module, which each method copies;
            - a class of modules, or `functools.partial` of one: it is built with weights of the seed, and
              `--checkpoint FILE` loads trained ones by their own names;
            - a function without arguments that builds a module.  It is called when the method is loaded.
        name: id on the command line.
        returns: what the model returns for the query:

            - `logits`: one number per pixel, positive for the object, or two, of background and object;
            - `probabilities`: of the object, or of background and object;
            - `mask`: 1 for the object and 0 for background, of the size of the query.
        pixels: values of the images: `normalised` with ImageNet's mean and standard deviation, `unit` (0 to 1), or
            `bytes` (uint8).
        batched: whether the model takes B episodes at once: support images (B, K, 3, H, W), support masks
            (B, K, H, W), query images (B, 3, H, W).  Otherwise it takes one, without the dimension B.
        order: the order of the arguments.
        shots: `joint`: the model takes all K supports.  `vote`: it takes one support (K = 1) at a time, and the masks
            are voted on.
        trained: whether the model was trained for segmentation from supports, by its authors.
        title: name in reports; that of the command line by default.
        paper: authors, title, venue.
        year: year of the paper; this year by default.
        kind: how support and query are compared.
        size: side of the square input in the code of the authors, pixels.
        input_size: side of the square input that the model always gets, pixels, such as 1024; by default the size of
            the protocol.  The score is counted at the size of the protocol.
        reference: repository and commit of that code.
        licence: its licence.

    Returns:
        A class, which a plugin file assigns to a name.

    Raises:
        PluginError: for a model that cannot be called, or an argument that is not allowed.
    """
    for argument, value, allowed in (
        ("returns", returns, get_args(Returns)),
        ("pixels", pixels, get_args(Pixels)),
        ("shots", shots, ("joint", "vote")),
    ):
        if value not in allowed:
            raise PluginError(f"wrap({argument}={value!r}) is not allowed. Allowed: {', '.join(allowed)}")
    if sorted(order) != sorted(ARGUMENTS):
        raise PluginError(f"wrap(order={order!r}) must name each of {', '.join(ARGUMENTS)} once")
    if isinstance(model, Method) or (inspect.isclass(model) and issubclass(model, Method)):
        raise PluginError(f"wrap was given {_describe_model(model)}, which is a method already")
    if not callable(model):
        raise PluginError(
            f"wrap was given a {type(model).__name__}, which cannot be called. "
            "Next: give a torch.nn.Module or a function"
        )
    try:
        card = MethodCard(
            name=name,
            title=title or name,
            paper=paper,
            year=datetime.now(UTC).year if year is None else year,
            kind=kind,
            backbone="none",
            size=size if input_size is None else input_size,
            input_size=input_size,
            pixels="normalised" if pixels == "normalised" else "raw",
            trained=trained,
            reference=reference,
            licence=licence,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise PluginError(
            f"wrap({first['loc'][0]}={first['input']!r}) is not allowed: {first['msg']}"
        ) from None
    names = sys._getframe(1).f_globals
    members: dict[str, Any] = {
        "__module__": names.get("__name__", "__main__"),
        "__doc__": f"The wrapped {_describe_model(model)}.",
        "card": card,
        "shots": shots,
        "brings_weights": not _is_module_class(model),
        "wrapped": staticmethod(model),
        "returns": returns,
        "pixels": pixels,
        "batched": batched,
        "order": tuple(order),
    }
    # the identity of a method of a notebook consists of the code of its class and of the classes among its members
    members |= {f"module_class_{number}": each for number, each in enumerate(_list_module_classes(model))}
    class_name = _make_class_name(name)
    if class_name in names and not _is_wrapped(names[class_name]):
        class_name += "Method"  # a class is found again by its name, such as after an edit of its file
    return type(class_name, (WrappedModel,), members)


class WrappedModel(ImageMethod):
    """Base of the classes that `wrap` makes."""

    wrapped: ClassVar[Any]
    """The model as it was given."""
    returns: ClassVar[Returns]
    pixels: ClassVar[Pixels]
    batched: ClassVar[bool]
    order: ClassVar[tuple[Argument, ...]]

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        given = type(self).wrapped
        if isinstance(given, nn.Module):
            self.model: Any = _copy_module(given, self.card.name)
        elif _is_module_class(given) or _is_builder(given):
            self.model = given()
            if not isinstance(self.model, nn.Module):
                raise PluginError(
                    f"{_describe_model(given)} returned a {type(self.model).__name__}, but must build a "
                    f"torch.nn.Module, or take {', '.join(self.order)}"
                )
        else:
            self.model = given
            self.held = nn.ModuleList(find_held_modules(given))
        scripts = [part for part in self.modules() if isinstance(part, torch.jit.ScriptModule)]
        if scripts:  # their code is in no Python file
            code = hashlib.sha256("".join(str(part.inlined_graph) for part in scripts).encode()).digest()
            self.register_buffer("script_sha256", torch.frombuffer(bytearray(code), dtype=torch.uint8))
        self._answer = Answer(self.card.name, _describe_model(self.model), self.returns)
        self.eval()

    def train(self, mode: bool = True) -> WrappedModel:
        """Stay in eval mode: fssbench does not train the model."""
        super().train(False)
        return self

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        """Return logits (B, 2, h, w) from images and masks (B, K, H, W).

        Raises:
            PluginError: if the model returns something else than it should, or builds a network while it predicts.
        """
        images, supports = self._convert_pixels(query), self._convert_pixels(support)
        masks = support_mask.clone()  # a model may write into its arguments
        if self.batched:
            answers = [self._call(supports, masks, images)]
        else:
            episodes = zip(supports, masks, images, strict=True)
            answers = [self._call(*episode) for episode in episodes]
        lead = (len(query),) if self.batched else ()
        shape = (*lead, *query.shape[-2:])
        logits = [convert_answer(answer, shape, self._answer, query.device) for answer in answers]
        self._require_known_modules()
        return logits[0] if self.batched else torch.stack(logits)

    def rename_reference(self, name: str) -> str | None:
        """Return the name of an entry of the model's own state dict here."""
        return f"model.{name}"

    def _call(self, support_images: Tensor, support_masks: Tensor, query_image: Tensor) -> Any:
        values: Mapping[str, Tensor] = {
            "support_images": support_images,
            "support_masks": support_masks,
            "query_image": query_image,
        }
        return self.model(*(values[argument] for argument in self.order))

    def _convert_pixels(self, images: Tensor) -> Tensor:
        """Make images (..., 3, H, W) with the values that the model takes; always new tensors."""
        if self.pixels == "bytes":  # raw pixels, as the card asks for
            return (images * 255).round().clamp(0, 255).to(torch.uint8)
        return images.clone(memory_format=torch.contiguous_format)

    def _require_known_modules(self) -> None:
        """Refuse a function that built a module while it predicted, because no identity contains its weights."""
        if isinstance(self.model, nn.Module):
            return
        known = set(map(id, self.held))
        if any(id(module) not in known for module in find_held_modules(self.model)):
            raise PluginError(
                f"{self.card.name}: {_describe_model(self.model)} built a network while it predicted, so its "
                "weights are not part of what identifies the run. Next: build it when the file is imported, or wrap "
                "the network, or a function without arguments that builds it"
            )


def _copy_module(module: nn.Module, name: str) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:  # whatever a part of it raises
        raise PluginError(
            f"method {name!r}: the module cannot be copied ({type(error).__name__}: {error}). "
            "Next: wrap a function without arguments that builds it"
        ) from error


def _is_wrapped(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, WrappedModel)


def _list_module_classes(model: Any) -> list[type]:
    """List the classes of the modules that a model is or uses."""
    if _is_module_class(model):
        while isinstance(model, functools.partial):
            model = model.func
        return [model]
    modules = [model] if isinstance(model, nn.Module) else find_held_modules(model)
    return list(dict.fromkeys(map(type, modules)))


def _is_module_class(model: Any) -> bool:
    """Return whether a model is a class of modules, or a partial call of one."""
    while isinstance(model, functools.partial):
        model = model.func
    return inspect.isclass(model) and issubclass(model, nn.Module)


def _is_builder(model: Any) -> bool:
    """Return whether a callable takes no arguments."""
    try:
        return not inspect.signature(model).parameters
    except (TypeError, ValueError):  # some callables of extensions have no signature
        return False


def _describe_model(model: Any) -> str:
    """Describe a model in words, such as `function predict`."""
    inner = model.func if isinstance(model, functools.partial) else model
    if isinstance(inner, nn.Module):
        return f"module {type(inner).__name__}"
    if inspect.isclass(inner):
        return f"class {inner.__name__}"
    return f"function {getattr(inner, '__name__', type(inner).__name__)}"


def _make_class_name(name: str) -> str:
    parts = re.findall(r"[A-Za-z0-9]+", name)
    text = "".join(part[0].upper() + part[1:] for part in parts)
    return text if text.isidentifier() else f"Method{text}"
