"""The models that are served, by name: what the config asks for, and which version a request means.

Semantics, codes and messages of server_core.cc (tensorflow/serving).
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from serving.server.loaded import Servable, State, VersionStatus
from serving.server.policy import from_proto
from serving.server.status import Code, RequestError, invalid_argument, not_found
from serving.server.versions import Retries, ServedModel, failure_text, not_served

logger = logging.getLogger("assay.serving")

PLATFORM = "tensorflow"


class ServerCore:
    """Models by name. Its methods may be called from any thread.

    Args:
        load: Loads a version, given the model's name and the version's folder.
        retries: Of loads that fail.
        load_threads: Models loaded at the same time; 0: one after the other.
        unload_threads: Versions unloaded at the same time, beside the looks at the folders; 0: one
            after the other, between them.
        allow_labels_for_unavailable: Lets a label that is new name a version not yet loaded
            (`--allow_version_labels_for_unavailable_models`).
        log_requests: Is given each config that is taken, for the models' `logging_config`; may
            refuse it with a RequestError.
    """

    def __init__(
        self,
        load: Callable[[str, Path], Servable],
        *,
        retries: Retries | None = None,
        load_threads: int = 0,
        unload_threads: int = 0,
        allow_labels_for_unavailable: bool = False,
        log_requests: Callable[[ModelServerConfig], None] | None = None,
    ) -> None:
        self._load = load
        self._retries = retries or Retries()
        self._load_threads = load_threads
        self._unloads = ThreadPoolExecutor(unload_threads, "unload") if unload_threads else None
        self._allow_labels_for_unavailable = allow_labels_for_unavailable
        self._log_requests = log_requests
        self._models: dict[str, ServedModel] = {}
        self._labels: dict[tuple[str, str], int] = {}
        self._platforms: dict[str, str] = {}
        self._configuring = threading.Lock()
        self._polling = threading.RLock()
        self._draining = threading.Event()

    def lease(
        self, name: str, version: int | None = None, label: str = ""
    ) -> AbstractContextManager[tuple[int, Servable]]:
        """The model to answer one request with; it stays loaded while the context is open.

        Args:
            name: The model's name.
            version: The version asked for; None: the latest, or what `label` names.
            label: A version label; empty: none was sent.

        Returns:
            A context of the version's number and the model.

        Raises:
            RequestError: INVALID_ARGUMENT: no name, or no such label. NOT_FOUND: not served.
        """
        if not name:
            raise invalid_argument("ModelSpec has no name specified.")
        if label:
            version = self._labelled(name, label)
        model = self._models.get(name)
        if model is None:
            raise not_served(name, version)
        return model.lease(version)

    def statuses(
        self, name: str, version: int | None = None, label: str = ""
    ) -> dict[int, VersionStatus]:
        """The state of one version, or of every version seen, newest first.

        Raises:
            RequestError: NOT_FOUND: there is none. INVALID_ARGUMENT: no such label.
        """
        if label:
            version = self._labelled(name, label)
        model = self._models.get(name)
        statuses = model.statuses() if model is not None else {}
        if version is not None:
            if version not in statuses:
                raise not_found(f"Could not find version {version} of model {name}")
            return {version: statuses[version]}
        if not statuses:
            raise not_found(f"Could not find any versions of model {name}")
        return statuses

    def names(self) -> list[str]:
        """The names of the models that are to be served, sorted."""
        return sorted(self._models)

    def model(self, name: str) -> ServedModel | None:
        """A model that is to be served, or None."""
        return self._models.get(name)

    def labels(self, name: str) -> dict[str, int]:
        """A model's version labels."""
        return {label: version for (model, label), version in self._labels.items() if model == name}

    def available(self) -> bool:
        """Whether every model has a version that answers now, there is one, and no end in sight."""
        models = list(self._models.values())
        ready = bool(models) and all(model.available() for model in models)
        return ready and not self.draining

    @property
    def draining(self) -> bool:
        """Whether the server is about to end: what runs is finished, and nothing new begun."""
        return self._draining.is_set()

    def drain(self) -> None:
        """Says so to probes and fronts; what is loaded stays."""
        self._draining.set()

    def in_flight(self) -> int:
        """How many requests are being answered."""
        return sum(model.in_flight() for model in list(self._models.values()))

    def configure(self, config: ModelServerConfig, *, wait: bool = True) -> None:
        """Serves what the config lists, and no longer what it does not.

        Args:
            config: The whole list of models: one that is missing in it is unloaded.
            wait: Return only when each model that is new has been loaded or has failed.

        Raises:
            RequestError: INVALID_ARGUMENT, FAILED_PRECONDITION: the config is not taken, and what
                was served goes on. UNKNOWN: a new model did not load; the config is taken.
        """
        with self._configuring:
            if config.WhichOneof("config") == "custom_model_config":
                raise invalid_argument("Missing custom_model_config_loader in ServerCore Options")
            if config.WhichOneof("config") is None:
                logger.info("Taking no action for empty config.")
                return
            models = list(config.model_config_list.config)
            platforms = _checked(models, self._platforms)
            labels = self._new_labels(models)
            if self._log_requests is not None:
                self._log_requests(config)
            with self._polling:
                new = [model.name for model in models if model.name not in self._models]
                self._platforms, self._labels = platforms, labels
                self._set(models)
            if wait:
                self.poll(names=new)
                self._check_available(new)

    def poll(self, *, look: bool = True, names: Iterable[str] | None = None) -> None:
        """Brings every model (or those named) in line with its folder; see `ServedModel.poll`."""
        with self._polling:
            wanted = set(self._models if names is None else names)
            models = [model for name, model in self._models.items() if name in wanted]
            if self._load_threads and len(models) > 1:
                with ThreadPoolExecutor(self._load_threads, thread_name_prefix="load") as pool:
                    list(pool.map(lambda model: _poll(model, look), models))
            else:
                for model in models:
                    _poll(model, look)

    def next_retry_s(self) -> float | None:
        """When (`time.monotonic()`) the next failed load is due again; None: never."""
        due = (model.next_retry_s() for model in list(self._models.values()))
        return min((time for time in due if time is not None), default=None)

    def close(self) -> None:
        """Unloads everything, as soon as the last request on it has ended."""
        with self._polling:
            for model in self._models.values():
                model.close()
        if self._unloads is not None:
            self._unloads.shutdown()

    def _labelled(self, name: str, label: str) -> int:
        version = self._labels.get((name, label))
        if version is None:
            raise invalid_argument(f"Unrecognized servable version label: {label}")
        return version

    def _new_labels(self, models: list[ModelConfig]) -> dict[tuple[str, str], int]:
        labels: dict[tuple[str, str], int] = {}
        for model in models:
            served = self._models.get(model.name)
            statuses = served.statuses() if served is not None else {}
            for label, version in model.version_labels.items():
                status = statuses.get(version)
                moves = self._labels.get((model.name, label), version) != version
                may_wait = self._allow_labels_for_unavailable and not moves
                if not may_wait and (status is None or status.state is not State.AVAILABLE):
                    raise RequestError(
                        Code.FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model {model.name}, "
                        "which is not currently available for inference",
                    )
                labels[model.name, label] = version
        return labels

    def _set(self, models: list[ModelConfig]) -> None:
        kept: dict[str, ServedModel] = {}
        for model in models:
            policy, base_path = from_proto(model.model_version_policy), Path(model.base_path)
            served = self._models.get(model.name)
            if served is None:
                load = functools.partial(self._load, model.name)
                served = ServedModel(
                    model.name, base_path, load, policy, self._retries, self._unloads
                )
            served.base_path, served.policy = base_path, policy
            kept[model.name] = served
        gone = [served for name, served in self._models.items() if name not in kept]
        self._models = kept
        for served in gone:
            logger.info("model %s is no longer listed", served.name)
            served.close()

    def _check_available(self, names: Iterable[str]) -> None:
        missing = []
        for name in names:
            model = self._models[name]
            if not model.available():
                failed = [
                    f"{{name: {name} version: {version}}} due to error: {failure_text(status)}"
                    for version, status in model.statuses().items()
                    if status.code
                ]
                missing += failed or [f"{{name: {name}}}"]
        if missing:
            listed = "".join(f"{{{text}}}, " for text in missing)
            raise RequestError(
                Code.UNKNOWN, f"{len(missing)} model(s) did not become available: {{{listed}}}"
            )


