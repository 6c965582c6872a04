"""The methods of the clients that block, over whichever transport."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from types import TracebackType
from typing import Any, Self

import numpy as np

from serving.client import readiness, steps
from serving.client.examples import Kinds
from serving.client.inputs import Rows, to_examples
from serving.client.model_types import ClassScore, Signature, VersionStatus
from serving.client.operations import Arrays, Model, Operation


class BlockingClient(ABC):
    """A connection to a model server. Thread-safe; a context manager that closes itself.

    Every request has a deadline, `timeout_s` for all its attempts together. Only UNAVAILABLE (the
    server was not reached, or is stopping) is tried again, after a short random pause.

    Attributes:
        address: The server's address.
        timeout_s: Seconds a request may take.
    """

    def __init__(self, address: str, timeout_s: float, check_inputs: bool) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self._checks = check_inputs
        self._known = steps.KnownSignatures()

    def predict(
        self,
        model_name: str,
        rows: Rows,
        *,
        signature_name: str = "serving_default",
        version: int | None = None,
        label: str = "",
        kinds: Kinds | None = None,
        missing_values: Collection[str] = (),
        batch_size: int | None = None,
    ) -> Arrays:
        """Asks a model for its predictions.

        The model's signature is fetched at the first call, and inputs are checked against it
        before they are sent.

        Args:
            model_name: The name the server serves it under.
            rows: Rows as dicts, a pandas DataFrame, serialized tf.Examples, an array for a
                signature with one input, or input name to array. Rows become tf.Examples for a
                signature whose one input is a vector of strings, else a tensor for each column.
            signature_name: The signature to run.
            version: A version number; None asks for the latest.
            label: A version label, for instance `canary`, in place of a version.
            kinds: Column name to `int`, `float` or `bytes`, for rows that become tf.Examples.
            missing_values: Texts that mean missing in columns of numbers, for the same.
            batch_size: Rows a request; answers are put together. None sends arrays whole (a model
                may look at all rows at once), and tf.Examples 1024 at a time.

        Returns:
            Output name to array; the first dimension is the row. Strings are arrays of bytes.

        Raises:
            RequestFailed: The server is not there, refused, or took too long.
            DataError: The rows are not what the signature takes.
        """
        return self._run(
            steps.predict(
                self._known if self._checks else None,
                Model(model_name, version, label),
                rows,
                signature_name=signature_name,
                kinds=kinds,
                missing_values=missing_values,
                batch_size=batch_size,
            )
        )

    def classify(
        self,
        model_name: str,
        rows: Rows,
        *,
        signature_name: str = "serving_default",
        version: int | None = None,
        label: str = "",
        kinds: Kinds | None = None,
        missing_values: Collection[str] = (),
        batch_size: int = steps.ROWS_A_REQUEST,
    ) -> list[list[ClassScore]]:
        """The classes of each row, from a signature of method `tensorflow/serving/classify`.

        Arguments and errors are those of `predict`; rows are dicts, a DataFrame, or Examples.
        """
        examples = to_examples(rows, kinds, missing_values)
        model = Model(model_name, version, label)
        return self._run(steps.classify(model, examples, signature_name, batch_size))

    def regress(
        self,
        model_name: str,
        rows: Rows,
        *,
        signature_name: str = "serving_default",
        version: int | None = None,
        label: str = "",
        kinds: Kinds | None = None,
        missing_values: Collection[str] = (),
        batch_size: int = steps.ROWS_A_REQUEST,
    ) -> np.ndarray[Any, Any]:
        """A float32 value for each row, from a signature of method `tensorflow/serving/regress`.

        Arguments and errors are those of `predict`; rows are dicts, a DataFrame, or Examples.
        """
        examples = to_examples(rows, kinds, missing_values)
        model = Model(model_name, version, label)
        return self._run(steps.regress(model, examples, signature_name, batch_size))

    def status(
        self, model_name: str, version: int | None = None, label: str = ""
    ) -> list[VersionStatus]:
        """The versions of a model that the server has seen, and their states.

        Raises:
            RequestFailed: NOT_FOUND while there is none, or the server is not there.
        """
        return self._run(steps.status(Model(model_name, version, label)))

    def metadata(
        self, model_name: str, version: int | None = None, label: str = ""
    ) -> dict[str, Signature]:
        """The signatures of a model by name, asked for anew.

        Raises:
            RequestFailed: The model is not served, or the server is not there.
        """
        return self._run(steps.metadata(Model(model_name, version, label)))

    def signature(
        self,
        model_name: str,
        signature_name: str = "serving_default",
        version: int | None = None,
        label: str = "",
    ) -> Signature:
        """One signature; it is remembered for the checks of `predict`.

        Raises:
            RequestFailed: The model is not served, or the server is not there.
            DataError: The model has no such signature.
        """
        model = Model(model_name, version, label)
        return self._run(steps.signature(self._known, model, signature_name))

    def models(self) -> dict[str, list[VersionStatus]]:
        """All models of the endpoint by name, where it can tell: our own server, over REST.

        Raises:
            RequestFailed: UNIMPLEMENTED or NOT_FOUND where it cannot.
        """
        return self._run(steps.models())

    def wait_ready(
        self, model_name: str, timeout_s: float = 60.0, *, version: int | None = None
    ) -> None:
        """Waits until a version of a model, any or a certain one, is available.

        Raises:
            ServingError: A version failed to load and none is left, or the time is up.
        """
        self._run(readiness.wait_ready(model_name, self.address, timeout_s, version))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, call: steps.Steps[Any]) -> Any:
        return steps.run(call, self._perform)

    @abstractmethod
    def close(self) -> None:
        """Closes the connections; the client cannot be used any more."""

    @abstractmethod
    def _perform(self, operation: Operation) -> Any:
        """Does one operation and returns its answer."""
