"""One loaded version of a model: a TF1 session over a SavedModel, called through cached callables.

The TF1 loader takes both TF1 and TF2 SavedModels, and a callable costs about a tenth of what a
TF2 signature costs for each call. `Session._make_callable_from_options` is private; where it is
missing, `Session.run` does the same more slowly.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from serving.server.signatures import Signatures
from serving.server.status import Code, RequestError, invalid_argument
from serving.tensors import DTYPE_NAMES, dtype_number

DEFAULT_SIGNATURE = "serving_default"
_SMALL_GRAPH = 2000  # ops: below, changing threads takes longer than ops side by side save
_MAX_CALLABLES = 64  # one for each set of outputs asked for; the client chooses the sets

_Call = Callable[..., Sequence[Any]]
_Bound = Callable[[Mapping[str, np.ndarray[Any, Any]]], dict[str, np.ndarray[Any, Any]]]


class SavedModel:
    """A loaded SavedModel. Its methods may be called from many threads at once.

    Attributes:
        signatures: Signature key to SignatureDef, as the SavedModel states them.
    """

    def __init__(
        self,
        session: tf.compat.v1.Session,
        signatures: Mapping[str, meta_graph_pb2.SignatureDef],
        *,
        in_callers_thread: bool = False,
    ) -> None:
        self.signatures = Signatures(signatures)
        self._in_callers_thread = in_callers_thread
        self._session = session
        self._calls: dict[tuple[tuple[str, ...], tuple[str, ...]], _Call] = {}
        self._lock = threading.Lock()

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray[Any, Any]], outputs: Sequence[str]
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Runs one signature.

        Args:
            signature: A key of `signatures`.
            inputs: Exactly the signature's input aliases, each with an array.
            outputs: Output aliases of the signature, without repeats.

        Returns:
            Alias to array, in the order of `outputs`; strings are object arrays of bytes.

        Raises:
            RequestError: A dtype does not match, or the graph refuses the values; code and
                message are TensorFlow's.
        """
        definition = self.signatures[signature]
        aliases = _feed_order(definition)
        feeds = [inputs[alias] for alias in aliases]
        for index, (alias, array) in enumerate(zip(aliases, feeds, strict=True)):
            _check_dtype(index, definition.inputs[alias].dtype, array)
        names = sorted({definition.outputs[alias].name for alias in outputs})
        values = _fetch(self._callable((signature,), tuple(names)), feeds, names)
        return {alias: _as_array(values[definition.outputs[alias].name]) for alias in outputs}

    def run_together(
        self, runs: Mapping[str, Sequence[str]], inputs: Mapping[str, np.ndarray[Any, Any]]
    ) -> list[dict[str, np.ndarray[Any, Any]]]:
        """Runs several signatures in one call of the session: what they share is computed once.

        Args:
            runs: Keys of `signatures`, each with output aliases.
            inputs: The input aliases of each of them; where signatures have tensors of their own
                for an alias, all are fed the same array.

        Returns:
            For each signature, in the order of `runs`, as `run`.

        Raises:
            RequestError: As `run`.
        """
        definitions = {key: self.signatures[key] for key in runs}
        feeds = {
            info.name: (info.dtype, inputs[alias])
            for definition in definitions.values()
            for alias, info in definition.inputs.items()
        }
        ordered = [feeds[name] for name in sorted(feeds)]
        for index, (dtype, array) in enumerate(ordered):
            _check_dtype(index, dtype, array)
        wanted = {
            key: {alias: definitions[key].outputs[alias].name for alias in aliases}
            for key, aliases in runs.items()
        }
        names = sorted({name for aliases in wanted.values() for name in aliases.values()})
        call = self._callable(tuple(sorted(runs)), tuple(names))
        values = _fetch(call, [array for _, array in ordered], names)
        return [
            {alias: _as_array(values[name]) for alias, name in aliases.items()}
            for aliases in wanted.values()
        ]

    def bind(self, signature: str, outputs: Sequence[str]) -> _Bound:
        """`run` of one signature and these outputs, with all that can be looked up beforehand."""
        definition = self.signatures[signature]
        aliases = _feed_order(definition)
        dtypes = [definition.inputs[alias].dtype for alias in aliases]
        names = [definition.outputs[alias].name for alias in outputs]
        call = self._callable((signature,), tuple(names))

        def run(inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
            feeds = [inputs[alias] for alias in aliases]
            for index, array in enumerate(feeds):
                _check_dtype(index, dtypes[index], array)
            values = _fetch(call, feeds, names).values()
            return {alias: _as_array(value) for alias, value in zip(outputs, values, strict=True)}

        return run

    def prepare(self, signature: str) -> None:
        """Builds the callable for all outputs of a signature, so that no request pays for it."""
        if signature in self.signatures:
            tensors = self.signatures[signature].outputs.values()
            self._callable((signature,), tuple(sorted({tensor.name for tensor in tensors})))

    def close(self) -> None:
        """Frees the session and what it holds. No call may be running or follow."""
        self._calls.clear()
        self._session.close()

    def _callable(self, signatures: tuple[str, ...], fetches: tuple[str, ...]) -> _Call:
        key = (signatures, fetches)
        call = self._calls.get(key)
        if call is None:
            definitions = [self.signatures[signature] for signature in signatures]
            inputs = [info for each in definitions for info in each.inputs.values()]
            feeds = sorted({info.name for info in inputs})
            try:
                call = make_callable(
                    self._session, feeds, fetches, in_callers_thread=self._in_callers_thread
                )
            except tf.errors.OpError as error:
                raise RequestError(Code(error.error_code), error.message) from error
            with self._lock:
                if len(self._calls) >= _MAX_CALLABLES:
                    self._calls.pop(next(iter(self._calls)))
                self._calls[key] = call
        return call


@dataclass(frozen=True)
class LoadOptions:
    """How to load.

    Attributes:
        tags: Of the meta graph.
        session_config: Of the session; None: TensorFlow's defaults.
        intra_op_threads: Threads within an op; 0: as in `session_config`.
        inter_op_threads: Ops of a call at the same time; 1: none, they run in the caller's thread;
            0: as in `session_config`, but in the caller's thread where the graph is small.
    """

    tags: tuple[str, ...] = (tf.saved_model.SERVING,)
    session_config: config_pb2.ConfigProto | None = None
    intra_op_threads: int = 0
    inter_op_threads: int = 0


def load(path: Path, options: LoadOptions | None = None) -> SavedModel:
    """Loads the SavedModel in a folder for serving.

    Raises:
        RequestError: It cannot be loaded; the message says why.
    """
    options = options or LoadOptions()
    config = config_pb2.ConfigProto()
    config.CopyFrom(options.session_config or config)
    if options.intra_op_threads:
        config.intra_op_parallelism_threads = options.intra_op_threads
    if options.inter_op_threads:
        config.inter_op_parallelism_threads = options.inter_op_threads
    session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
    try:
        with session.graph.as_default(), _loader_warnings_off():
            meta_graph = tf.compat.v1.saved_model.loader.load(
                session, list(options.tags), str(path)
            )
        one_by_one = options.inter_op_threads == 1 or (
            options.inter_op_threads == 0 and _size(meta_graph) <= _SMALL_GRAPH
        )
        model = SavedModel(session, meta_graph.signature_def, in_callers_thread=one_by_one)
        model.prepare(DEFAULT_SIGNATURE)
    except RequestError:
        session.close()
        raise
    except tf.errors.OpError as error:
        session.close()
        raise RequestError(Code(error.error_code), error.message) from error
    except Exception as error:
        # The loader raises whatever the damage leads to: OSError, RuntimeError, KeyError, ...
        session.close()
        raise RequestError(Code.UNKNOWN, f"{type(error).__name__}: {error}") from error
    return model


def _size(meta_graph: meta_graph_pb2.MetaGraphDef) -> int:
    """How many ops a graph has, with those of its functions."""
    graph = meta_graph.graph_def
    return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)