def _poll(model: ServedModel, look: bool) -> None:
    try:
        model.poll(look=look)
    except Exception:  # whatever one look stumbles over is no matter of the others
        logger.exception("looking for versions of model %s failed", model.name)


def _checked(models: list[ModelConfig], before: dict[str, str]) -> dict[str, str]:
    """The models' platforms, if the list is one that TensorFlow Serving takes."""
    platforms: dict[str, str] = {}
    for model in models:
        if model.name in platforms:
            raise invalid_argument(
                f"Illegal to list model {model.name} multiple times in config list"
            )
        platforms[model.name] = _platform(model)
        if "://" not in model.base_path and not model.base_path.startswith("/"):
            raise invalid_argument(
                f"Expected model {model.name} to have an absolute path or URI; got "
                f"base_path()={model.base_path}"
            )
    for name, platform in platforms.items():
        if before.get(name, platform) != platform:
            raise invalid_argument(
                f"Illegal to change a model's platform. For model {name} platform was "
                f"{before[name]} and new platform requested is {platform}"
            )
        if platform != PLATFORM:
            raise invalid_argument(f"Model {name} requests unsupported platform {platform}")
    return platforms


def _platform(model: ModelConfig) -> str:
    if model.model_type:
        if model.model_platform:
            raise invalid_argument(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                "ModelServerConfig::model_platform."
            )
        if model.model_type != 1:  # ModelType.TENSORFLOW
            raise invalid_argument(
                f"ModelServerConfig::model_type choice {model.model_type} not supported."
            )
        return PLATFORM
    if not model.model_platform:
        raise invalid_argument(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform."
        )
    return str(model.model_platform)


def single_model(name: str, base_path: str) -> ModelServerConfig:
    """The config that `--model_name` and `--model_base_path` stand for."""
    config = ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform=PLATFORM)
    return config
