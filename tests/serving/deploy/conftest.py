"""Where the deployment's files are, and the names that they may use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[3]

# The flags of tensorflow_model_server that both servers take.
_FLAGS = """
    port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms
    rest_api_enable_cors_support model_name model_base_path model_config_file
    model_config_file_poll_wait_seconds file_system_poll_wait_seconds enable_batching
    batching_parameters_file enable_per_model_batching_parameters
    allow_version_labels_for_unavailable_models monitoring_config_file ssl_config_file
    enable_model_warmup num_request_iterations_for_warmup max_num_load_retries
    load_retry_interval_micros num_load_threads num_unload_threads tensorflow_session_parallelism
    tensorflow_intra_op_parallelism tensorflow_inter_op_parallelism tensorflow_session_config_file
    saved_model_tags grpc_channel_arguments grpc_max_threads enable_grpc_healthcheck_service
    enable_serialization_as_tensor_content prefer_tflite_model enable_signature_method_name_check
    enable_profiler version
"""


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def deploy() -> Path:
    return REPOSITORY / "serving" / "deploy"


@pytest.fixture(scope="session")
def server_flags() -> frozenset[str]:
    return frozenset(_FLAGS.split())


@pytest.fixture(scope="session")
def compose(deploy: Path) -> dict[str, Any]:
    return yaml.safe_load((deploy / "compose.yaml").read_text())
