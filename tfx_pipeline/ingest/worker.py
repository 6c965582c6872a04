"""A worker process of `workers`: encodes the chunks that come through a pipe.

It is started with `python -c`, not by `multiprocessing`: that would import the parent's main module
again, and with it TensorFlow; and a fork of a process in which TensorFlow has threads may hang.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import sys
import traceback
from typing import IO, Any

from tfx_pipeline.errors import AssayError

_LENGTHS = struct.Struct("<QQ")


class Defect(Exception):
    """Raise in the parent for what is no error of the data: it holds the worker's traceback."""


def send(stream: IO[bytes], message: Any, content: Any = b"") -> None:
    """Writes a message, and bytes that go with it and are not copied for it, for `receive`."""
    pickled = pickle.dumps(message, protocol=5)
    view = memoryview(content)
    stream.write(_LENGTHS.pack(len(pickled), view.nbytes))
    stream.write(pickled)
    stream.write(view)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[Any, bytes]:
    """Waits for a message, and the bytes that go with it.

    Raises:
        EOFError: The other side has ended, perhaps within a message.
    """
    pickled_size, size = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    message = pickle.loads(_exactly(stream, pickled_size))
    return message, _exactly(stream, size)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content


def main() -> None:
    """Answers each task until the pipe is closed, which it is when the parent has died, too."""
    tasks = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer.
    os.dup2(2, 1)  # What a library prints must not get among the answers.
    import pyarrow as pa

    from tfx_pipeline.ingest.encode import encode_chunk
    from tfx_pipeline.ingest.readers import Chunk

    pa.set_cpu_count(1)
    try:
        (source, bounds), _ = receive(tasks)
        while True:
            (file, first_row, order), content = receive(tasks)
            [batch] = pa.ipc.open_stream(content)
            try:
                answer = encode_chunk(Chunk(file, first_row, batch), order, source, bounds)
            except AssayError as error:
                send(answers, error)
            except Exception:  # noqa: BLE001  Told in the parent, which ends this process.
                send(answers, Defect(traceback.format_exc()))
            else:
                send(answers, answer)
    except (EOFError, BrokenPipeError):
        return
