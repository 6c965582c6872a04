"""MLServer, with the shortest honest TensorFlow runtime; runs in a virtual environment of its own.

    python benchmarks/serving_parts/runtime.py requests ROWS.npy OUTPUT
    python benchmarks/serving_parts/runtime.py serve PORT SAVED_MODEL FOLDER

`parallel_workers` is 0, which is MLServer's fastest with one model: no second process to pass
tensors to.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from payloads import write_payloads

METHOD = "/inference.GRPCInferenceService/ModelInfer"


class TensorFlowRuntime(MLModel):
    """Arrays in, the TF2 signature, arrays out."""

    async def load(self) -> bool:
        import tensorflow as tf

        self._constant = tf.constant
        self._model = tf.saved_model.load(self.settings.parameters.uri)
        self._signature = self._model.signatures["serving_default"]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        inputs = {i.name: self._constant(NumpyCodec.decode_input(i)) for i in payload.inputs}
        outputs = self._signature(**inputs)
        return InferenceResponse(
            model_name=self.name,
            outputs=[NumpyCodec.encode_output(name, t.numpy()) for name, t in outputs.items()],
        )


def requests(rows: Path, output: Path) -> None:
    """Writes the same rows as requests of the V2 protocol."""
    from mlserver.grpc.dataplane_pb2 import ModelInferRequest

    found = []
    for row in np.load(rows):
        request = ModelInferRequest(model_name="mlp")
        tensor = request.inputs.add(name="x", datatype="FP32", shape=row.shape)
        tensor.contents.fp32_contents.extend(row.ravel().tolist())
        found.append(request.SerializeToString())
    write_payloads(output, found)


def serve(port: int, saved_model: Path, folder: Path) -> None:
    """Becomes MLServer."""
    settings = {
        "host": "127.0.0.1",
        "grpc_port": port,
        "http_port": port + 1,
        "metrics_port": port + 2,
        "parallel_workers": 0,
        "debug": False,
    }
    model = {
        "name": "mlp",
        "implementation": "runtime.TensorFlowRuntime",
        "parameters": {"uri": str(saved_model)},
    }
    folder.mkdir(exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    command = str(Path(sys.executable).with_name("mlserver"))
    here = str(Path(__file__).parent)
    os.execve(command, [command, "start", str(folder)], {**os.environ, "PYTHONPATH": here})


if __name__ == "__main__":
    if sys.argv[1] == "requests":
        requests(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        serve(int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
