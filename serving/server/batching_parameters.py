"""`BatchingParameters`: how requests are put together, as tensorflow_model_server is told.

The message is not in the tensorflow-serving-api package; it is built here from its public
definition, tensorflow_serving/servables/tensorflow/session_bundle_config.proto. Defaults and checks
are those of shared_batch_scheduler.h and bundle_factory_util.cc.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)

from serving.server import config_files
from tfx_pipeline.errors import ConfigError

PER_MODEL_FILE = "batching_params.pbtxt"
"""In a version's folder, for `--enable_per_model_batching_parameters`."""

_FIELDS = {
    "max_batch_size": (1, "Int64Value"),
    "batch_timeout_micros": (2, "Int64Value"),
    "max_enqueued_batches": (3, "Int64Value"),
    "num_batch_threads": (4, "Int64Value"),
    "thread_pool_name": (5, "StringValue"),
    "enable_large_batch_splitting": (8, "BoolValue"),
    "max_execution_batch_size": (9, "Int64Value"),
}


@dataclass(frozen=True)
class BatchingParameters:
    """How to batch. The names are the message's.

    Attributes:
        max_batch_size: Rows of the largest request, and of the largest batch.
        batch_timeout_micros: How long a batch that is not full waits for more; 0: until a thread
            is free.
        max_enqueued_batches: Batches that may wait, of each signature; more are UNAVAILABLE.
        num_batch_threads: Batches run at the same time, of all models.
        thread_pool_name: Of those threads.
        allowed_batch_sizes: A batch is padded to the next of these; empty: it is not.
        pad_variable_length_inputs: Requests of other shapes go into one batch, padded with their
            first value.
        enable_large_batch_splitting: A request fills what is left of a batch and goes on in the
            next.
        max_execution_batch_size: Rows of the largest batch where requests are split.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    thread_pool_name: str = "batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None

    @cached_property
    def largest_batch(self) -> int:
        """Rows of the largest batch."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size is not None:
            return self.max_execution_batch_size
        return self.max_batch_size

    def padded_size(self, size: int) -> int:
        """The rows that a batch of `size` rows is run with."""
        return next((allowed for allowed in self.allowed_batch_sizes if allowed >= size), size)


def batching_parameters(file: str) -> BatchingParameters:
    """Reads `--batching_parameters_file`; "" is the server's defaults.

    Raises:
        ConfigError: The file cannot be read, does not parse, or has values that do not fit.
    """
    if not file:
        return BatchingParameters(thread_pool_name="model_server_batch_threads")
    return _checked(config_files.read(file, _MESSAGE(), "batching_parameters_file"), file)


def model_batching_parameters(version: Path) -> BatchingParameters | None:
    """Reads a version's own parameters; None: it has none, and is then not batched.

    The threads are the server's: `num_batch_threads` and `thread_pool_name` do nothing here.
    Raises as `batching_parameters`.
    """
    file = version / PER_MODEL_FILE
    if not file.exists():
        return None
    flag = "enable_per_model_batching_parameters"
    return _checked(config_files.read(str(file), _MESSAGE(), flag), str(file))


def from_text(text: str) -> BatchingParameters:
    """Reads the message's text. Raises as `batching_parameters`."""
    try:
        return _checked(text_format.Parse(text, _MESSAGE()), "")
    except text_format.ParseError as error:
        raise ConfigError(f"no BatchingParameters: {error}") from error


def _checked(message: Any, where: str) -> BatchingParameters:
    values = {name: getattr(message, name).value for name in _FIELDS if message.HasField(name)}
    parameters = BatchingParameters(
        **values,
        allowed_batch_sizes=tuple(message.allowed_batch_sizes),
        pad_variable_length_inputs=message.pad_variable_length_inputs,
    )
    fault = _fault(parameters)
    if fault:
        raise ConfigError(fault, where=where, hint="Correct the BatchingParameters.")
    return parameters


def _fault(parameters: BatchingParameters) -> str:
    """Why the values do not fit, in TensorFlow's words, or ""."""
    for name in ("num_batch_threads", "max_batch_size", "max_enqueued_batches"):
        if getattr(parameters, name) < 1:
            return f"{name} must be positive; was {getattr(parameters, name)}"
    if parameters.batch_timeout_micros < 0:
        return f"batch_timeout_micros must be non-negative; was {parameters.batch_timeout_micros}"
    if parameters.largest_batch < 1:
        return f"max_execution_batch_size must be positive; was {parameters.largest_batch}"
    if parameters.largest_batch > parameters.max_batch_size:
        return (
            "When enable_large_batch_splitting is true, max_batch_size must be greater than or "
            "equal to max_execution_batch_size."
        )
    sizes = parameters.allowed_batch_sizes
    if sizes and sizes[-1] != parameters.max_batch_size:
        return (
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
            f"{sizes[-1]}; expected {parameters.max_batch_size}"
        )
    if any(size >= after for size, after in itertools.pairwise(sizes)):
        return "allowed_batch_sizes entries must be monotonically increasing"
    return ""


def _message_class() -> Any:
    fields = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="assay/session_bundle_config.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    message = file.message_type.add(name="BatchingParameters")
    for name, (number, wrapper) in _FIELDS.items():
        message.field.add(
            name=name,
            number=number,
            label=fields.LABEL_OPTIONAL,
            type=fields.TYPE_MESSAGE,
            type_name=f".google.protobuf.{wrapper}",
        )
    message.field.add(
        name="allowed_batch_sizes", number=6, label=fields.LABEL_REPEATED, type=fields.TYPE_INT64
    )
    message.field.add(
        name="pad_variable_length_inputs",
        number=7,
        label=fields.LABEL_OPTIONAL,
        type=fields.TYPE_BOOL,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    described = pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(described.message_types_by_name["BatchingParameters"])


_MESSAGE = _message_class()
