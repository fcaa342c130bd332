"""Registries of plugins by name, filled from entry points and `--plugin`, and loaded on use.

Built-in plugins have no privilege.  A broken plugin does not hide others and is not hidden: the registry keeps the
reason, and reports it when the plugin is used or listed.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from fssbench.errors import PluginError, UsageError, make_unknown_error
from fssbench.files.home import expand_home
from fssbench.plugins import execution, import_files
from fssbench.plugins.calls import plugin_call
from fssbench.plugins.data_folders import (
    ORIGIN,
    Offer,
    make_class,
    make_offer,
    offer_data_folders,
    split_data_folder,
)


@dataclass
class Plugin:
    """One registered name, loaded or not."""

    name: str
    origin: str
    """`distribution version (module:attr)`, or a file."""
    load: Callable[[], Any]
    value: Any = None
    error: str | None = None
    is_member: bool = False
    """Whether a family makes it from its name.  What is wrong with the name is then the user's mistake."""

    def get(self) -> Any:
        """Load the plugin once; a failure is stored and raised again with its reason.

        Raises:
            PluginError: if the plugin does not load.
        """
        if self.value is None and self.error is None:
            try:
                place = f"plugin {self.name!r} from {self.origin} does not load"
                passes = (UsageError,) if self.is_member else ()
                other = nullcontext() if "(fssbench." in self.origin else _keep_numbers(place)
                with other, plugin_call(f"{place}:", inside=place, passes=passes), _observe_import():
                    self.value = self.load()
            except PluginError as error:
                self.error = str(error)
                raise
        if self.error is not None:
            raise PluginError(self.error)
        return self.value


