"""Replays recorded requests when a version is loaded, before it answers (saved_model_warmup.cc).

TensorFlow initializes much of itself with the first request of a kind. A SavedModel may bring such
requests: a TFRecord file of PredictionLog messages.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.server.answers import Answer
from serving.server.calls import Call, Handler
from serving.server.classify import classify_handlers
from serving.server.core import ServerCore
from serving.server.loaded import Servable
from serving.server.predict import predict
from serving.server.status import Code, RequestError, invalid_argument

logger = logging.getLogger("assay.serving")

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS = 1000
"""WarmupConsts::kMaxNumRecords."""
_SERVICE = "/tensorflow.serving.PredictionService/"


def warm_up(path: Path, answer: Callable[[PredictionLog], None], iterations: int = 1) -> int:
    """Has a version's recorded requests answered, if it has any.

    Args:
        path: The version's folder.
        answer: Runs one record, or raises RequestError.
        iterations: How often each record is run; 0: once.

    Returns:
        How many records were read.

    Raises:
        RequestError: What `answer` raised; INVALID_ARGUMENT: more than 1000 records, or one that is
            no PredictionLog; DATA_LOSS: the file is damaged, or no TFRecord file. The version is
            then not to be served.
    """
    file = path / WARMUP_FILE
    if not file.exists():
        return 0
    started = time.monotonic()
    count = 0
    for record in _records(file):
        count += 1
        if count > MAX_RECORDS:
            raise invalid_argument(
                f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}"
            )
        try:
            log = PredictionLog.FromString(record)
        except DecodeError:
            raise invalid_argument(
                f"Failed to parse warmup record: {record[:100]!r} from {file}"
            ) from None
        for _ in range(max(1, iterations)):
            answer(log)
    logger.info(
        "Finished reading warmup data for model at %s. Number of warmup records read: %d. "
        "Elapsed time (microseconds): %d.",
        file,
        count,
        (time.monotonic() - started) * 1e6,
    )
    return count


def answer_with(
    model: Servable, *, check_method_name: bool = False
) -> Callable[[PredictionLog], None]:
    """An `answer` for `warm_up` that runs records on a model that is not served yet.

    A record's model name and version are not looked at, as in TensorFlow Serving: it is run on the
    model that brought it.

    Args:
        model: The loaded version.
        check_method_name: As `classify.classify_handlers`.
    """
    core = _LoadedCore(model)
    examples = classify_handlers(core, check_method_name=check_method_name)
    handlers: dict[str | None, Handler] = {
        "predict_log": partial(predict, core, check_method_name=check_method_name),
        "classify_log": examples[_SERVICE + "Classify"],
        "regress_log": examples[_SERVICE + "Regress"],
        "multi_inference_log": examples[_SERVICE + "MultiInference"],
    }

    def answer(log: PredictionLog) -> None:
        kind = log.WhichOneof("log_type")
        handler = handlers.get(kind)
        if handler is None:
            logger.warning(
                "a warm-up record is left out, for it is a %s", kind or "record of nothing"
            )
            return
        request = getattr(log, kind).request
        if kind != "multi_inference_log":
            request.model_spec.SetInParent()  # a request without one runs on this model, too
        response = handler(request.SerializeToString(), Call())
        if isinstance(response, Answer):
            response.result()

    return answer


class _LoadedCore(ServerCore):
    """A core of one model that answers to every name."""

    def __init__(self, model: Servable) -> None:
        self._model = model

    def lease(
        self, name: str, version: int | None = None, label: str = ""
    ) -> AbstractContextManager[tuple[int, Servable]]:
        return nullcontext((0, self._model))


def _records(file: Path) -> Iterator[bytes]:
    try:
        yield from tf.data.TFRecordDataset(str(file), buffer_size=1 << 20).as_numpy_iterator()
    except tf.errors.DataLossError as error:
        raise RequestError(
            Code.DATA_LOSS,
            f"{error.message}. Please verify your warmup data is in TFRecord format.",
        ) from error
    except tf.errors.OpError as error:
        raise RequestError(Code(error.error_code), error.message) from error
