"""Which versions of a model to serve, out of those that are there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tensorflow_serving.config.file_system_storage_path_source_pb2 import (
    FileSystemStoragePathSourceConfig,
)


@dataclass(frozen=True)
class VersionPolicy:
    """`ServableVersionPolicy` of file_system_storage_path_source.proto.

    Attributes:
        kind: `latest`: the highest `count` numbers; `all`; `specific`: those in `versions`.
        count: How many versions `latest` means.
        versions: The numbers that `specific` means.
    """

    kind: Literal["latest", "all", "specific"] = "latest"
    count: int = 1
    versions: frozenset[int] = frozenset()

    def choose(self, present: Iterable[int]) -> list[int]:
        """The versions to serve, newest first.

        Args:
            present: The versions there are.
        """
        newest_first = sorted(present, reverse=True)
        if self.kind == "latest":
            return newest_first[: self.count]
        if self.kind == "specific":
            return [version for version in newest_first if version in self.versions]
        return newest_first


LATEST = VersionPolicy()
"""The newest version alone, what TensorFlow Serving does when nothing is stated."""


def from_proto(policy: FileSystemStoragePathSourceConfig.ServableVersionPolicy) -> VersionPolicy:
    """The policy that a `ModelConfig` states; none stated is the latest version."""
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy("all")
    if choice == "specific":
        return VersionPolicy("specific", versions=frozenset(policy.specific.versions))
    return VersionPolicy("latest", policy.latest.num_versions or 1)