class Registry:
    """Names of one kind of plugin.

    Args:
        kind: singular, for messages ("method").
        group: entry point group.
        base: qualified name of the class every plugin must derive from, resolved on first load.
        families: entry point group of functions that make a class from the rest of a name such as `timm:NAME`;
            empty for none.
        further: function that yields plugins from other places than entry points.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        base: str,
        families: str = "",
        further: Callable[[], Iterable[Offer]] = tuple,
    ) -> None:
        self.kind = kind
        self.group = group
        self.base = base
        self.families = families
        self._further = further
        self._plugins: dict[str, Plugin] | None = None
        self._clashes: dict[str, list[str]] = {}

    def _scan(self) -> dict[str, Plugin]:
        if self._plugins is None:
            offers = [*self._further()]
            self._plugins = {}
            for point in importlib.metadata.entry_points(group=self.group):
                dist = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown distribution"
                self._add(point.name, f"{dist} ({point.value})", point.load)
            for offer in offers:
                self._add(*offer)
        return self._plugins

    def _add(self, name: str, origin: str, load: Callable[[], Any]) -> None:
        plugins = self._scan()
        if name in plugins and plugins[name].origin != origin:
            self._clashes.setdefault(name, [plugins[name].origin]).append(origin)
            return
        plugins.setdefault(name, Plugin(name, origin, lambda: self._checked(load())))

    def _checked(self, value: Any) -> Any:
        module, _, attribute = self.base.rpartition(".")
        base = getattr(importlib.import_module(module), attribute)
        if not (inspect.isclass(value) and issubclass(value, base)):
            raise PluginError(f"{value!r} must be a subclass of {self.base}")
        if inspect.isabstract(value):
            missing = ", ".join(sorted(getattr(value, "__abstractmethods__", ())))
            raise PluginError(f"class {value.__name__} must define {missing}")
        if not hasattr(value, "card") and not hasattr(value, "name"):
            raise PluginError(
                f"class {value.__name__} defines neither `card` nor `name`, but needs one of them"
            )
        return value

    def _add_from_family(self, name: str) -> None:
        """Register a name such as `timm:NAME`, if a family has its first part."""
        family, colon, rest = name.partition(":")
        if not (self.families and colon and rest):
            return
        for point in importlib.metadata.entry_points(group=self.families, name=family):
            dist = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown distribution"
            self._add(name, f"{dist} ({point.value})", partial(_make_member, point, rest))
            self._scan()[name].is_member = True

    def names(self) -> list[str]:
        """List all registered names, also of broken plugins, sorted; members of families are not listed."""
        return sorted(name for name, plugin in self._scan().items() if not plugin.is_member)

    def plugin(self, name: str) -> Plugin:
        """Return the plugin of that name without loading it.

        Raises:
            UsageError: for an unknown name, with similar names.
            PluginError: if two distributions claim the name.
        """
        plugins = self._scan()
        if name not in plugins:
            self._add_from_family(name)
        if name in self._clashes:
            raise PluginError(
                f"{self.kind} {name!r} is registered twice: {' and '.join(self._clashes[name])}. "
                "Next: uninstall one of them, or rename its entry point"
            )
        if name not in plugins:
            file = _find_file(name.replace("-", "_"))
            own = "" if file is None else f"for {file} of this folder, `--plugin {file}`; else "
            raise make_unknown_error(
                self.kind, name, plugins, hint=f"Next: {own}`fssbench list {self.kind}s`"
            )
        return plugins[name]

    def get(self, name: str) -> Any:
        """Return the class of that name.

        Raises:
            UsageError: for an unknown name.
            PluginError: if it does not load or is claimed twice.
        """
        return self.plugin(name).get()

    def add(self, name: str, value: type, origin: str) -> None:
        """Register a class of a plugin file, folder or module; the same origin again replaces it.

        Raises:
            PluginError: if the name is taken by another origin.
        """
        known = self._scan().get(name)
        if known is not None and known.origin == origin:
            del self._scan()[name]
        elif known is not None and _is_same_class(known, value):
            return  # the plugin is installed, and the user named it as well
        self._add(name, origin, lambda: value)
        if name in self._clashes:
            self.plugin(name)

    def offer(self, name: str, origin: str, load: Callable[[], Any]) -> None:
        """Register a data set of a folder, which is loaded on use; another folder of the same name is replaced.

        Raises:
            UsageError: if the name is that of a plugin of another kind of origin.
        """
        known = self._scan().get(name)
        if known is not None and not known.origin.startswith(ORIGIN):
            raise UsageError(
                f"{self.kind} {name!r} exists already ({known.origin}). Next: give your folder another name"
            )
        self._scan().pop(name, None)
        self._add(name, origin, load)


def _is_same_class(installed: Plugin, value: type) -> bool:
    """Return whether an installed plugin is a class that was given by its module, or by its file or folder."""
    target = installed.origin.rpartition("(")[2].removesuffix(")")
    module, _, attribute = target.partition(":")
    if attribute != value.__qualname__:
        return False
    if module == value.__module__:
        return True
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return False
    file = getattr(sys.modules.get(value.__module__), "__file__", None)
    origin = spec.origin if spec is not None else None
    return bool(file and origin) and os.path.realpath(str(file)) == os.path.realpath(str(origin))


def _make_member(point: importlib.metadata.EntryPoint, rest: str) -> Any:
    """Make the class of a family's member from the rest of its name."""
    return point.load()(rest)


METHODS = Registry("method", "fssbench.methods", "fssbench.api.Method")
DATASETS = Registry("dataset", "fssbench.datasets", "fssbench.api.Dataset", further=offer_data_folders)
REPORTERS = Registry("reporter", "fssbench.reporters", "fssbench.api.Reporter")
BACKBONES = Registry(
    "backbone", "fssbench.backbones", "fssbench.api.Backbone", families="fssbench.backbone_families"
)


def name_data_folder(text: str) -> str:
    """Register a folder of the user's own images as a data set, for this process.

    Args:
        text: `NAME=DIR`, or a folder whose `dataset.toml` states the name.

    Returns:
        The name.

    Raises:
        UsageError: if there is no such folder, or the name belongs to another data set.
        FssbenchError: if no name was given and the folder states none.
    """
    name, folder = split_data_folder(text)
    if name is None:
        name = str(make_class(None, folder).card.name)
    DATASETS.offer(*make_offer(name, folder))
    return name


