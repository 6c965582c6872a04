"""Python functions before and after a model, named by import path in the flags."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from serving.server.loaded import Servable
from serving.server.status import Code, RequestError, invalid_argument
from tfx_pipeline.errors import ConfigError

logger = logging.getLogger("assay.serving")

Arrays: TypeAlias = dict[str, np.ndarray[Any, Any]]
Hook: TypeAlias = Callable[[str, str, Arrays], Mapping[str, Any]]
"""Is given the model's name, the signature's, and its inputs (or outputs) by alias; returns them.

ValueError says that the request is wrong: its text goes to the client. It is called by many threads
at once; where requests are batched, once a batch, with all rows, whose number it must keep."""


def import_hook(flag: str, path: str) -> Hook | None:
    """The function that a flag names as `package.module:function`; None: the flag is empty.

    Raises:
        ConfigError: There is no such function.
    """
    if not path:
        return None
    module_name, colon, name = path.partition(":")
    if not (module_name and colon and name):
        raise ConfigError(
            f"--{flag}={path} is no import path", hint="Write package.module:function."
        )
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the module's own code runs
        raise ConfigError(
            f"--{flag}={path}: {module_name} cannot be imported: {error}",
            hint="Install it beside the server, or add its folder to PYTHONPATH.",
        ) from error
    hook = getattr(module, name, None)
    if not callable(hook):
        raise ConfigError(
            f"--{flag}={path}: there is no function {name} in {module_name}",
            where=str(getattr(module, "__file__", "")),
        )
    return hook  # type: ignore[no-any-return]


class HookedModel:
    """A loaded model with hooks around its runs.

    Args:
        model: The model; is closed with this one.
        name: Its name, for the hooks.
        before: Is given the inputs; None: there is no such hook.
        after: Is given the outputs; None: there is no such hook.
    """

    def __init__(self, model: Servable, name: str, before: Hook | None, after: Hook | None) -> None:
        self.signatures = model.signatures
        self._model = model
        self._name = name
        self._before = before
        self._after = after

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray[Any, Any]], outputs: Sequence[str]
    ) -> Arrays:
        """As the model's own.

        Raises:
            RequestError: INVALID_ARGUMENT: a hook raised ValueError. INTERNAL: it raised something
                else, which is in the log, or left out an array.
        """
        fed = dict(inputs)
        if self._before is not None:
            fed = self._call(self._before, signature, fed, list(inputs))
        found = self._model.run(signature, fed, outputs)
        if self._after is not None:
            found = self._call(self._after, signature, found, outputs)
        return found

    def close(self) -> None:
        """As the model's own."""
        self._model.close()

    def _call(self, hook: Hook, signature: str, arrays: Arrays, aliases: Sequence[str]) -> Arrays:
        try:
            returned = hook(self._name, signature, arrays)
            return {alias: np.asarray(returned[alias]) for alias in aliases}
        except RequestError:
            raise
        except ValueError as error:
            raise invalid_argument(str(error)) from error
        except Exception as error:
            logger.exception("a hook failed on a request for model %s", self._name)
            raise RequestError(
                Code.INTERNAL, "a hook of the server failed; the server's log has the cause"
            ) from error
