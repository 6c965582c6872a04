"""Writes `protos.binpb`, the message definitions the client is built from.

Run `python serving/client/generate_descriptors.py` (as a file: the package itself needs what it
writes) after an update of TensorFlow or of tensorflow-serving-api; `--check` ends with code 1 when
the committed file is stale.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor

PATH = Path(__file__).with_name("protos.binpb")
_ROOTS = (
    "tensorflow_serving.apis.predict_pb2",
    "tensorflow_serving.apis.classification_pb2",
    "tensorflow_serving.apis.regression_pb2",
    "tensorflow_serving.apis.get_model_metadata_pb2",
    "tensorflow_serving.apis.get_model_status_pb2",
    "tensorflow.core.example.example_pb2",
)


def descriptor_set() -> bytes:
    """The serialized FileDescriptorSet of the installed protos, each file after its imports."""
    files: dict[str, FileDescriptor] = {}

    def add(file: FileDescriptor) -> None:
        if file.name in files:
            return
        for dependency in file.dependencies:
            add(dependency)
        files[file.name] = file

    for root in _ROOTS:
        add(import_module(root).DESCRIPTOR)
    result = descriptor_pb2.FileDescriptorSet()
    for file in files.values():
        result.file.append(descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb))
    return result.SerializeToString(deterministic=True)


def main(argv: list[str] | None = None) -> int:
    """Writes the file, or with `--check` compares it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args(argv)
    fresh = descriptor_set()
    if options.check:
        if PATH.exists() and PATH.read_bytes() == fresh:
            return 0
        print(
            f"{PATH.name} is stale: run `python serving/client/{Path(__file__).name}`.",
            file=sys.stderr,
        )
        return 1
    PATH.write_bytes(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
