"""The models that are served, by name: finds the version that a request means."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from serving.server.saved_model import SavedModel
from serving.server.status import invalid_argument, not_found
from serving.server.versions import ServedModel, VersionStatus, not_served


class ServerCore:
    """Models by name. Its methods may be called from any thread."""

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        self._models = dict(models)

    def lease(
        self, name: str, version: int | None = None, label: str = ""
    ) -> AbstractContextManager[tuple[int, SavedModel]]:
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
            raise invalid_argument(f"Unrecognized servable version label: {label}")
        if name not in self._models:
            raise not_served(name, version)
        return self._models[name].lease(version)

    def statuses(
        self, name: str, version: int | None = None, label: str = ""
    ) -> dict[int, VersionStatus]:
        """The state of one version, or of every version seen, newest first.

        Raises:
            RequestError: NOT_FOUND: there is none.
        """
        statuses = self._models[name].statuses() if name in self._models else {}
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

    def available(self) -> bool:
        """Whether every model has a version that answers now."""
        return all(model.available() for model in list(self._models.values()))
