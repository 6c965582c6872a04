"""The server's flags: the names, defaults and meanings of tensorflow_model_server (main.cc)."""

from __future__ import annotations

import difflib
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from tfx_pipeline.errors import ConfigError


def _flag(default: Any, help_text: str, *, ours: bool = False) -> Any:
    return field(default=default, metadata={"help": help_text, "ours": ours})


_THREADS = 4 * (os.cpu_count() or 1)


@dataclass(frozen=True)
class ServerOptions:
    """What to serve and where. Each field is the flag of the same name."""

    port: int = _flag(8500, "TCP port for gRPC; 0 takes a free one and logs it")
    grpc_socket_path: str = _flag("", "also listen for gRPC on a Unix socket at this path")
    rest_api_port: int = _flag(
        0, "TCP port for HTTP/REST; 0: no REST; -1 takes a free one and logs it"
    )
    rest_api_num_threads: int = _flag(_THREADS, "REST requests handled at the same time")
    rest_api_timeout_in_ms: int = _flag(30000, "how long a REST request may take")
    rest_api_enable_cors_support: bool = _flag(False, "answer browsers of other origins (CORS)")
    model_name: str = _flag("default", "name that requests use for the model")
    model_base_path: str = _flag(
        "", "folder that holds the version folders, <base path>/<integer>/saved_model.pb"
    )
    model_config_file: str = _flag(
        "", "ModelServerConfig, protobuf text: several models, policies and labels"
    )
    model_config_file_poll_wait_seconds: int = _flag(
        0, "seconds between two looks at model_config_file; 0 reads it once"
    )
    file_system_poll_wait_seconds: int = _flag(
        1, "seconds between two looks for new versions; 0 looks once"
    )
    enable_batching: bool = _flag(False, "answer several requests with one run of the model")
    batching_parameters_file: str = _flag("", "BatchingParameters, protobuf text")
    enable_per_model_batching_parameters: bool = _flag(
        False, "read batching_params.pbtxt of each SavedModel"
    )
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, "a new label may name a version that is not loaded yet"
    )
    monitoring_config_file: str = _flag("", "MonitoringConfig, protobuf text: Prometheus metrics")
    ssl_config_file: str = _flag("", "SSLConfig, protobuf text: TLS for gRPC")
    enable_model_warmup: bool = _flag(
        True, "replay assets.extra/tf_serving_warmup_requests before a version answers"
    )
    num_request_iterations_for_warmup: int = _flag(0, "how often each of them; 0: once")
    max_num_load_retries: int = _flag(5, "how often a load that failed is tried again")
    load_retry_interval_micros: int = _flag(60_000_000, "microseconds between two such tries")
    num_load_threads: int = _flag(0, "models loaded at the same time; 0: one after the other")
    num_unload_threads: int = _flag(
        0, "models unloaded at the same time; 0: one after the other, by who has used them last"
    )
    tensorflow_session_parallelism: int = _flag(0, "threads within and between ops; 0: automatic")
    tensorflow_intra_op_parallelism: int = _flag(0, "threads within an op; 0: automatic")
    tensorflow_inter_op_parallelism: int = _flag(
        0, "ops of a request at the same time; 0: automatic, 1 for small graphs"
    )
    tensorflow_session_config_file: str = _flag("", "ConfigProto of the session, protobuf text")
    saved_model_tags: str = _flag("serve", "tags of the meta graph to load, between commas")
    grpc_channel_arguments: str = _flag("", "KEY=VALUE between commas, for the gRPC server")
    grpc_max_threads: int = _flag(_THREADS, "gRPC requests handled at the same time")
    enable_grpc_healthcheck_service: bool = _flag(False, "answer grpc.health.v1.Health")
    enable_serialization_as_tensor_content: bool = _flag(
        False, "answer numbers as tensor_content: smaller and faster"
    )
    prefer_tflite_model: bool = _flag(False, "load model.tflite of a version where there is one")
    enable_signature_method_name_check: bool = _flag(
        False, "Classify, Regress and Predict only on signatures with a method name of theirs"
    )
    enable_profiler: bool = _flag(
        False, "answer tensorflow.ProfilerService: traces, in the folder that the client names"
    )
    prefer_core: bool = _flag(
        True,
        "run assets.extra/core.tflite of a version where there is one, not the SavedModel's graph",
        ours=True,
    )
    bind_address: str = _flag(
        "0.0.0.0", "IP address to listen on; 127.0.0.1 answers this machine only", ours=True
    )
    grpc_front: str = _flag(
        "h2",
        "what carries gRPC: h2 (asyncio, a tenth of the CPU a request), or grpcio",
        ours=True,
    )
    rest_api_ssl_config_file: str = _flag(
        "", "SSLConfig, protobuf text: TLS for the REST port", ours=True
    )
    rest_api_max_body_bytes: int = _flag(
        2**31 - 1, "the largest body of a REST request, compressed or not", ours=True
    )
    drain_seconds: int = _flag(
        10, "how long running requests may take to finish after SIGTERM", ours=True
    )
    log_format: str = _flag("text", "text, or json: one object a line", ours=True)
    log_requests: bool = _flag(
        False, "log each request: its id (x-request-id), model, status and time", ours=True
    )
    preprocessing_hook: str = _flag(
        "",
        "package.module:function that is given each request's inputs, and returns them",
        ours=True,
    )
    postprocessing_hook: str = _flag(
        "",
        "package.module:function that is given each answer's outputs, and returns them",
        ours=True,
    )

    @property
    def is_single_model(self) -> bool:
        """Whether one model is named by flags, and not a list of them in a file."""
        return not self.model_config_file


