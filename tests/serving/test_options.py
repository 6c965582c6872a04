"""The server's flags."""

from __future__ import annotations

import socket

import pytest

from serving.server.grpc_front import start_grpc
from serving.server.main import main
from serving.server.options import ServerOptions, parse_flags
from serving.server.ports import check_port
from tfx_pipeline.errors import ConfigError, ServingError


def test_both_ways_of_writing_a_flag() -> None:
    options, _ = parse_flags(["--port=0", "--model_name", "taxi", "--model_base_path=/m"])
    assert options == ServerOptions(port=0, model_name="taxi", model_base_path="/m")


def test_any_free_rest_port() -> None:
    assert parse_flags(["--model_base_path=/m", "--rest_api_port=-1"])[0].rest_api_port == -1


@pytest.mark.parametrize(
    ("flag", "value"), [("", True), ("=true", True), ("=false", False), ("=1", True)]
)
def test_booleans(flag: str, value: bool) -> None:
    name = "enable_grpc_healthcheck_service"
    options, _ = parse_flags(["--model_base_path=/m", f"--{name}{flag}"])
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
        (["--model_base_path=/m", "--port=-1"], "Choose 1 to 65535, or 0 for a free one."),
        (["--model_base_path=/m", "--rest_api_port=-2"], "1 to 65535, or -1 for a free one."),
        (["--model_base_path=/m", "--bind_address=here"], "--bind_address=here is no IP address"),
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


def answers(address: str, port: int) -> bool:
    """Whether something listens there. All of 127.0.0.0/8 is this machine."""
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


def test_it_listens_where_it_is_told() -> None:
    for bound, elsewhere in (("127.0.0.1", False), (ServerOptions().bind_address, True)):
        server, port = start_grpc({}, port=0, threads=1, address=bound)
        try:
            assert answers("127.0.0.1", port)
            assert answers("127.0.0.2", port) is elsewhere
            with pytest.raises(ServingError, match=f"cannot listen on port {port} of {bound}"):
                check_port(port, bound)
            with pytest.raises(ServingError) as caught:
                check_port(port, bound, "rest_api_port")
            assert "with --rest_api_port, or --rest_api_port=-1 for" in str(caught.value.hint)
        finally:
            server.stop(0).wait()


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(ServingError, match=r"cannot listen on port 0 of 192\.0\.2\.1: .*assign"):
        check_port(0, "192.0.2.1")
