"""Measures every candidate as it will be served: one server process, one model after another."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from tfx_pipeline.errors import one_sentence
from tfx_pipeline.gates import measures
from tfx_pipeline.gates.same_answers import why_other_answers
from tfx_pipeline.gates.serving import footprint
from tfx_pipeline.gates.serving.latency import latency
from tfx_pipeline.gates.serving.measured import CHAMPION, Measured, Skew
from tfx_pipeline.gates.serving.quality import estimate
from tfx_pipeline.gates.serving.replay import replay
from tfx_pipeline.gates.serving.rows import HeldOut
from tfx_pipeline.gates.serving.servers import ModelServer, Servers
from tfx_pipeline.gates.serving.settings import Settings
from tfx_pipeline.gates.serving.skew import Reference, Trained, reference, skew
from trainer.compression.candidate import Candidate
from trainer.compression.config import FLOAT
from transform.label_config import Task

__all__ = ["CHAMPION", "measure"]

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]

_WARM, _AGAIN = "assay_warm_up", "assay_warm_up_again"
"""The float parent under other names, loaded and asked before anything is measured."""
_MB = 1e6
_ENDING_S = 0.3


def measure(
    ladder: Path,
    candidates: Sequence[Candidate],
    rows: HeldOut,
    task: Task,
    settings: Settings,
    trained: Trained,
    champion: Path | None = None,
    *,
    levels: Sequence[float] = (),
    log_file: Path | None = None,
    on_measured: Callable[[Measured], None] | None = None,
) -> list[Measured]:
    """Loads each candidate into the model server, asks it for all held-out rows, and measures.

    A candidate that cannot be made, loaded or asked is a row that says why; whatever it has done
    to the server, the next one meets a new one. No process is left behind.

    Args:
        ladder: Folder with one SavedModel folder for each candidate.
        candidates: The ladder's rows; one of them is `float`.
        rows: Held-out rows.
        task: What kind of label.
        settings: How long and how often.
        trained: What the trainer read and made, for the skew proof.
        champion: Folder of the version now in production; it may not load any more.
        levels: The quantiles of that task.
        log_file: Where the server's log goes; None: nowhere.
        on_measured: Is called after each candidate, before its quality is known.

    Returns:
        One for each candidate, in their order, and the champion's last where there is one.

    Raises:
        ServingError: The server does not start at all.
    """
    folders = {candidate.name: ladder / candidate.name for candidate in candidates}
    found = {c.name: Measured(c.name, failed=c.failed) for c in candidates if c.failed}
    if champion is not None:
        folders[CHAMPION] = champion
        reason = why_other_answers(folders[FLOAT], champion)
        if reason:
            found[CHAMPION] = Measured(CHAMPION, failed=f"not comparable: {reason}")
    # The parent first: every other one is measured beside it.
    order = sorted((name for name in folders if name not in found), key=lambda name: name != FLOAT)
    answers: dict[str, Array] = {}
    with Servers(settings, log_file) as servers:
        with ThreadPoolExecutor(1) as pool:  # It starts meanwhile.
            starting = pool.submit(servers.get)
            expected = _reference(trained, rows, settings)
            starting.result()
        for name in order:
            parent = folders[FLOAT] if name == FLOAT or FLOAT in answers else None
            gate = _Gate(rows, task, levels, settings, expected, parent)
            found[name] = _one(servers, name, folders[name], gate, answers)
            if on_measured is not None:
                on_measured(found[name])
    quality, differences = estimate(
        task,
        rows,
        answers,
        (FLOAT, CHAMPION),
        resamples=settings.resamples,
        seed=settings.seed,
        levels=levels,
    )
    return [
        replace(
            found[name],
            quality=quality.get(name, {}),
            to_float=differences.get((name, FLOAT), {}),
            to_champion=differences.get((name, CHAMPION), {}),
        )
        for name in folders
    ]


@dataclass(frozen=True)
class _Gate:
    """What the measurements of one candidate need; `parent`: the float model's folder, None where
    that could not be measured."""

    rows: HeldOut
    task: Task
    levels: Sequence[float]
    settings: Settings
    expected: Reference | str
    parent: Path | None


def _one(
    servers: Servers, name: str, folder: Path, gate: _Gate, answers: dict[str, Array]
) -> Measured:
    """One candidate; adds its predictions to `answers` where there are any."""
    server = servers.get()
    if len(server.models) > 1 and footprint.resident_bytes(server.pid) > gate.settings.memory_bytes:
        servers.drop()
        server = servers.get()
    try:
        measured, answers_of = _served(server, name, folder, gate)
    except Exception as error:
        # A connection breaks before the process that held it can be seen to have ended.
        time.sleep(_ENDING_S)
        reason = server.why_ended() or one_sentence(error)
        servers.drop()
        log.warning("%s could not be measured: %s", name, reason, exc_info=error)
        return Measured(name, failed=reason)
    answers[name] = answers_of
    return measured


def _served(server: ModelServer, name: str, folder: Path, gate: _Gate) -> tuple[Measured, Array]:
    settings, rows = gate.settings, gate.rows
    parent = _WARM if name == FLOAT else FLOAT
    with server.client() as client:
        if gate.parent is not None and not server.models:
            # The first is to find the process as the later ones do: with its heap grown.
            brief = replace(settings, pairs=1, latency_budget_ms=None)
            for warm in (_AGAIN, parent):
                server.load(warm, gate.parent)
                replay(client, warm, rows.serialized, settings.replay_batch)
                latency(client, warm, warm, rows.serialized, brief)
        before = footprint.resident_bytes(server.pid)
        seconds = server.load(name, folder)
        replay(client, name, rows.serialized[: settings.large_batch], settings.large_batch)
        grown = footprint.resident_bytes(server.pid) - before
        predictions = replay(client, name, rows.serialized, settings.replay_batch)
        # Is it of the task?
        measures.summarise(gate.task, rows.labels[:1], predictions[:1], gate.levels)
        beside = FLOAT if gate.parent is not None else name
        speed = latency(client, name, beside, rows.serialized, settings)
    if gate.parent is None:
        speed = replace(speed, p50_ratio=math.nan, p99_ratio=math.nan, batch_ratio=math.nan)
    runs_core = server.is_ours and footprint.has_core(folder)
    measured = Measured(
        name=name,
        latency=speed,
        load_seconds=seconds,
        memory_mb=max(0, grown) / _MB,
        disk_bytes=footprint.disk_bytes(folder),
        gzip_bytes=footprint.gzip_bytes(folder),
        served_bytes=footprint.served_bytes(folder, runs_core=runs_core),
        skew=None if name == CHAMPION else _skew(name, folder, predictions, gate, runs_core),
        runs_core=runs_core,
        predictions=predictions,
    )
    return measured, predictions


def _reference(trained: Trained, rows: HeldOut, settings: Settings) -> Reference | str:
    """The first way of the skew proof, or why there is none: then none is proven."""
    try:
        return reference(
            trained, rows.serialized, rows=settings.skew_rows, tolerance=settings.tolerance
        )
    except Exception as error:
        log.exception("the skew proof's first way")
        return one_sentence(error)


def _skew(name: str, folder: Path, served: Array, gate: _Gate, runs_core: bool) -> Skew:
    expected = gate.expected
    if isinstance(expected, str):
        return Skew(math.nan, gate.settings.tolerance, detail=expected)
    try:
        return skew(folder, served, expected, is_float=name == FLOAT, runs_core=runs_core)
    except Exception as error:
        log.exception("the skew proof of %s", name)
        return Skew(math.nan, gate.settings.tolerance, detail=one_sentence(error))