MEANINGLESS: dict[str, str] = {
    "flush_filesystem_caches": "the system keeps its file cache in order",
    "mixed_precision": "it is for TPUs and GPUs",
    "num_tflite_interpreters_per_pool": "an interpreter is made for each thread",
    "num_tflite_pools": "an interpreter is made for each thread",
    "per_process_gpu_memory_fraction": "set gpu_options in tensorflow_session_config_file",
    "platform_config_file": "the platform is TensorFlow",
    "remove_unused_fields_from_bundle_metagraph": "they are not kept",
    "skip_initialize_tpu": "there is no TPU",
    "tensorflow_use_xla": "XLA is not used",
    "thread_pool_factory_config_file": "the session has its own threads",
    "use_alts_credentials": "ALTS is Google's own network's",
    "use_tfrt": "the TensorFlow runtime of the installed TensorFlow is used",
    "enable_tfrt": "the TensorFlow runtime of the installed TensorFlow is used",
    "xla_cpu_compilation_enabled": "XLA is not used",
    "xla_gpu_compilation_enabled": "XLA is not used",
}
"""Flags of tensorflow_model_server that are accepted and do nothing here, and why."""

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def parse_flags(argv: Sequence[str]) -> tuple[ServerOptions, list[str]]:
    """Reads `--name=value`, `--name value`, and for booleans also `--name`.

    Returns:
        The options, and warnings about flags that do nothing here.

    Raises:
        ConfigError: A flag is unknown, lacks its value, or has one of the wrong type.
    """
    types = {option.name: type(option.default) for option in fields(ServerOptions)}
    values: dict[str, Any] = {}
    warnings = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, text = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in MEANINGLESS:
            warnings.append(f"--{name} does nothing here: {MEANINGLESS[name]}")
            if not equals and rest and not rest[0].startswith("-"):
                rest.pop(0)
            continue
        if not word.startswith("--") or name not in types:
            raise _unknown(word, [*types, *MEANINGLESS])
        if types[name] is bool:
            values[name] = _boolean(name, text if equals else "true")
            continue
        if not equals:
            if not rest:
                raise ConfigError(f"flag --{name} has no value", hint=f"Write --{name}=VALUE.")
            text = rest.pop(0)
        values[name] = _integer(name, text) if types[name] is int else text
    options = ServerOptions(**values)
    _check(options)
    return options, warnings


