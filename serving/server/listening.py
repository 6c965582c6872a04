"""The ports: gRPC over one of two transports, and REST."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.server import config_files
from serving.server.calls import Handler
from serving.server.core import ServerCore
from serving.server.metrics import Metrics
from serving.server.observe import Record
from serving.server.options import ServerOptions
from tfx_pipeline.errors import ConfigError

logger = logging.getLogger("assay.serving")


@dataclass
class Listening:
    """What listens.

    Attributes:
        port: The TCP port for gRPC.
        rest_port: The TCP port for REST; 0: there is none.
        stops: Each ends one front's work, given how long its running requests may take, in seconds.
        closes: What is left to close when there is no work any more.
    """

    port: int = 0
    rest_port: int = 0
    stops: list[Callable[[float], object]] = field(default_factory=list)
    closes: list[Callable[[], object]] = field(default_factory=list)


def listen(
    options: ServerOptions,
    core: ServerCore,
    handlers: Mapping[str, Handler],
    metrics: Metrics,
    record: Record,
) -> Listening:
    """Opens the ports that the flags name.

    Raises:
        ConfigError: A config file is wrong.
        ServingError: A port is taken or not allowed.
    """
    listening = Listening()
    try:
        (_grpc_h2 if options.grpc_front == "h2" else _grpc)(options, handlers, listening)
        if options.rest_api_port:
            _rest(options, core, handlers, metrics, record, listening)
    except BaseException:
        for stop in listening.stops:
            stop(0.0)
        for close in listening.closes:
            close()
        raise
    return listening


def _grpc(options: ServerOptions, handlers: Mapping[str, Handler], listening: Listening) -> None:
    from serving.server.channel_arguments import parse_channel_arguments
    from serving.server.grpc_front import start_grpc, tls_credentials

    credentials = None
    if options.ssl_config_file:
        tls = _ssl_config(options.ssl_config_file, "ssl_config_file")
        credentials = tls_credentials(
            tls.server_key, tls.server_cert, tls.custom_ca, tls.client_verify
        )
    server, listening.port = start_grpc(
        handlers,
        options.port,
        options.grpc_max_threads,
        options.bind_address,
        socket_path=options.grpc_socket_path,
        credentials=credentials,
        channel_arguments=parse_channel_arguments(options.grpc_channel_arguments),
        reflection=True,
    )
    # A handler's thread cannot be interrupted: wait no longer for one than it has.
    listening.stops.append(lambda grace_s: server.stop(grace_s).wait(grace_s + 1.0))


def _grpc_h2(options: ServerOptions, handlers: Mapping[str, Handler], listening: Listening) -> None:
    from serving.server.channel_arguments import h2_limits, parse_channel_arguments
    from serving.server.h2_front import start_h2
    from serving.server.reflection import reflection_handlers

    limits, unknown = h2_limits(parse_channel_arguments(options.grpc_channel_arguments))
    for name in unknown:
        logger.warning(
            "--grpc_channel_arguments: %s does nothing here; --grpc_front=grpcio knows it", name
        )
    server = start_h2(
        {**handlers, **reflection_handlers(handlers)},
        port=options.port,
        threads=options.grpc_max_threads,
        address=options.bind_address,
        socket_path=options.grpc_socket_path,
        ssl_context=_ssl_context(options.ssl_config_file, "ssl_config_file"),
        limits=limits,
    )
    listening.port = server.port
    listening.stops.append(server.stop)


def _rest(
    options: ServerOptions,
    core: ServerCore,
    handlers: Mapping[str, Handler],
    metrics: Metrics,
    record: Record,
    listening: Listening,
) -> None:
    from serving.server.rest import build_app, start_rest

    file = options.monitoring_config_file
    metrics_path = config_files.prometheus_path(file) if file else ""
    app = build_app(
        core,
        handlers,
        cors=options.rest_api_enable_cors_support,
        timeout_s=options.rest_api_timeout_in_ms / 1000,
        max_body_bytes=options.rest_api_max_body_bytes,
        metrics=metrics.text if metrics_path else None,
        metrics_path=metrics_path,
        record=record,
    )
    server = start_rest(
        app,
        max(options.rest_api_port, 0),
        options.bind_address,
        threads=options.rest_api_num_threads,
        ssl_context=_ssl_context(options.rest_api_ssl_config_file, "rest_api_ssl_config_file"),
    )
    listening.rest_port = server.port
    # The port stays open while another front still has work: probes ask there.
    listening.stops.append(server.finish)
    listening.closes.append(lambda: server.stop(0.0))


def _ssl_config(file: str, flag: str) -> Any:
    config = config_files.ssl_config(file, flag)
    if not (config.server_key and config.server_cert):
        raise ConfigError(
            "SSLConfig needs server_key and server_cert, PEM text in the file itself", where=file
        )
    return config


def _ssl_context(file: str, flag: str) -> ssl.SSLContext | None:
    from serving.server.rest.server import tls_context

    if not file:
        return None
    config = _ssl_config(file, flag)
    return tls_context(
        config.server_key, config.server_cert, config.custom_ca if config.client_verify else ""
    )
