"""One loaded model for all functions of a pass that apply it.

TFT gives each function that applies its graph a handle of its own. With a dataset a span, the same
SavedModel would be loaded for each span, and be in memory as often.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_MODULE, _CLASS, _HANDLE = (
    "tensorflow_transform.beam.impl",
    "_RunMetaGraphDoFn",
    "_shared_graph_state_handle",
)


class Graph:
    """A loaded model, in the place of Beam's `Shared`; it goes when its pass does."""

    def __init__(self) -> None:
        self._state: Any = None

    def acquire(self, load: Callable[[], Any]) -> Any:
        """The model; `load` makes it, once."""
        if self._state is None:
            self._state = load()
        return self._state


def share(function: Any, sides: tuple[Any, ...], graphs: dict[Any, Graph]) -> None:
    """Has a function take its model from the graphs of a pass, if it is one that applies TFT's.

    Args:
        function: A copy for this pass; nobody else sees what is exchanged in it.
        sides: Its side inputs (`plan.Side`): the collection of its path stands for the model.
        graphs: Those of the pass, by all that a loaded model follows from.
    """
    module = sys.modules.get(_MODULE)  # Who does not use TFT need not import it.
    kind = getattr(module, _CLASS, None)
    if kind is None or type(function) is not kind or not hasattr(function, _HANDLE):
        return
    try:
        config = function._tf_config
        key = (
            *(side.collection for side in sides),
            function._use_tf_compat_v1,
            frozenset(function._get_input_tensor_names()),
            frozenset(function._exclude_outputs),
            config and config.SerializeToString(deterministic=True),
        )
    except AttributeError:  # Another version of TFT: every function loads it.
        return
    setattr(function, _HANDLE, graphs.setdefault(key, Graph()))
