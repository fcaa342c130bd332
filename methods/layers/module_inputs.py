"""Inputs of modules during a prediction, for pictures of what a method computes (`Method.debug_maps`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from torch import nn


def record_inputs(modules: Mapping[str, nn.Module], predict: Callable[[], object]) -> dict[str, Any]:
    """Call a prediction, and return the first input that each module received in it.

    Args:
        modules: modules by name.
        predict: the prediction.

    Returns:
        The inputs by name, in the order of `modules`; a module that was not called is left out.
    """
    inputs: dict[str, Any] = {}

    def make_hook(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def note_input(module: nn.Module, given: tuple[Any, ...]) -> None:
            inputs.setdefault(name, given[0])

        return note_input

    with ExitStack() as hooks:
        for name, module in modules.items():
            hooks.callback(module.register_forward_pre_hook(make_hook(name)).remove)
        predict()
    return {name: inputs[name] for name in modules if name in inputs}
