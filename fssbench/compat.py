"""Oldest torch that fssbench accepts, and a hook that makes `import torchvision` work beside a CPU build of torch.

The torchvision wheel on the package index is built for CUDA.  Beside a CPU build of torch its
compiled operators do not load, and the import fails with `operator torchvision::nms does not exist`.
fssbench uses models, transforms, datasets and utils; for these it is enough to declare the two missing
schemas first.  If the operators load, this module does nothing.

It is an import hook and not a call.  So `import fssbench` stays fast, and a later `import torchvision` by
fssbench or by the user finds the schemas declared.

The hook also spares torchvision the import of torch's compiler.  One of its operators asks the compiler whether a
device is supported, and would import it for that: two thirds of the time of `import torchvision`, and more than
`import torch` takes.  The operator asks when it is compiled, and then the compiler is imported.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import re
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fssbench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

TORCH = (2, 10)
"""Oldest version of torch; before 2.10 a checkpoint could run code in `torch.load(weights_only=True)`."""
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept: list[Any] = []  # a torch.library.Library forgets its schemas when it is collected


class _BeforeTorchvision:
    """Meta path finder that finds no module; it acts once, before the first import of torchvision."""

    acted = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name == "torchvision" and not self.acted:
            self.acted = True
            spec = importlib.machinery.PathFinder.find_spec(name, path, target)
            if spec is not None and spec.origin is not None:
                _declare_schemas(Path(spec.origin).parent)
                if isinstance(spec.loader, importlib.machinery.SourceFileLoader):
                    spec.loader = _LoaderWithoutCompiler(spec.loader.name, spec.loader.path)
                    return spec
        return None


_COMPILER = "torch._dynamo.utils"
"""The module of the compiler that torchvision imports, for one function."""


class _LoaderWithoutCompiler(importlib.machinery.SourceFileLoader):
    """Loads torchvision while a stand-in is in the place of the compiler's module."""

    def exec_module(self, module: ModuleType) -> None:
        stand_in = None if _COMPILER in sys.modules else _CompilerLater(_COMPILER)
        if stand_in is not None:
            sys.modules[_COMPILER] = stand_in
        try:
            super().exec_module(module)
        finally:
            if stand_in is not None:
                stand_in.leave()


class _CompilerLater(ModuleType):
    """Stands in for a module of the compiler, which is imported as soon as more than one function of it is read."""

    @staticmethod
    def is_compile_supported(device_type: str) -> bool:
        """Ask the compiler, which is imported now."""
        return bool(importlib.import_module(_COMPILER).is_compile_supported(device_type))

    def leave(self) -> None:
        """Let the next import of the name find the module itself."""
        if sys.modules.get(_COMPILER) is self:
            del sys.modules[_COMPILER]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked of every module by tools that look for the origin of code
            raise AttributeError(name)
        self.leave()
        return getattr(importlib.import_module(_COMPILER), name)


def _declare_schemas(package: Path) -> None:
    import torch

    compiled = next((f for f in package.glob("_C*") if f.suffix in {".so", ".pyd", ".dylib"}), None)
    if compiled is not None:
        try:
            torch.ops.load_library(str(compiled))
            return
        except OSError:  # built for another torch than the one installed
            pass
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    _kept.append(library)


def install_torchvision_hook() -> None:
    """Install the hook once; do nothing if torchvision is imported already."""
    installed = any(isinstance(finder, _BeforeTorchvision) for finder in sys.meta_path)
    if "torchvision" not in sys.modules and not installed:
        sys.meta_path.insert(0, _BeforeTorchvision())


def require_torch() -> None:
    """Refuse a torch that is too old.  The version is read from the package metadata, so torch is not imported.

    Raises:
        UsageError: if torch is missing or too old.
    """
    wanted = ".".join(map(str, TORCH))
    try:
        installed = metadata.version("torch")
    except metadata.PackageNotFoundError:
        raise UsageError(
            f'torch is not installed, but fssbench needs torch {wanted} or newer. Next: `pip install "torch>={wanted}"`'
        ) from None
    numbers = tuple(int(part) for part in re.findall(r"\d+", installed)[:2])
    if numbers < TORCH:
        raise UsageError(
            f"torch {installed} is too old: before {wanted} a checkpoint could run code while it was loaded. "
            f'Next: `pip install -U "torch>={wanted}"`'
        )
