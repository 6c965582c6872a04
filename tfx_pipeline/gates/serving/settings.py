"""How long, how often and on how many rows the serving gate measures."""

from __future__ import annotations

from dataclasses import dataclass

from tfx_pipeline.config.gates import GatesConfig


@dataclass(frozen=True)
class Settings:
    """Of one gate. The defaults measure six candidates of a small model in about 20 s.

    Attributes:
        binary: The model server: a path, `""` for our own, None for the `tensorflow_model_server`
            on the PATH where there is one, else our own.
        start_timeout_s: How long the server may take to start.
        load_timeout_s: How long it may take to load a model.
        request_timeout_s: How long it may take to answer one request.
        memory_bytes: Resident memory beyond which a new server is started for the next candidate.
        replay_batch: Rows a request when all held-out rows are asked for.
        pairs: How often parent and candidate are measured in turn.
        block_s: Seconds of one-row requests in each such turn.
        large_batch: Rows of the larger request whose latency is measured.
        rate_trial_s: Seconds of each rate that is tried.
        rate_connections: Requests under way at the same time, at most, at that rate.
        latency_budget_ms: p99 that the highest rate is looked for within; None: no budget.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        tolerance: Largest difference between two ways to the same prediction, absolute for a
            probability, of a regression relative to the value or the spread of the float
            model's answers, whichever is more, where that is over 1; and between two values of
            a transformed feature, relative to it where it is over 1.
        skew_rows: On so many rows the ways are compared.
    """

    binary: str | None = None
    start_timeout_s: float = 60.0
    load_timeout_s: float = 60.0
    request_timeout_s: float = 20.0
    memory_bytes: int = 4_000_000_000
    replay_batch: int = 512
    pairs: int = 7
    block_s: float = 0.08
    large_batch: int = 32
    rate_trial_s: float = 0.08
    rate_connections: int = 8
    latency_budget_ms: float | None = None
    resamples: int = 500
    seed: int = 17
    tolerance: float = 1e-4
    skew_rows: int = 1000


def settings_of(gates: GatesConfig, start_timeout_s: float) -> Settings:
    """What the config says of them; the rest is ours.

    Args:
        gates: The section.
        start_timeout_s: How long the server may take to start.
    """
    return Settings(
        start_timeout_s=start_timeout_s,
        load_timeout_s=gates.measure.load_timeout_seconds,
        request_timeout_s=gates.measure.request_timeout_seconds,
        latency_budget_ms=gates.latency_p99_ms.max if gates.latency_p99_ms else None,
        tolerance=gates.skew.tolerance if gates.skew else Settings.tolerance,
    )
