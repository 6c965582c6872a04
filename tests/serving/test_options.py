"""The server's flags."""

from __future__ import annotations

import pytest

from serving.server.main import main
from serving.server.options import ServerOptions, parse_flags
from tfx_pipeline.errors import ConfigError


def test_both_ways_of_writing_a_flag() -> None:
    options = parse_flags(["--port=0", "--model_name", "taxi", "--model_base_path=/m"])
    assert options == ServerOptions(port=0, model_name="taxi", model_base_path="/m")


@pytest.mark.parametrize(
    ("flag", "value"), [("", True), ("=true", True), ("=false", False), ("=1", True)]
)
def test_booleans(flag: str, value: bool) -> None:
    name = "enable_grpc_healthcheck_service"
    options = parse_flags(["--model_base_path=/m", f"--{name}{flag}"])
    assert options.enable_grpc_healthcheck_service is value


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model_base_pth=/m"], "unknown flag --model_base_pth\nDid you mean --model_base_path?"),
        (["model"], "unknown flag model"),
        (["--port"], "flag --port has no value"),
        (["--port=http"], "--port=http is not a whole number"),
        (["--enable_grpc_healthcheck_service=maybe"], "is neither true nor false"),
        ([], "--model_base_path is missing"),
        (["--model_base_path=/m", "--port=70000"], "--port=70000 is no port"),
        (["--model_base_path=/m", "--grpc_max_threads=0"], "--grpc_max_threads=0"),
        (["--model_base_path=/m", "--file_system_poll_wait_seconds=-1"], "is negative"),
    ],
)
def test_wrong_flags(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_flags(argv)
    assert message in str(caught.value)


def test_command_shows_errors_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--prot=1"]) == ConfigError.exit_code
    assert "Did you mean --port?" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "--file_system_poll_wait_seconds=1" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert "TensorFlow Library: 2." in capsys.readouterr().out
