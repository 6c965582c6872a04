"""A worker process of `workers`: encodes the chunks that come through a pipe."""

from __future__ import annotations

import traceback

from tfx_pipeline.errors import AssayError
from tfx_pipeline.worker_process import Pipes


class Defect(Exception):
    """Raise in the parent for what is no error of the data: it holds the worker's traceback."""


def main() -> None:
    """Answers each task until the pipe is closed, which it is when the parent has died, too."""
    pipes = Pipes()
    import pyarrow as pa

    from tfx_pipeline.ingest.encode import encode_chunk
    from tfx_pipeline.ingest.readers import Chunk

    pa.set_cpu_count(1)
    try:
        (source, bounds), _ = pipes.receive()
        while True:
            (file, first_row, order), content = pipes.receive()
            [batch] = pa.ipc.open_stream(content)
            try:
                answer = encode_chunk(Chunk(file, first_row, batch), order, source, bounds)
            except AssayError as error:
                pipes.send(error)
            except Exception:  # noqa: BLE001  Told in the parent, which ends this process.
                pipes.send(Defect(traceback.format_exc()))
            else:
                pipes.send(answer)
    except BrokenPipeError:
        return
