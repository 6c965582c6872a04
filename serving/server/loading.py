"""How a version is loaded: SavedModel or TFLite, timed, counted, hooked, batched."""

from __future__ import annotations

import time
from pathlib import Path

from serving.server import config_files, paired, saved_model
from serving.server.batch_threads import BatchThreads
from serving.server.batching import BatchedModel, BatchRun
from serving.server.batching_parameters import (
    BatchingParameters,
    batching_parameters,
    model_batching_parameters,
)
from serving.server.hooks import HookedModel, import_hook
from serving.server.loaded import Servable
from serving.server.metrics import Metrics
from serving.server.observe import TimedModel
from serving.server.options import ServerOptions
from serving.server.saved_model import LoadOptions
from serving.server.status import Code, RequestError, invalid_argument
from serving.server.warmup import answer_with, warm_up
from tfx_pipeline.errors import ConfigError

_TFLITE = "model.tflite"


class Loader:
    """Loads versions as the flags say.

    Raises:
        ConfigError: A config file or a hook that the flags name is wrong.
    """

    def __init__(self, options: ServerOptions, metrics: Metrics) -> None:
        self._options = options
        self._metrics = metrics
        self._load_options = _load_options(options)
        self._before = import_hook("preprocessing_hook", options.preprocessing_hook)
        self._after = import_hook("postprocessing_hook", options.postprocessing_hook)
        # What a hook does is its own: it may wait, or run an event loop.
        self._on_loop = self._before is None and self._after is None
        self._batching: BatchingParameters | None = None
        if options.enable_batching:
            self._batching = batching_parameters(options.batching_parameters_file)
            self._threads = BatchThreads(self._batching)

    def __call__(self, name: str, path: Path) -> Servable:
        """Loads a version, given the model's name and the version's folder.

        Raises:
            RequestError: It cannot be loaded; the message says why.
        """
        started = time.perf_counter()
        status = "fail"
        try:
            loaded = self._hooked(self._load(path), name)
            try:
                self._warm_up(loaded, path)
                timed = TimedModel(loaded, name, self._metrics, on_loop=self._on_loop)
                model = self._batched(timed, name, path)
            except BaseException:
                loaded.close()
                raise
            status = "success"
        finally:
            self._metrics.load(str(path), status, (time.perf_counter() - started) * 1e6)
        return model

    def close(self) -> None:
        """Ends the threads that run batches. Every model is to be closed before."""
        if self._batching is not None:
            self._threads.close()

    def _load(self, path: Path) -> Servable:
        has_tflite = (path / _TFLITE).is_file()
        has_saved_model = any((path / f"saved_model.{end}").is_file() for end in ("pb", "pbtxt"))
        if has_tflite and (self._options.prefer_tflite_model or not has_saved_model):
            from serving.server import tflite  # LiteRT's import is for who has such a model

            return tflite.load(path)
        if self._options.prefer_core and paired.is_pair(path):
            return paired.load(path, self._load_options)
        return saved_model.load(path, self._load_options)

    def _warm_up(self, model: Servable, path: Path) -> None:
        options = self._options
        if not options.enable_model_warmup:
            return
        started = time.perf_counter()
        code, records = Code.UNKNOWN.name, 1
        answer = answer_with(model, check_method_name=options.enable_signature_method_name_check)
        try:
            records = warm_up(path, answer, options.num_request_iterations_for_warmup)
            code = "OK"
        except RequestError as error:
            code = error.code.name
            raise
        finally:
            if records:
                latency_us = (time.perf_counter() - started) * 1e6
                self._metrics.warm_up(str(path), code, latency_us)

    def _hooked(self, model: Servable, name: str) -> Servable:
        if self._before is None and self._after is None:
            return model
        return HookedModel(model, name, self._before, self._after)

    def _batched(self, model: Servable, name: str, path: Path) -> Servable:
        parameters = self._batching
        if parameters is None:
            return model
        if self._options.enable_per_model_batching_parameters:
            try:
                parameters = model_batching_parameters(path)
            except ConfigError as error:
                raise invalid_argument(error.headline) from error
            if parameters is None:
                return model
        pool = self._batching.thread_pool_name if self._batching else ""

        def observe(run: BatchRun) -> None:
            queued_us = [waited * 1e6 for waited in run.queued_s]
            self._metrics.batch(name, pool, run.batch_size, queued_us)

        return BatchedModel(model, parameters, self._threads, observe, on_loop=self._on_loop)


def _load_options(options: ServerOptions) -> LoadOptions:
    file = options.tensorflow_session_config_file
    both = options.tensorflow_session_parallelism
    return LoadOptions(
        tags=tuple(options.saved_model_tags.split(",")),
        session_config=config_files.session_config(file) if file else None,
        intra_op_threads=options.tensorflow_intra_op_parallelism or both,
        inter_op_threads=options.tensorflow_inter_op_parallelism or both,
    )