def make_callable(
    session: tf.compat.v1.Session,
    feeds: Sequence[str],
    fetches: Sequence[str],
    *,
    in_callers_thread: bool = False,
) -> _Call:
    """A function from the fed arrays, in order, to the fetched values, in order.

    Args:
        session: Holds the graph.
        feeds: Names of tensors.
        fetches: Names of tensors.
        in_callers_thread: Run the ops of one call one after another where it is called, without
            the session's threads (an op still uses its own): no change of threads, which takes
            longer than a small model.
    """
    make = getattr(session, "_make_callable_from_options", None)
    if make is None:
        return lambda *arrays: session.run(fetches, dict(zip(feeds, arrays, strict=True)))
    options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
    if in_callers_thread:
        options.run_options.inter_op_thread_pool = -1  # config.proto
    call: _Call = make(options)
    return call


def _feed_order(definition: meta_graph_pb2.SignatureDef) -> list[str]:
    """Input aliases by tensor name: the order in which TensorFlow numbers a call's arguments."""
    return sorted(definition.inputs, key=lambda alias: str(definition.inputs[alias].name))


def _check_dtype(index: int, expected: int, array: np.ndarray[Any, Any]) -> None:
    sent = dtype_number(array)
    if sent != expected:
        # The message of DirectSession::Run, which the callable words differently.
        raise invalid_argument(
            f"Expects arg[{index}] to be {_dtype_name(expected)} "
            f"but {_dtype_name(sent)} is provided"
        )


def _fetch(
    call: _Call, feeds: Sequence[np.ndarray[Any, Any]], names: Sequence[str]
) -> dict[str, Any]:
    try:
        return dict(zip(names, call(*feeds), strict=True))
    except tf.errors.OpError as error:
        raise RequestError(Code(error.error_code), error.message) from error
    except (TypeError, ValueError) as error:  # Session.run's own checks
        raise invalid_argument(str(error)) from error


def _dtype_name(number: int) -> str:
    return DTYPE_NAMES.get(number, f"unknown dtype enum ({number})")


def _as_array(value: Any) -> np.ndarray[Any, Any]:
    # A scalar string comes back as bytes; numpy's own S type would drop its trailing zero bytes.
    return np.asarray(value, dtype=object) if isinstance(value, bytes) else np.asarray(value)


@contextmanager
def _loader_warnings_off() -> Iterator[None]:
    """Keeps the deprecation notice of the TF1 loader, which we mean to use, out of the log."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
