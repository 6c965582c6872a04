"""How a version is loaded: SavedModel or TFLite, timed, counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from serving.server import config_files, saved_model
from serving.server.loaded import Servable
from serving.server.metrics import Metrics
from serving.server.observe import TimedModel
from serving.server.options import ServerOptions
from serving.server.saved_model import LoadOptions

_TFLITE = "model.tflite"
Load = Callable[[str, Path], Servable]


def loader(options: ServerOptions, metrics: Metrics) -> Load:
    """What loads a version, given the model's name and the version's folder, as the flags say.

    Raises:
        ConfigError: The session's config file is wrong.
    """
    chosen = _load_options(options)

    def load(name: str, path: Path) -> Servable:
        started = time.perf_counter()
        status = "fail"
        try:
            model = _load(path, chosen, prefer_tflite=options.prefer_tflite_model)
            status = "success"
        finally:
            metrics.load(str(path), status, (time.perf_counter() - started) * 1e6)
        return TimedModel(model, name, metrics)

    return load


def _load(path: Path, chosen: LoadOptions, *, prefer_tflite: bool) -> Servable:
    has_tflite = (path / _TFLITE).is_file()
    has_saved_model = any((path / f"saved_model.{end}").is_file() for end in ("pb", "pbtxt"))
    if has_tflite and (prefer_tflite or not has_saved_model):
        from serving.server import tflite  # LiteRT's import is for who has such a model

        return tflite.load(path)
    return saved_model.load(path, chosen)


def _load_options(options: ServerOptions) -> LoadOptions:
    file = options.tensorflow_session_config_file
    both = options.tensorflow_session_parallelism
    return LoadOptions(
        tags=tuple(options.saved_model_tags.split(",")),
        session_config=config_files.session_config(file) if file else None,
        intra_op_threads=options.tensorflow_intra_op_parallelism or both,
        inter_op_threads=options.tensorflow_inter_op_parallelism or both,
    )