def load_plugin(target: str | Path) -> list[str]:
    """Import a plugin and register the methods, data sets, reporters and backbones it defines.

    Args:
        target: a Python file; a folder, which is a package or holds modules; or the name of a module that can
            be imported.  Modules beside a file or in a folder need not be installed.

    Returns:
        The registered plugins, each as `kind name`.

    Raises:
        PluginError: if it cannot be imported or defines no plugin.
        UsageError: if there is no such file, folder or module.
    """
    registered = []
    modules, origin = _import_target(target)
    for registry, value in _find_plugins(modules):
        try:
            name = value.name if registry is REPORTERS else value.card.name
        except AttributeError as error:
            raise PluginError(f"{origin}: {error}, but the name of a plugin is read from there") from None
        registry.add(name, value, origin)
        registered.append(f"{registry.kind} {name}")
    if not registered:
        raise PluginError(
            f"plugin {origin} defines no Method, Dataset, Reporter or Backbone with a card. Next: derive a class from "
            "one of these classes of fssbench.api and define all their abstract methods; for a function or a module of "
            "torch, `fssbench new method NAME --wrap` writes an example"
        )
    return registered


def load_plugins(targets: str | Path | Sequence[str | Path]) -> list[str]:
    """Load one plugin or several, in order, see `load_plugin`; a file that was edited is imported again.

    Args:
        targets: a file, folder or module, or a list of them.

    Returns:
        The registered plugins, each as `kind name`.
    """
    several = [targets] if isinstance(targets, str | Path) else targets
    return [name for target in several for name in load_plugin(target)]


def _find_classes(modules: Iterable[ModuleType]) -> Iterator[Any]:
    """Yield the concrete classes of the modules; a package also gives those that it imports from its own modules."""
    names = {module.__name__ for module in modules}
    seen: set[type] = set()
    for module in modules:
        for value in list(vars(module).values()):
            if not inspect.isclass(value) or inspect.isabstract(value) or value in seen:
                continue
            inside = hasattr(module, "__path__") and value.__module__.startswith(f"{module.__name__}.")
            if value.__module__ in names or inside:
                seen.add(value)
                yield value


def _import_target(target: str | Path) -> tuple[list[ModuleType], str]:
    """Import the modules of a plugin; return them with the plugin's origin in words."""
    path = expand_home(target)
    if path.is_file():
        path = path.resolve()
        return [_import(path)], str(path)
    if path.is_dir():
        path = path.resolve()
        return _import_folder(path), str(path)
    name = str(target)
    if name.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(
            f"plugin {name} does not exist: there is no such file, folder or module. Next: check --plugin"
        )
    with _report_failed_import(f"plugin module {name}"):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise UsageError(
                f"plugin {name!r} does not exist: there is no such file or folder, and no module of this name can "
                f"be imported. Next: give the path of the file or folder, or install the module{_suggest_file(name)}"
            ) from None
    return [module], f"module {name}"


def _suggest_file(name: str) -> str:
    """Suggest a file that was probably meant."""
    path = _find_file(name)
    return "" if path is None else f". Did you mean --plugin {path}?"


def _find_file(name: str) -> Path | None:
    """Find the file of a module in the present folder, whatever the name is."""
    with suppress(OSError, ValueError):  # a name may be too long for a file, or empty
        below = Path(*name.split("."))
        paths = (below.with_suffix(".py"), below / "__init__.py")
        return next((path for path in paths if path.is_file()), None)
    return None


def _import_folder(folder: Path) -> list[ModuleType]:
    """Import a package, the modules of a folder that define classes, or the only package of a project.

    Scripts and tests in the folder are not executed.
    """
    modules = []
    if (folder / "__init__.py").is_file():
        package = _import(folder)
        if any(True for _ in _find_plugins([package])):
            return [package]
        modules.append(package)
    modules += [_import(path) for path in sorted(folder.glob("*.py")) if _may_define_plugins(path)]
    if not modules:
        packages = _list_packages(folder)
        if len(packages) == 1:
            return _import_folder(packages[0])
        names = ", ".join(str(path.relative_to(folder)) for path in packages)
        hint = f". Next: give one of its packages: {names}" if names else ""
        raise PluginError(f"folder {folder} holds no Python module that defines a plugin{hint}")
    return modules


def _list_packages(folder: Path) -> list[Path]:
    """List the packages of a project, which lie in it or in its folder `src`."""
    inits = [*folder.glob("*/__init__.py"), *folder.glob("src/*/__init__.py")]
    return sorted(path.parent for path in inits if path.parent.name not in _FOLDERS_OF_NO_PLUGIN)


