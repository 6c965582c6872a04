"""Importing TFX without TensorFlow, Beam and their relatives, to ask whether a node is cached.

TFX's launcher works on MLMD and protos alone until an executor runs, but importing it imports them
all, which takes 8 s. Here stand-ins take the places of those packages. What runs on stand-ins must
be thrown away afterwards: a process that needs the real packages starts anew (`os.execv`). An
executor runs on them only where its component says `needs_tensorflow = False`.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import MutableSequence, Sequence
from typing import Any

HEAVY = (
    "apache_beam",
    "docker",
    "googleapiclient",
    "keras_tuner",
    "kubernetes",
    "oauth2client",
    "pandas",
    "pyarrow",
    "tensorflow",
    "tensorflow_data_validation",
    "tensorflow_hub",
    "tensorflow_model_analysis",
    "tensorflow_serving",
    "tensorflow_transform",
    "tf_keras",
    "tfx_bsl",
)
# TFX asks whether it is there, and does without.
_ABSENT = ("tensorflow.tools",)


def install() -> None:
    """Puts stand-ins in the places of the heavy packages, for the rest of this process.

    Raises:
        RuntimeError: One of them has been imported already.
    """
    loaded = sorted(set(HEAVY) & sys.modules.keys())
    if loaded:
        raise RuntimeError(f"{', '.join(loaded)} has been imported already")
    sys.meta_path.insert(0, _Finder())
    # TFX's file access through TensorFlow; without it, local files are accessed through Python.
    sys.modules["tfx.dsl.io.plugins.tensorflow_gfile"] = types.ModuleType("tensorflow_gfile")


class _Anything:
    """What a stand-in module has by any name: can be called, subclassed, and used as decorator.

    It has no value: what asks for one fails, and with it the attempt to do without the package.
    """

    __iter__ = None

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> _Anything:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(f"{self._name}.{name}")

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        [decorated] = arguments if len(arguments) == 1 and not keywords else [None]
        if isinstance(decorated, types.FunctionType) or _is_own_class(decorated):
            return decorated
        return _Anything(f"{self._name}()")

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
        return (_Base,)

    def __getitem__(self, key: Any) -> _Anything:
        return self

    def __bool__(self) -> bool:
        raise TypeError(f"{self._name} is not here")

    def __or__(self, other: Any) -> _Anything:
        return self

    __ror__ = __or__


class _Base:
    """The base of classes that derive from something of a stand-in."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__()


def _is_own_class(value: Any) -> bool:
    return isinstance(value, type) and value.__module__ != "builtins"


class _Module(types.ModuleType):
    __path__: MutableSequence[str] = []  # noqa: RUF012  What the import system asks for.

    def __getattr__(self, name: str) -> _Anything:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(f"{self.__name__}.{name}")


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.split(".")[0] not in HEAVY:
            return None
        if fullname in _ABSENT:
            raise ModuleNotFoundError(f"{fullname} is not here", name=fullname)
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass
