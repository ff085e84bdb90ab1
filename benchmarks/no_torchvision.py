"""Lets timm be imported where torchvision is not installed, which would bring another torch.

timm's Swin-V2 uses nothing of torchvision, but importing timm does. Every name of the absent package is an empty class.
"""

import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence


class _Name(type):
    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return f"{cls.__name__}.{name}"


class _Module(types.ModuleType):
    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Name(name, (), {})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Of any module below torchvision that nobody else has found."""
        ours = fullname.partition(".")[0] == "torchvision"
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True) if ours else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """An empty one."""
        return _Module(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """There is nothing to run."""


def pretend() -> None:
    """From here on torchvision can be imported; a real one comes first."""
    sys.meta_path.append(_Finder())
