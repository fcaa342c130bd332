"""State that all plugins of a process share: settings, hooks, environment, and functions of loaded modules."""

from __future__ import annotations

import operator
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from PIL import Image, ImageFile
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as modules
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from fssbench.errors import PluginError
from fssbench.plugins.import_files import PREFIX

_FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType, type)
_CLASSES: tuple[type, ...] = (Tensor, nn.Module, nn.Conv2d, nn.BatchNorm2d, nn.Linear, Image.Image)
"""Classes whose methods plugins are known to replace."""
_TABLES: Mapping[str, dict[int, Any]] = {
    "forward hooks of all modules": modules._global_forward_hooks,
    "forward pre-hooks of all modules": modules._global_forward_pre_hooks,
    "backward hooks of all modules": modules._global_backward_hooks,
}
_SETTINGS: Mapping[str, Callable[[], Any]] = {
    "default dtype": torch.get_default_dtype,
    "default device": torch.get_default_device,
    "threads": torch.get_num_threads,
    "autocast": lambda: (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")),
    "grad mode": torch.is_grad_enabled,
    "anomaly detection": torch.is_anomaly_enabled,
    "flush denormal": lambda: float(torch.tensor([1e-42]) * 1.0) == 0.0,
    "cudnn.benchmark": lambda: torch.backends.cudnn.benchmark,
    "cudnn.enabled": lambda: torch.backends.cudnn.enabled,
    "mkldnn": lambda: torch.backends.mkldnn.enabled,
    "deterministic algorithms": torch.are_deterministic_algorithms_enabled,
    "float32 precision": torch.get_float32_matmul_precision,
    "LOAD_TRUNCATED_IMAGES": lambda: ImageFile.LOAD_TRUNCATED_IMAGES,
    "MAX_IMAGE_PIXELS": lambda: Image.MAX_IMAGE_PIXELS,
    "working folder": os.getcwd,
    "standard output": lambda: sys.stdout,
    "standard error": lambda: sys.stderr,
    "recursion limit": sys.getrecursionlimit,
    "trace function": sys.gettrace,
    "umask": lambda: _read_umask(),
}


def _read_umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


_MODES = {
    "function modes": lambda: _get_current_function_mode_stack(),
    "dispatch modes": lambda: _get_current_dispatch_mode_stack(),
}
"""Contexts that change what operators of torch compute."""
_NUMERIC: Mapping[str, Callable[[], Any]] = {
    name: _SETTINGS[name]
    for name in ("default dtype", "default device", "autocast", "flush denormal", "mkldnn")
} | _MODES
"""Settings that change the numbers of every method of the process."""
_COMPILER_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
"""Variable that torch sets as it imports its compiler, at the first step of an optimiser or with timm."""
_LIBRARIES = ("torch", "torch.nn.functional", "numpy", "PIL.Image")
"""Modules whose functions nobody but a plugin replaces."""


@contextmanager
def numbers_kept(what: str) -> Iterator[None]:
    """Context of code of a plugin that runs before the method has its own process: an import, an `__init__`.

    The working folder, the grad mode and the reading of truncated images are as before at its end.

    Args:
        what: what the code is, for errors, such as `plugin file mine.py`.

    Raises:
        PluginError: if the block changed what would change the numbers of other methods.
    """
    folder, truncated, grad = Path.cwd(), ImageFile.LOAD_TRUNCATED_IMAGES, torch.is_grad_enabled()
    settings = {name: read() for name, read in _NUMERIC.items()}
    tables = {name: set(table) for name, table in _TABLES.items()}
    functions = [(holder, name, vars(holder).copy()) for name, holder in _list_numeric_holders()]
    try:
        yield
    finally:
        os.chdir(folder)
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated
        torch.set_grad_enabled(grad)
    changes = [name for name, read in _NUMERIC.items() if read() != settings[name]]
    changes += [name for name, table in _TABLES.items() if set(table) != tables[name]]
    changes += [
        f"{name}.{each}"
        for holder, name, kept in functions
        for each in _list_replaced(kept, vars(holder))
        if callable(kept[each]) and not _is_wrapped(kept[each], vars(holder).get(each), name)
    ]
    if changes:
        raise PluginError(
            f"{what} changes {', '.join(changes[:3])}{' and more' * (len(changes) > 3)} for the whole process, and so "
            "the numbers of other methods. Next: change it inside the method, which has its own process on the "
            "CPU of Linux, for the time of a prediction"
        )


def _is_wrapped(before: object, now: object, holder: str) -> bool:
    """Return whether the library of a holder has put a wrapper around a function, as torch does for its compiler."""
    code = getattr(now, "__code__", None)
    home = getattr(sys.modules.get(holder.partition(".")[0]), "__file__", None)
    return (
        getattr(now, "__wrapped__", None) is before
        and code is not None
        and home is not None
        and Path(code.co_filename).is_relative_to(Path(home).parent)
    )


def _list_replaced(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the names that stand for another object now, or for none."""
    if all(map(operator.is_, before.values(), map(now.get, before))):
        return []  # nearly always, and ten times as fast as the next line
    return [name for name, value in before.items() if now.get(name) is not value]


def _list_numeric_holders() -> list[tuple[str, ModuleType | type]]:
    """List the modules and classes whose functions decide the numbers of every method."""
    names = [name for name in [*sys.modules] if name.startswith("fssbench.")]
    modules = ((name, sys.modules.get(name)) for name in (*names, *_LIBRARIES))
    loaded = {name: module for name, module in modules if isinstance(module, ModuleType)}
    classes = dict(_NAMED_CLASSES)
    for each in ((nn.__name__, nn), *loaded.items()):
        classes |= _list_classes(*each)
    return [*loaded.items(), *((name, cls) for cls, name in classes.items())]


_CLASSES_OF: dict[str, tuple[ModuleType, int, dict[type, str]]] = {}
"""Name of a module -> the module, the number of its names when it was searched, and the classes in it."""


def _list_classes(name: str, module: ModuleType) -> dict[type, str]:
    """Name the classes of fssbench and of torch's layers that a module holds; it is searched when it has new names."""
    known = _CLASSES_OF.get(name)
    if known is None or known[0] is not module or known[1] != len(vars(module)):
        values = vars(module).copy().values()
        classes = {
            value: _name_class(value)
            for value in values
            if issubclass(type(value), type)
            and value.__module__.startswith(("fssbench.", "torch.nn.modules."))
        }
        known = _CLASSES_OF[name] = (module, len(values), classes)
    return known[2]


def _name_class(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


_NAMED_CLASSES = {cls: _name_class(cls) for cls in _CLASSES}


class SettingsState:
    """The settings of this process at one time."""

    def __init__(self) -> None:
        self._settings = {name: read() for name, read in _SETTINGS.items()}

    def list_changed_settings(self) -> list[str]:
        """List the settings that have changed since; empty if none has."""
        return [name for name, read in _SETTINGS.items() if read() != self._settings[name]]


class ProcessState(SettingsState):
    """The settings of this process at one time, with its hooks, environment, signal handlers and functions."""

    def __init__(self) -> None:
        super().__init__()
        self._tables = {name: set(table) for name, table in _TABLES.items()}
        self._environment = dict(os.environ)
        self._signals = {number: signal.getsignal(number) for number in signal.valid_signals()}
        self._functions = {
            id(holder): (holder, name, vars(holder).copy()) for name, holder in _list_holders()
        }

    def list_other_changes(self) -> list[str]:
        """List the hooks, variables, signal handlers and functions that have changed since; empty if none has."""
        changes = [name for name, table in _TABLES.items() if set(table) != self._tables[name]]
        names = os.environ.keys() | self._environment.keys()
        changes += [
            f"environment variable {name}"
            for name in sorted(names)
            if os.environ.get(name) != self._environment.get(name) and name != _COMPILER_FOLDER
        ]
        changes += [
            f"handler of {signal.Signals(number).name}"
            for number, handler in self._signals.items()
            if signal.getsignal(number) is not handler
        ]
        changes += [
            f"function {name}.{each}"
            for holder, name, kept in self._functions.values()
            for each in _list_replaced(kept, vars(holder))
            if _is_function(kept[each]) and not _is_wrapped(kept[each], vars(holder).get(each), name)
        ]
        return changes


def _list_holders() -> list[tuple[str, ModuleType | type]]:
    """List the modules and classes whose functions are compared: all but those of plugin files."""
    holders: list[tuple[str, ModuleType | type]] = [
        (name, module)
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType) and not name.startswith((PREFIX, "__main__"))
    ]
    holders += [(f"{cls.__module__}.{cls.__qualname__}", cls) for cls in _CLASSES]
    return [*holders, ("torch.nn.functional", functional)]


def _is_function(value: object) -> bool:
    # not `isinstance`, which asks an object for its class: some warn that they are deprecated
    return issubclass(type(value), _FUNCTIONS)
