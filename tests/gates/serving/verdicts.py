"""A serving gate's verdict on seven candidates and a champion, as on the taxi data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tfx_pipeline.config.gates import GatesConfig
from tfx_pipeline.gates.serving.measured import BySlice, Estimate, Latency, Measured, Skew
from tfx_pipeline.gates.serving.verdict import ServingVerdict, judge
from trainer.compression.candidate import Candidate

ROWS = 3000
CASH, CARD, SMALL = "payment_type=Cash", "payment_type=Credit Card", "payment_type=Prcard"

GATES = GatesConfig.model_validate(
    {
        "quality": {
            "thresholds": [
                {"metric": "auc", "min": 0.9, "max_drop": 0.003, "max_regression": 0.01}
            ],
            "slices": [["payment_type"]],
        },
        "latency_p99_ms": {"max": 20, "max_ratio": 1.5},
        "size_bytes": {"max_ratio": 1.1, "max_ratio_champion": 1.2},
        "memory_mb": {"max": 200},
        "slices": {"max_drop": 0.01},
        "objective": "smallest",
    }
)

LADDER = [
    Candidate("float", "float"),
    Candidate("int8", "int8", "float", has_core=True, numbers="int8"),
    Candidate(
        "qat",
        "qat",
        "float",
        notes=("layer normalization_2 stays in float: TF-MOT has no quantizer for Normalization",),
        has_core=True,
        numbers="int8",
    ),
    Candidate("prune_80", "prune", "float", has_core=True),
    Candidate("prune_80_int8", "int8", "prune_80", has_core=True, numbers="int8"),
    Candidate("distill", "distill", "float", has_core=True),
    Candidate(
        "int16x8",
        "int16x8",
        "float",
        failed="the converter does not know int16x8 for GATHER (embedding company_xf)",
    ),
]

# auc, auc on Cash, p50 and p99 ratio, memory, bytes on disk, gzipped, served
_FIGURES: dict[str, tuple[float, float, float, float, float, int, int, int]] = {
    "float": (0.9471, 0.831, 1.0, 1.0, 31.2, 1_412_608, 812_300, 948_224),
    "int8": (0.9468, 0.830, 0.91, 0.96, 29.4, 1_655_120, 620_410, 246_992),
    "qat": (0.9465, 0.829, 0.93, 1.02, 29.9, 1_656_204, 633_020, 250_744),
    "prune_80": (0.9459, 0.827, 1.01, 1.03, 31.4, 1_412_760, 284_300, 949_100),
    "prune_80_int8": (0.9452, 0.825, 0.92, 0.97, 29.3, 1_655_210, 262_310, 247_010),
    "distill": (0.9446, 0.792, 0.88, 0.94, 28.1, 392_340, 214_050, 186_224),
    "champion": (0.9448, 0.828, 1.04, 1.06, 31.9, 1_420_101, 815_110, 951_330),
}


def measured() -> list[Measured]:
    """Everything that was measured, the champion last."""
    float_auc, champion_auc = _FIGURES["float"][:2], _FIGURES["champion"][:2]
    found = []
    for number, (name, figures) in enumerate(_FIGURES.items()):
        auc, cash, p50, p99, memory, disk, packed, served = figures
        found.append(
            Measured(
                name,
                quality=_by_slice(auc, cash, 0.005),
                to_float={} if name == "float" else _differences(auc, cash, float_auc),
                to_champion={} if name == "champion" else _differences(auc, cash, champion_auc),
                latency=Latency(
                    p50_ms=0.41 * p50,
                    p95_ms=0.6 * p50,
                    p99_ms=0.83 * p99,
                    p99_ratio=p99,
                    p50_ratio=p50,
                    rate=2410 / p50,
                    batch_ms=0.9 * p50,
                    batch_ratio=p50,
                ),
                load_seconds=0.2,
                memory_mb=memory,
                disk_bytes=disk,
                gzip_bytes=packed,
                served_bytes=served,
                skew=None if name == "champion" else Skew(3.1e-7, 1e-4),
                runs_core=name not in ("float", "champion"),
                predictions=_predictions(0.002 * number),
            )
        )
    unmade = Measured("int16x8", failed=LADDER[-1].failed)
    return [*found[:-1], unmade, found[-1]]


def labels() -> list[float]:
    """What is true of the rows."""
    return (np.random.default_rng(3).random(ROWS) < 0.3).astype(float).tolist()


def example(
    gates: GatesConfig = GATES, changed: dict[str, Measured] | None = None
) -> ServingVerdict:
    """The verdict: int8 ships, distill is refused on a slice, int16x8 was not made.

    Args:
        gates: Other budgets.
        changed: Name to what is measured of it instead.
    """
    found = [(changed or {}).get(one.name, one) for one in measured()]
    return judge(found, LADDER, gates, task="binary", labels=labels(), server="Assay's server")


def one(name: str, /, **changes: object) -> Measured:
    """One of `measured`, with some of its fields changed."""
    found = next(each for each in measured() if each.name == name)
    return replace(found, **changes)  # type: ignore[arg-type]


def _by_slice(auc: float, cash: float, spread: float) -> BySlice:
    return {
        "overall": {"auc": Estimate(auc, auc - spread, auc + spread, ROWS)},
        CASH: {"auc": Estimate(cash, cash - 4 * spread, cash + 4 * spread, 900)},
        CARD: {"auc": Estimate(auc + 0.01, auc, auc + 0.02, 2090)},
        SMALL: {"auc": Estimate(0.5, 0.2, 0.8, 10)},
    }


def _differences(auc: float, cash: float, other: tuple[float, ...]) -> BySlice:
    return {
        name: {"auc": Estimate(difference, difference - 0.0011, difference + 0.0009, rows)}
        for name, difference, rows in (
            ("overall", auc - other[0], ROWS),
            (CASH, cash - other[1], 900),
        )
    }


def _predictions(shift: float) -> list[float]:
    answers: list[float] = (np.random.default_rng(7).random(ROWS) + shift).clip(0, 1).tolist()
    return answers
