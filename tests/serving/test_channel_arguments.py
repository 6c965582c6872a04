"""gRPC's settings by name, and what the h2 front makes of them."""

from __future__ import annotations

import math

import pytest

from serving.server.channel_arguments import h2_limits, parse_channel_arguments
from serving.server.h2.streams import Limits
from tfx_pipeline.errors import ConfigError


def test_nothing_is_the_defaults() -> None:
    assert h2_limits(parse_channel_arguments("")) == (Limits(), [])


def test_every_argument_it_knows() -> None:
    text = (
        "grpc.max_concurrent_streams=7,grpc.max_receive_message_length=3000000000,"
        "grpc.max_send_message_length=-1,grpc.keepalive_time_ms=2147483647,"
        "grpc.keepalive_timeout_ms=1500,grpc.max_connection_age_ms=2000,"
        "grpc.max_connection_age_grace_ms=10,grpc.max_connection_idle_ms=60000"
    )
    limits, unknown = h2_limits(parse_channel_arguments(text))
    assert unknown == []
    assert limits == Limits(
        concurrent_streams=7,
        message_bytes=3_000_000_000,
        request_bytes=3_000_000_000,
        keepalive_s=math.inf,
        keepalive_timeout_s=1.5,
        age_s=2.0,
        age_grace_s=0.01,
        idle_s=60.0,
    )


def test_arguments_it_does_not_know_are_named() -> None:
    arguments = parse_channel_arguments("grpc.http2.max_ping_strikes=1,grpc.primary_user_agent=me")
    assert h2_limits(arguments) == (
        Limits(),
        ["grpc.http2.max_ping_strikes", "grpc.primary_user_agent"],
    )


@pytest.mark.parametrize(
    "text", ["grpc.max_connection_age_ms=soon", "grpc.max_concurrent_streams=0"]
)
def test_values_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="is no number of 1 or more"):
        h2_limits(parse_channel_arguments(text))
