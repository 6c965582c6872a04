"""Our model server beside the one most people write and MLServer, in one run.

    .venv/bin/python benchmarks/serving.py [--repeat 3] [--quick] [--only h2-batched,threads]

The model is a 32-64-64-1 float32 MLP, a request has one row, and 32 connections call at once. Each
server is a process of its own on this machine, and so is the load generator (`load.py`: raw
HTTP/2, some 30 µs of CPU a call, its share of a core is printed). Measured side by side:

limit            the loaded model called in its own process, in one thread: what no server can pass
threads          grpcio's thread pool, TF2 signature, make_ndarray (`threads.py`)
mlserver         MLServer over gRPC (`runtime.py`), in an environment of its own
grpcio, h2       `assay-model-server` over its two fronts; `-batched`: with --enable_batching

Then, for our server: 99th percentile at half of the top rate, with requests due at random times
whatever the server does; CPU of a call that runs no model; swaps of a version under load; memory
over 50 reloads of a model of 10 MB; and the time to the first answer beside TensorFlow's import.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

# This file must not hide the package `serving`, and its folder is first on the path.
sys.path[0] = str(Path(__file__).absolute().parent / "serving_parts")
sys.path.insert(1, str(Path(__file__).absolute().parent.parent))

import reloads  # noqa: E402
from processes import HEALTH, HERE, PREDICT, ROOT, Kind, Server, load, run, running  # noqa: E402
from report import Results, report  # noqa: E402

_BATCHED = ("--enable_batching", "--batching_parameters_file={batching}")
# A thread of grpcio waits for its answer, so the largest batch is as large as there are threads.
_GRPCIO = ("--grpc_front=grpcio", "--grpc_max_threads=64")
KINDS = (
    Kind("grpcio threads, TF2 signature", "threads"),
    Kind(
        "MLServer, gRPC",
        "mlserver",
        (),
        "/inference.GRPCInferenceService/ModelInfer",
        "mlserver.bin",
    ),
    Kind("ours, grpcio", "grpcio", ("--grpc_front=grpcio",)),
    Kind("ours, grpcio, batched", "grpcio-batched", (*_GRPCIO, *_BATCHED)),
    Kind("ours, h2", "h2", ("--grpc_front=h2",)),
    Kind("ours, h2, batched", "h2-batched", ("--grpc_front=h2", *_BATCHED)),
)
OTHERS = ("limit", "reload", "memory", "start")
_MLSERVER = "mlserver==1.7.1"


def main() -> None:
    names = [*(kind.key for kind in KINDS), *OTHERS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=1, help="runs of each, in turn; medians")
    parser.add_argument("--quick", action="store_true", help="a minute or two in all")
    parser.add_argument("--only", help=f"some of {', '.join(names)}; between commas")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--folder", type=Path, help="keep models, logs and MLServer here")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",") if arguments.only else names
    if unknown := set(chosen) - set(names):
        parser.error(f"there is no {', '.join(sorted(unknown))}; choose from {', '.join(names)}")

    with tempfile.TemporaryDirectory(prefix="assay-bench-") as temporary:
        folder = (arguments.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        results = measure(folder, chosen, arguments.repeat, quick=arguments.quick)
    report(results, {kind.key: kind.name for kind in KINDS})
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def measure(folder: Path, chosen: list[str], repeat: int, *, quick: bool) -> Results:
    """Measures what is chosen, `repeat` times in turn."""
    seconds = 1.5 if quick else 6.0
    run(sys.executable, HERE / "models.py", "make", folder)
    mlserver = install_mlserver(folder) if "mlserver" in chosen else None
    results: Results = {}

    def note(name: str, measurement: Callable[[], dict[str, Any]]) -> None:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        results.setdefault(name, []).append(measurement())

    for _ in range(repeat):
        if "limit" in chosen:
            words = (sys.executable, HERE / "models.py", "call", folder, seconds / 2)
            note("limit", lambda words=words: json.loads(run(*words).splitlines()[-1]))
        for kind in KINDS:
            if kind.key in chosen and (kind.key != "mlserver" or mlserver):
                note(kind.key, lambda kind=kind: rates(kind, folder, seconds, mlserver))
        for key in ("grpcio-batched", "h2-batched"):
            kind = next(kind for kind in KINDS if kind.key == key)
            if "reload" in chosen and not (quick and key == "grpcio-batched"):
                swaps = 2 if quick else 6
                note(
                    f"reload {key}",
                    lambda k=kind, n=swaps: reloads.under_load(k, folder, n),
                )
        if "memory" in chosen:
            kind = next(kind for kind in KINDS if kind.key == "h2")
            note("memory", lambda k=kind: reloads.memory(k, folder, 12 if quick else 50))
        if "start" in chosen:
            for key in ("h2",) if quick else ("grpcio", "h2"):
                kind = next(kind for kind in KINDS if kind.key == key)
                note(f"start {key}", lambda k=kind: start(k, folder, 1 if quick else 3))
    return results


def rates(kind: Kind, folder: Path, seconds: float, mlserver: Path | None) -> dict[str, Any]:
    """A server's top rate, its latency at half of it, and CPU of a call that runs no model."""
    with running(kind, folder, folder / "mlp", mlserver) as server:
        check_answer(server, folder)
        top = load(server, folder, seconds)
        half = load(server, folder, seconds, rate=top["per_second"] / 2)
        empty = None
        if kind.ours:
            empty = load(server, folder, seconds / 2, method=HEALTH, payloads="empty.bin")
    return {"top": top, "half": half, "empty": empty}


def check_answer(server: Server, folder: Path) -> None:
    """Ends the benchmark if a server's answer is not the model's."""
    if server.kind.method != PREDICT:
        return
    import grpc
    import numpy as np
    from payloads import read_payloads

    from serving.client.messages import PredictResponse
    from serving.tensors import to_array

    request = read_payloads(folder / server.kind.payloads)[0]
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        response = PredictResponse.FromString(channel.unary_unary(PREDICT)(request, timeout=30))
    found, expected = to_array(response.outputs["y"]), np.load(folder / "answer.npy")
    if not np.allclose(found, expected, atol=1e-5):
        sys.exit(f"{server.kind.name} answered {found}, the model says {expected}")


def start(kind: Kind, folder: Path, times: int) -> dict[str, float]:
    """From a process's start to its first answer, beside `import tensorflow`, in turn."""
    imports, starts = [], []
    for _ in range(times):
        began = time.monotonic()
        run(sys.executable, "-c", "import tensorflow")
        imports.append(time.monotonic() - began)
        with running(kind, folder, folder / "mlp") as server:
            starts.append(server.start_s)
    return {"import_s": statistics.median(imports), "start_s": statistics.median(starts)}


def install_mlserver(folder: Path) -> Path | None:
    """The Python of an environment with MLServer and our TensorFlow; None: it cannot be had."""
    python = folder / "mlserver-env" / "bin" / "python"
    print("installing MLServer ...", file=sys.stderr, flush=True)
    try:
        if not python.exists():
            uv = run(sys.executable, ROOT / "tools" / "bootstrap_uv.py").strip()
            run(uv, "venv", "-q", "--python", sys.executable, python.parent.parent)
            tensorflow = f"tensorflow=={version('tensorflow')}"
            run(uv, "pip", "install", "-q", "--python", python, _MLSERVER, tensorflow)
        words = ("requests", folder / "rows.npy", folder / "mlserver.bin")
        run(python, HERE / "runtime.py", *words)
    except SystemExit as error:
        print(f"MLServer is left out, it cannot be installed: {error}", file=sys.stderr)
        return None
    return python


if __name__ == "__main__":
    main()
