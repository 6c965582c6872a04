"""The server's config files: protobuf text, as tensorflow_model_server reads them.

Two of the messages are not in the tensorflow-serving-api package; they are built here from their
public definitions, tensorflow_serving/config/{ssl_config,monitoring_config}.proto.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import Message
from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from tfx_pipeline.errors import ConfigError

_Message = TypeVar("_Message", bound=Message)
_Field = descriptor_pb2.FieldDescriptorProto


def model_server_config(file: str) -> ModelServerConfig:
    """Reads `--model_config_file`.

    Raises:
        ConfigError: It cannot be read, or is no ModelServerConfig; says where.
    """
    return read(file, ModelServerConfig(), "model_config_file")


def session_config(file: str) -> ConfigProto:
    """Reads `--tensorflow_session_config_file`. Raises as `model_server_config`."""
    return read(file, ConfigProto(), "tensorflow_session_config_file")


def ssl_config(file: str, flag: str = "ssl_config_file") -> Any:
    """Reads an SSLConfig: `server_key`, `server_cert`, `custom_ca` (PEM), `client_verify`.

    Raises as `model_server_config`.
    """
    return read(file, _SSL_CONFIG(), flag)


def prometheus_path(file: str) -> str:
    """Reads `--monitoring_config_file`: the path of the metrics on the REST port; "" if disabled.

    Raises as `model_server_config`.
    """
    config = read(file, _MONITORING_CONFIG(), "monitoring_config_file").prometheus_config
    return (config.path or "/monitoring/prometheus/metrics") if config.enable else ""


def read(file: str, message: _Message, flag: str) -> _Message:
    """Fills a message from protobuf text.

    Args:
        file: Path of the text.
        message: Empty; is filled and returned.
        flag: The flag that named the file, for the error.

    Raises:
        ConfigError: The file cannot be read, or does not parse; says where.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"--{flag} cannot be read: {reason}", where=file, hint="Check the path."
        ) from error
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        line = error.GetLine()
        raise ConfigError(
            f"Invalid protobuf file: '{file}': {str(error).partition(' : ')[2] or error}",
            where=f"{file}:{line}" if line else file,
            hint=f"It must be protobuf text of {message.DESCRIPTOR.full_name}.",
        ) from error


def _message_classes(file: str, messages: dict[str, list[tuple[str, int, str]]]) -> dict[str, Any]:
    """Classes of messages from (field, number, type) lists; a type may be one of the messages."""
    proto = descriptor_pb2.FileDescriptorProto(
        name=f"assay/{file}", package="tensorflow.serving", syntax="proto3"
    )
    for name, message_fields in messages.items():
        message = proto.message_type.add(name=name)
        for field_name, number, kind in message_fields:
            field = message.field.add(name=field_name, number=number, label=_Field.LABEL_OPTIONAL)
            if kind in messages:
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".tensorflow.serving.{kind}"
            else:
                field.type = _Field.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    described = pool.AddSerializedFile(proto.SerializeToString())
    return {
        name: message_factory.GetMessageClass(described.message_types_by_name[name])
        for name in messages
    }


_SSL_CONFIG = _message_classes(
    "ssl_config.proto",
    {
        "SSLConfig": [
            ("server_key", 1, "string"),
            ("server_cert", 2, "string"),
            ("custom_ca", 3, "string"),
            ("client_verify", 4, "bool"),
        ]
    },
)["SSLConfig"]
_MONITORING_CONFIG = _message_classes(
    "monitoring_config.proto",
    {
        "PrometheusConfig": [("enable", 1, "bool"), ("path", 2, "string")],
        "MonitoringConfig": [("prometheus_config", 1, "PrometheusConfig")],
    },
)["MonitoringConfig"]
