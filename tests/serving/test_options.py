"""The server's flags."""

from __future__ import annotations

import socket

import pytest

from serving.server.grpc_front import start_grpc
from serving.server.main import main
from serving.server.options import MEANINGLESS, ServerOptions, parse_flags
from serving.server.ports import check_port
from tfx_pipeline.errors import ConfigError, ServingError


def test_both_ways_of_writing_a_flag() -> None:
    options, _ = parse_flags(["--port=0", "--model_name", "taxi", "--model_base_path=/m"])
    assert options == ServerOptions(port=0, model_name="taxi", model_base_path="/m")


def test_any_free_rest_port() -> None:
    assert parse_flags(["--model_base_path=/m", "--rest_api_port=-1"])[0].rest_api_port == -1


# main.cc of tensorflow_model_server: name, default (None: by the machine), and another value.
REAL_FLAGS: list[tuple[str, object, str]] = [
    ("port", 8500, "9000"),
    ("grpc_socket_path", "", "/tmp/s"),
    ("rest_api_port", 0, "8501"),
    ("rest_api_num_threads", None, "3"),
    ("rest_api_timeout_in_ms", 30000, "5"),
    ("rest_api_enable_cors_support", False, ""),
    ("model_name", "default", "m"),
    ("model_base_path", "", "/m"),
    ("model_config_file", "", "/c"),
    ("model_config_file_poll_wait_seconds", 0, "9"),
    ("file_system_poll_wait_seconds", 1, "0"),
    ("enable_batching", False, ""),
    ("batching_parameters_file", "", "/b"),
    ("enable_per_model_batching_parameters", False, ""),
    ("allow_version_labels_for_unavailable_models", False, ""),
    ("monitoring_config_file", "", "/m"),
    ("ssl_config_file", "", "/s"),
    ("enable_model_warmup", True, ""),
    ("num_request_iterations_for_warmup", 0, "4"),
    ("max_num_load_retries", 5, "0"),
    ("load_retry_interval_micros", 60_000_000, "1"),
    ("num_load_threads", 0, "2"),
    ("num_unload_threads", 0, "2"),
    ("tensorflow_session_parallelism", 0, "2"),
    ("tensorflow_intra_op_parallelism", 0, "2"),
    ("tensorflow_inter_op_parallelism", 0, "2"),
    ("tensorflow_session_config_file", "", "/t"),
    ("saved_model_tags", "serve", "serve,gpu"),
    ("grpc_channel_arguments", "", "grpc.max_connection_age_ms=1"),
    ("grpc_max_threads", None, "7"),
    ("enable_grpc_healthcheck_service", False, ""),
    ("enable_serialization_as_tensor_content", False, ""),
    ("prefer_tflite_model", False, ""),
    ("enable_signature_method_name_check", False, ""),
    ("enable_profiler", False, ""),  # there: on
]


@pytest.mark.parametrize(("name", "default", "other"), REAL_FLAGS)
def test_the_real_servers_flags(name: str, default: object, other: str) -> None:
    if default is not None:
        assert getattr(ServerOptions(), name) == default
    base = ["--model_base_path=/m", "--enable_batching"]
    for argv in ([f"--{name}={other}"], [f"--{name}", other]):
        if other:
            options, warnings = parse_flags([*base, *argv])
            assert str(getattr(options, name)) == other
            assert not warnings


@pytest.mark.parametrize("name", [name for name, _, other in REAL_FLAGS if not other])
@pytest.mark.parametrize(
    ("flag", "value"),
    [("", True), ("=true", True), ("=True", True), ("=1", True), ("=false", False), ("=0", False)],
)
def test_booleans(name: str, flag: str, value: bool) -> None:
    options, _ = parse_flags(["--model_base_path=/m", "--enable_batching", f"--{name}{flag}"])
    assert getattr(options, name) is value


@pytest.mark.parametrize("flag", ["", "=true", "=4"])
@pytest.mark.parametrize("name", sorted(MEANINGLESS))
def test_flags_that_mean_nothing_here_are_told_once(name: str, flag: str) -> None:
    options, warnings = parse_flags(["--model_base_path=/m", f"--{name}{flag}", "--port=1"])
    assert options.port == 1
    assert warnings == [f"--{name} does nothing here: {MEANINGLESS[name]}"]


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
    for version in ("--version", "--version=true"):
        assert main([version]) == 0
        assert "TensorFlow Library: 2." in capsys.readouterr().out
    assert main(["--version=false", "--prot=1"]) == ConfigError.exit_code
    assert "Did you mean --port?" in capsys.readouterr().err


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
