"""A `tensorflow_model_server` that fails as a model asks for: our own server, and real faults.

A file in a model's folder names the fault: `fault_crash` (it ends by a signal while it loads),
`fault_load` (the load never ends), `fault_answer` (it loads, and no request is ever answered).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOREVER_S = 3600.0


def main() -> int:
    from serving.server import loading
    from serving.server.main import main as run

    load = loading.Loader.__call__

    def faulty(self: Any, name: str, path: Path) -> Any:
        if (path / "fault_crash").exists():
            os.kill(os.getpid(), signal.SIGSEGV)
        if (path / "fault_load").exists():
            time.sleep(FOREVER_S)
        model = load(self, name, path)
        if (path / "fault_answer").exists():
            model.run = _never  # type: ignore[method-assign]
        return model

    loading.Loader.__call__ = faulty  # type: ignore[method-assign]
    return run(["--bind_address=127.0.0.1", *sys.argv[1:]])


def _never(signature: str, inputs: Mapping[str, Any], outputs: Sequence[str]) -> Any:
    time.sleep(FOREVER_S)


if __name__ == "__main__":
    sys.exit(main())
