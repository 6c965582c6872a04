"""What a container of Vertex or Kubeflow starts: `assay run-node`, and what belongs around it.

    python -m tfx_pipeline.runners.vertex.task --state FILE [--secret VARIABLE=NAME] -- assay ...

It reads the password from Secret Manager, passes signals on, and tells Vertex how the node went:
the parameter `state` shows a refused gate, for which tasks behind it are not started.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

REFUSED = "refused"


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="tfx_pipeline.runners.vertex.task")
    parser.add_argument("--state", required=True, type=Path)
    parser.add_argument("--secret", action="append", default=[])
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    environment = dict(os.environ)
    for secret in options.secret:
        variable, _, name = secret.partition("=")
        if not environment.get(variable):
            from tfx_pipeline.runners.vertex.secret import read_secret

            environment[variable] = read_secret(name)
    code = _run(options.command, environment)
    if code == 0:
        _tell(options.state, options.command)
    return code


def _run(command: list[str], environment: dict[str, str]) -> int:
    """Runs a command to its end. SIGTERM, Vertex's way to cancel, is passed on."""
    sys.stdout.flush()
    process = subprocess.Popen(command, env=environment)

    def pass_on(number: int, _: FrameType | None) -> None:
        process.send_signal(number)

    before = {each: signal.signal(each, pass_on) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        return process.wait()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _tell(state_file: Path, command: list[str]) -> None:
    """Writes how the node went, if this process is the one that knows: workers do not."""
    from tfx_pipeline.runners import workers

    if workers.is_follower():
        return
    ir = Path(command[2])
    node, run_id, runner = (_value(command, f"--{n}") for n in ("node", "run-id", "runner"))
    root = Path(json.loads(ir.read_text(encoding="utf-8"))["config"]["run"]["root"])
    record = json.loads((root / run_id / "run.json").read_text(encoding="utf-8"))
    state = _state(record["nodes"][node])
    if state == REFUSED and runner == "vertex":
        _skip_behind(ir, node, run_id, runner)
    state_file.parent.mkdir(parents=True, exist_ok=True)
    state_file.write_text(state, encoding="utf-8")


def _value(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def _state(node: dict[str, object]) -> str:
    """`refused` where a gate did not bless, else the node's state."""
    if node.get("outcome") == REFUSED:
        return REFUSED
    artifacts = node.get("artifacts")
    for found in artifacts.values() if isinstance(artifacts, dict) else ():
        if any(artifact["properties"].get("blessed") == 0 for artifact in found):
            return REFUSED
    return str(node["state"])


def _skip_behind(ir: Path, gate: str, run_id: str, runner: str) -> None:
    """Records the nodes behind a gate as skipped: Vertex will not start them to do it."""
    from tfx_pipeline.runners import placeholders

    placeholders.install()  # TFX without TensorFlow: nothing is executed here.
    from tfx_pipeline.runners import compiled as compiled_lib
    from tfx_pipeline.runners.lone_node import record_skipped
    from tfx_pipeline.runners.vertex import conditions

    compiled = compiled_lib.read(ir)
    record_skipped(compiled, run_id, conditions.behind(compiled.ir, gate), runner)


if __name__ == "__main__":
    from tfx_pipeline.errors import AssayError

    try:
        sys.exit(main(sys.argv[1:]))
    except AssayError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
