"""Puts off the import of what TFX imports and hardly anybody uses."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any

# Modules whose code runs when something of them is first asked for, and what is imported instead.
# Of a package only `__init__` is put off: what lies in it can be imported without.
PUT_OFF = {
    # Every component there is, with keras_tuner, Keras 3, scikit-learn and Kubernetes: with nltk's
    # parsers a third of what `assay run` imports (8.4 s of CPU became 5.6). Our graph names those
    # that it needs.
    "tfx.components": "tfx_pipeline.tfma_names",
    "tfx.v1.components": "",
    # Clients of Vertex: 2 s.
    "tfx.v1.extensions.google_cloud_ai_platform": "",
    "matplotlib.pyplot": "",  # Keras 3, for a gallery of images.
    "nltk": "",  # TFMA, for ROUGE, of which it then wants the stemmer.
    "nltk.stem": "",
    "scipy.stats": "",  # TFMA, for confidence intervals.
}


class _PutOff(ModuleType):
    """A module that runs when something is asked of it that importing alone has not given it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__all__", "__version__"):
            raise AttributeError(name)  # What the import system, inspect and pickle look for.
        within = f"{self.__name__}.{name}"
        if importlib.machinery.PathFinder.find_spec(within, self.__dict__.get("__path__", [])):
            return importlib.import_module(within)
        with self.__dict__["_lock"]:  # Another thread waits; the one that runs it goes on.
            loader = self.__dict__.pop("_put_off", None)
            if loader is not None:
                try:
                    loader.exec_module(self)
                except BaseException:
                    self.__dict__["_put_off"] = loader  # The next who asks is told the same.
                    raise
                self.__class__ = ModuleType  # type: ignore[assignment]
                return getattr(self, name)
        return ModuleType.__getattribute__(self, name)


class _Loader:
    def __init__(self, real: Any, instead: str) -> None:
        self._real = real
        self._instead = instead

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _PutOff(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self._real
        module.__dict__.update(_put_off=self._real, _lock=threading.RLock())
        if self._instead:
            importlib.import_module(self._instead)


class _Finder:
    """A `MetaPathFinder`, without the import of `importlib.abc`, which every command would pay."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in PUT_OFF:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, PUT_OFF[fullname])  # type: ignore[assignment]
        return spec


def install() -> None:
    """Holds for the rest of this process; a second call changes nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