def _find_plugins(modules: list[ModuleType]) -> Iterator[tuple[Registry, Any]]:
    """Yield the plugin classes of the modules, each with its registry."""
    bases = _list_contracts()
    for value in _find_classes(modules):
        for registry, base in bases:
            # a backbone that defines no card is a layout of another one, or a base class of several
            if issubclass(value, base) and (registry is not BACKBONES or "card" in vars(value)):
                yield registry, value


def _list_contracts() -> list[tuple[Registry, Any]]:
    """List the registries with the base class of their plugins, if its module is imported.

    No class derives from a base whose module is not imported.  So a plugin without methods and backbones needs no
    torch.
    """
    homes = {
        METHODS: ("fssbench.contracts.methods", "Method"),
        DATASETS: ("fssbench.contracts.datasets", "Dataset"),
        REPORTERS: ("fssbench.contracts.results", "Reporter"),
        BACKBONES: ("fssbench.contracts.backbones", "Backbone"),
    }
    return [
        (registry, getattr(sys.modules[module], name))
        for registry, (module, name) in homes.items()
        if module in sys.modules
    ]


_FOLDERS_OF_NO_PLUGIN = frozenset({"test", "tests", "docs", "build", "dist"})


def _may_define_plugins(path: Path) -> bool:
    """Return whether a module of a folder makes classes and is neither a script of packaging nor a test."""
    name = path.stem
    if name.startswith(("_", "test_")) or name.endswith("_test") or name in {"setup", "conftest"}:
        return False
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return True  # the import then raises an error that explains it
    return any(_makes_class(node) for node in tree.body)


def _makes_class(node: ast.stmt) -> bool:
    """Return whether a statement defines a class, or assigns what `wrap(...)` returns."""
    if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
        function = node.value.func
        return (getattr(function, "id", None) or getattr(function, "attr", None)) == "wrap"
    return isinstance(node, ast.ClassDef) and bool(node.bases)


def _import(path: Path) -> ModuleType:
    files = [path] if path.is_file() else sorted(path.glob("*.py"))
    if any(_mentions_methods(file) for file in files):
        importlib.import_module("torch")  # first, so that what the plugin changes in it is noticed
    with _report_failed_import(f"plugin {'file' if path.is_file() else 'folder'} {path}"):
        return import_files.import_file(path)


def _mentions_methods(file: Path) -> bool:
    """Return whether a module may define a method or use torch."""
    try:
        text = file.read_bytes()
    except OSError:
        return False  # the import then raises an error that explains it
    return b"torch" in text or b"Method" in text


@contextmanager
def _report_failed_import(what: str) -> Iterator[None]:
    """Import a plugin in this context; an exception of its code becomes an error that names it.

    Raises:
        PluginError: if the import raises.
    """
    place = f"{what} cannot be imported"
    with _keep_numbers(what), plugin_call(f"{place}:", inside=place, passes=(UsageError,)), _observe_import():
        yield


def _keep_numbers(what: str) -> AbstractContextManager[None]:
    """Return a context that refuses an import which changes the numbers of other methods.

    A plugin for which torch is not imported defines no method.
    """
    if "torch" not in sys.modules:
        return nullcontext()
    from fssbench.plugins.process_state import numbers_kept

    return numbers_kept(what)


@contextmanager
def _observe_import() -> Iterator[None]:
    """Record the files that an import executes and reads, for the hash of the source."""
    before = set(sys.modules)
    with execution.observe() as observed:
        try:
            yield
        finally:
            import_files.drop_aliases()
            for name in set(sys.modules) - before if observed else ():
                file = getattr(sys.modules[name], "__file__", None)
                _OBSERVED[name] = observed.during_import_of(os.path.realpath(file)) if file else observed


_OBSERVED: dict[str, execution.Observed] = {}


def list_import_observations(cls: type) -> list[execution.Observed]:
    """Return the files that were executed and read when the modules of a plugin class were imported."""
    return [_OBSERVED[base.__module__] for base in cls.__mro__ if base.__module__ in _OBSERVED]
