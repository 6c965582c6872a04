"""`--grpc_channel_arguments`: gRPC's own settings by name, and what they mean to the h2 front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from serving.server.h2.streams import Limits
from tfx_pipeline.errors import ConfigError

Arguments: TypeAlias = Sequence[tuple[str, int | str]]

_NEVER_MS = 2**31 - 1  # gRPC's INT_MAX: no such time
_NEVER_S = float("inf")
_LARGEST_MESSAGE = 2**32 - 1  # that a prefix can announce; -1 in gRPC
_FIELDS = {
    "grpc.max_concurrent_streams": "concurrent_streams",
    "grpc.max_receive_message_length": "message_bytes",
    "grpc.max_send_message_length": "answer_bytes",
    "grpc.keepalive_time_ms": "keepalive_s",
    "grpc.keepalive_timeout_ms": "keepalive_timeout_s",
    "grpc.max_connection_age_ms": "age_s",
    "grpc.max_connection_age_grace_ms": "age_grace_s",
    "grpc.max_connection_idle_ms": "idle_s",
}


def parse_channel_arguments(text: str) -> list[tuple[str, int | str]]:
    """Reads `--grpc_channel_arguments`: `KEY=VALUE` between commas; numbers become integers.

    Raises:
        ConfigError: A part is no `KEY=VALUE`.
    """
    found: list[tuple[str, int | str]] = []
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise ConfigError(
                f"--grpc_channel_arguments: {part!r} is no KEY=VALUE",
                hint="Write, for instance, grpc.max_connection_age_ms=2000.",
            )
        found.append((key, int(value) if value.lstrip("-").isdigit() else value))
    return found


def h2_limits(arguments: Arguments) -> tuple[Limits, list[str]]:
    """What the arguments make of the h2 front's limits.

    Returns:
        The limits, and the names of arguments that mean nothing to it.

    Raises:
        ConfigError: A value is no number, or none that could be.
    """
    values: dict[str, int | float] = {}
    unknown = []
    for key, value in arguments:
        field = _FIELDS.get(key)
        if field is None:
            unknown.append(key)
            continue
        lowest = -1 if field.endswith("_bytes") else 1
        if not isinstance(value, int) or value < lowest:
            raise ConfigError(
                f"--grpc_channel_arguments: {key}={value} is no number of {lowest} or more",
                hint="Write, for instance, grpc.max_connection_age_ms=2000.",
            )
        if field.endswith("_s"):
            values[field] = _NEVER_S if value >= _NEVER_MS else value / 1000
        else:
            values[field] = _LARGEST_MESSAGE if value == -1 else value
    limits = Limits()
    if "message_bytes" in values:
        values["request_bytes"] = max(limits.request_bytes, values["message_bytes"])
    return replace(limits, **values), unknown  # type: ignore[arg-type]