def usage() -> str:
    """The flags, one a line, with their defaults."""
    lines = ["usage: assay-model-server --model_base_path=PATH [flags]", ""]
    for option in fields(ServerOptions):
        lines.append(f"  --{option.name}={option.default!r}")
        ours = " (not a flag of tensorflow_model_server)" if option.metadata["ours"] else ""
        lines.append(f"      {option.metadata['help']}{ours}")
    lines.append("  --version\n      print the version and end")
    lines.append("Accepted, and of no effect: " + ", ".join(sorted(MEANINGLESS)))
    return "\n".join(lines)


def _unknown(word: str, names: list[str]) -> ConfigError:
    name = word.partition("=")[0].lstrip("-")
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean --{near[0]}? " if near else ""
    return ConfigError(
        f"unknown flag {word.partition('=')[0]}",
        hint=f"{hint}`assay-model-server --help` lists all.",
    )


def _boolean(name: str, text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ConfigError(
            f"--{name}={text} is neither true nor false", hint=f"Write --{name} or --{name}=false."
        )
    return _BOOLEANS[text.lower()]


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(
            f"--{name}={text} is not a whole number", hint=f"Write --{name}=8, for instance."
        ) from None


def _check(options: ServerOptions) -> None:
    if options.is_single_model and not options.model_base_path:
        raise ConfigError(
            "--model_base_path is missing",
            hint="Name the folder that holds the version folders: --model_base_path=/models/taxi, "
            "or a list of models: --model_config_file=/models/models.config.",
        )
    for name, lowest in (("port", 0), ("rest_api_port", -1)):
        port = getattr(options, name)
        if not lowest <= port <= 65535:
            raise ConfigError(
                f"--{name}={port} is no port",
                hint=f"Choose 1 to 65535, or {lowest} for a free one.",
            )
    if options.rest_api_port and options.rest_api_port == options.port:
        raise ConfigError(
            "--rest_api_port cannot be same as --port",
            hint="Choose a different port for HTTP/REST, 8501 by custom.",
        )
    if options.grpc_front not in ("grpcio", "h2"):
        raise ConfigError(
            f"--grpc_front={options.grpc_front} is unknown", hint="Choose grpcio or h2."
        )
    if options.log_format not in ("text", "json"):
        raise ConfigError(
            f"--log_format={options.log_format} is unknown", hint="Choose text or json."
        )
    try:
        ipaddress.ip_address(options.bind_address)
    except ValueError:
        raise ConfigError(
            f"--bind_address={options.bind_address} is no IP address",
            hint="Write 0.0.0.0 for all interfaces, 127.0.0.1 for this machine only.",
        ) from None
    for name in (
        "grpc_max_threads",
        "rest_api_max_body_bytes",
        "rest_api_num_threads",
        "rest_api_timeout_in_ms",
    ):
        if getattr(options, name) < 1:
            raise ConfigError(
                f"--{name}={getattr(options, name)} lets nothing be answered",
                hint="Choose 1 or more.",
            )
    for name in _NOT_NEGATIVE:
        if getattr(options, name) < 0:
            raise ConfigError(
                f"--{name}={getattr(options, name)} is negative",
                hint="Choose 0 or more; --help says what 0 means.",
            )
    if options.batching_parameters_file and not options.enable_batching:
        raise ConfigError(
            "--batching_parameters_file is set without --enable_batching",
            hint="Add --enable_batching.",
        )
    if options.enable_per_model_batching_parameters and not options.enable_batching:
        raise ConfigError(
            "--enable_per_model_batching_parameters without --enable_batching does nothing",
            hint="Add --enable_batching.",
        )


_NOT_NEGATIVE = (
    "drain_seconds",
    "file_system_poll_wait_seconds",
    "max_num_load_retries",
    "model_config_file_poll_wait_seconds",
    "num_load_threads",
    "num_unload_threads",
    "num_request_iterations_for_warmup",
    "tensorflow_inter_op_parallelism",
    "tensorflow_intra_op_parallelism",
    "tensorflow_session_parallelism",
)
