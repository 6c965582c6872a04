"""The server's flags: TensorFlow Serving's names and meanings, as far as they are implemented."""

from __future__ import annotations

import difflib
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from tfx_pipeline.errors import ConfigError


def _flag(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True)
class ServerOptions:
    """What to serve and where. Each field is the flag of the same name."""

    port: int = _flag(8500, "TCP port for gRPC; 0 takes a free one and logs it")
    bind_address: str = _flag(
        "0.0.0.0", "IP address to listen on; 127.0.0.1 answers this machine only (ours alone)"
    )
    model_name: str = _flag("default", "name that requests use for the model")
    model_base_path: str = _flag(
        "", "folder that holds the version folders, <base path>/<integer>/saved_model.pb"
    )
    file_system_poll_wait_seconds: int = _flag(
        1, "seconds between two looks for new versions; 0 looks once"
    )
    grpc_max_threads: int = _flag(4 * (os.cpu_count() or 1), "requests handled at the same time")
    enable_grpc_healthcheck_service: bool = _flag(False, "answer grpc.health.v1.Health/Check")


_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def parse_flags(argv: Sequence[str]) -> ServerOptions:
    """Reads `--name=value`, `--name value`, and for booleans also `--name`.

    Raises:
        ConfigError: A flag is unknown, lacks its value, or has one of the wrong type.
    """
    types = {option.name: type(option.default) for option in fields(ServerOptions)}
    values: dict[str, Any] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, text = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in types:
            raise _unknown(word, list(types))
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
    return options


def usage() -> str:
    """The flags, one a line, with their defaults."""
    lines = ["usage: assay-model-server --model_base_path=PATH [flags]", ""]
    for option in fields(ServerOptions):
        lines.append(f"  --{option.name}={option.default!r}")
        lines.append(f"      {option.metadata['help']}")
    lines.append("  --version\n      print the version and end")
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
    if not options.model_base_path:
        raise ConfigError(
            "--model_base_path is missing",
            hint="Name the folder that holds the version folders: --model_base_path=/models/taxi.",
        )
    if not 0 <= options.port <= 65535:
        raise ConfigError(f"--port={options.port} is no port", hint="Choose 1 to 65535, or 0.")
    try:
        ipaddress.ip_address(options.bind_address)
    except ValueError:
        raise ConfigError(
            f"--bind_address={options.bind_address} is no IP address",
            hint="Write 0.0.0.0 for all interfaces, 127.0.0.1 for this machine only.",
        ) from None
    if options.grpc_max_threads < 1:
        raise ConfigError(
            f"--grpc_max_threads={options.grpc_max_threads} leaves no thread to answer",
            hint="Choose 1 or more.",
        )
    if options.file_system_poll_wait_seconds < 0:
        raise ConfigError(
            f"--file_system_poll_wait_seconds={options.file_system_poll_wait_seconds} is negative",
            hint="Choose 0 to look once, or the seconds between two looks.",
        )
