"""Puts off the import of packages that TFX imports and hardly anybody uses."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

# A quarter of the time that `import tfx.v1` takes, for clients of Vertex that Assay does not use.
PUT_OFF = ("tfx.v1.extensions.google_cloud_ai_platform",)


class _Finder:
    """A `MetaPathFinder`, without the import of `importlib.abc`, which every command would pay."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in PUT_OFF:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            # It is loaded when something of it is first used.
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def install() -> None:
    """Holds for the rest of this process; a second call changes nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
