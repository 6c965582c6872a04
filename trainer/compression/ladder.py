"""The ladder: every candidate made, converted and written, or a row that says why there is none."""

from __future__ import annotations

import errno
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import tensorflow as tf
import tf_keras

from tfx_pipeline.errors import (
    AssayError,
    StorageError,
    one_sentence,
    storage_error,
    storage_errors,
)
from trainer.compression import plan
from trainer.compression.candidate import Candidate, Compressed, write_index
from trainer.compression.config import (
    FLOAT,
    CandidateConfig,
    ClusterConfig,
    CollaborativeConfig,
    CompressConfig,
    DistillConfig,
    PostTrainingConfig,
    PruneConfig,
    QatConfig,
)
from trainer.compression.context import Context
from trainer.compression.convert import Core, convert
from trainer.compression.effects import effects
from trainer.compression.pair import export_candidate

log = logging.getLogger(__name__)

OnCandidate = Callable[[Candidate, int, int], None]


def make_ladder(
    parent: tf_keras.Model,
    config: CompressConfig,
    context: Context,
    folder: Path,
    on_candidate: OnCandidate | None = None,
) -> list[Candidate]:
    """Makes the float candidate and every one that is planned, each in a folder of its name.

    A candidate that cannot be made is a row with the reason, and so is each that starts from it;
    the log has the traceback. One of int8 or other small numbers is its core, and fails without;
    one of float32 is written without a core where that does not convert, and a note says why.
    The index is written anew after every candidate, so that a run that is killed leaves one.

    Args:
        parent: The trained model, which stays as it is.
        config: The `compress` section.
        context: Rows, transform graph (required here), label, strategy.
        folder: Is made; what it holds under the names of candidates is replaced.
        on_candidate: Called with each row, how many there are now, and how many there will be.

    Returns:
        The rows, as in `candidates.json`: `float` first, then in the order of the plan.

    Raises:
        ConfigError: The plan cannot be (see `plan.ordered`).
        StorageError: The disk is full, or the folder cannot be written.
    """
    planned = plan.plan(config, parent, context.model)
    made = _Made(sources={FLOAT: Compressed(parent)})
    with storage_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    for index, candidate in enumerate([None, *planned]):
        row = _make(candidate, made, context, folder)
        made.rows.append(row)
        needed = {later.of for later in planned[index:]}
        made.sources = {name: made.sources[name] for name in made.sources.keys() & needed}
        with storage_errors(str(folder)):
            write_index(made.rows, folder)
        if on_candidate is not None:
            on_candidate(row, len(made.rows), len(planned) + 1)
    return made.rows


@dataclass
class _Made:
    """What there is so far.

    Attributes:
        sources: By name, what later candidates start from; no others, for the memory they take.
        failures: By name of a candidate that failed: which one is at fault, and why.
        rows: The ladder's.
    """

    sources: dict[str, Compressed]
    failures: dict[str, str] = field(default_factory=dict)
    rows: list[Candidate] = field(default_factory=list)


def _make(config: CandidateConfig | None, made: _Made, context: Context, folder: Path) -> Candidate:
    """One row, and its source for later ones; `config` is None for the trained model."""
    started = time.perf_counter()
    row = Candidate(FLOAT, FLOAT)
    if config is not None:
        row = Candidate(config.name, config.method, of=config.of)
    target = folder / row.name
    shutil.rmtree(target, ignore_errors=True)
    if row.of in made.failures:
        made.failures[row.name] = made.failures[row.of]
        return replace(row, failed=f"it starts from one that failed: {made.failures[row.of]}")
    try:
        if config is not None:
            made.sources[row.name] = _compress(config, made.sources[config.of], context)
        row = _write(row, made.sources[row.name], _rows_of(config), context, target)
    except Exception as error:
        if (full := _disk_full(error, target)) is not None:
            raise full from error
        log.warning("candidate %s failed", row.name, exc_info=True)
        row = replace(row, failed=one_sentence(error))
        if config is not None:  # The trained model is there, even if it cannot be exported.
            made.failures[row.name] = f"{row.name}: {row.failed}"
    return replace(row, seconds=time.perf_counter() - started)


def _compress(config: CandidateConfig, parent: Compressed, context: Context) -> Compressed:
    """Runs the candidate's method. Imported late: TF-MOT takes a second."""
    match config:
        case PostTrainingConfig():
            return Compressed(parent.model, config.method)
        case PruneConfig():
            from trainer.compression.prune import prune

            return prune(parent.model, config, context)
        case ClusterConfig():
            from trainer.compression.cluster import cluster

            return cluster(parent.model, config, context)
        case DistillConfig():
            from trainer.compression.distill import distill

            return distill(parent.model, config, context)
        case QatConfig():
            from trainer.compression.quantize_aware import qat

            return qat(parent.model, config, context)
        case CollaborativeConfig():
            from trainer.compression.quantize_aware import collaborate

            return collaborate(parent.model, config, context)


def _rows_of(config: CandidateConfig | None) -> int | None:
    return config.representative_rows if isinstance(config, PostTrainingConfig) else None


def _write(
    row: Candidate,
    compressed: Compressed,
    representative_rows: int | None,
    context: Context,
    target: Path,
) -> Candidate:
    """Converts a candidate, writes its folder and measures it."""
    notes = list(compressed.notes)
    core: Core | None = None
    try:
        core = convert(compressed, context, representative_rows)
        notes += core.notes
    except AssayError as error:
        if compressed.numbers != "float32":
            raise
        log.warning("candidate %s has no core", row.name, exc_info=True)
        notes.append(f"no core: {one_sentence(error)}")
    content = core.content if core is not None else None
    notes += export_candidate(compressed, content, context, target)
    return replace(
        row,
        notes=tuple(notes),
        has_core=core is not None,
        numbers=compressed.numbers,
        effects=effects(compressed.model, content),
        max_difference=core.max_difference if core is not None else None,
    )


def _disk_full(error: BaseException, target: Path) -> StorageError | None:
    """The refusal to write that is behind an error, as Python or as TensorFlow words it.

    It ends the run: the candidates that follow would fail of it, too.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, StorageError):
            return cause
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return storage_error(cause, str(target))
        if isinstance(cause, tf.errors.ResourceExhaustedError) and "No space" in str(cause):
            return storage_error(OSError(errno.ENOSPC, str(cause)), str(target))
        cause = cause.__cause__
    return None
