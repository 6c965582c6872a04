"""Which candidates to make, by what name and in what order: each after the one it starts from."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

from tfx_pipeline.errors import ConfigError
from trainer.compression.candidate import Numbers
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

if TYPE_CHECKING:
    import tf_keras

    from trainer.config import ModelConfig

_FIELD = "compress.candidates"
_TAKEN = {FLOAT: "the trained model", "champion": "the model in production, in the verdict"}

# Below this many weights there is nothing to prune: the file is mostly its graph.
_PRUNE_MIN_WEIGHTS = 1000
_KERNELS = ("Dense", "Conv2D", "DepthwiseConv2D", "SeparableConv2D")


def plan(
    config: CompressConfig, parent: tf_keras.Model, model: ModelConfig
) -> list[CandidateConfig]:
    """The candidates of a ladder.

    Args:
        config: The `compress` section.
        parent: The trained float model, which `auto` looks at.
        model: The `model` section, which says whether `auto` can make a student.

    Returns:
        Candidates with unique names, each behind the one that its `of` names.

    Raises:
        ConfigError: As `ordered`.
    """
    chosen = auto(parent, model) if config.candidates == "auto" else config.candidates
    return ordered(chosen)


def auto(parent: tf_keras.Model, model: ModelConfig) -> list[CandidateConfig]:
    """A small ladder that suits the model: what is nearly free, and one of each kind that pays.

    int8 after training always; quantization-aware training where most of the weights are in layers
    that it takes; pruning, alone and then quantized, where there is something to prune; and a
    student, also as int8, of a network that `hidden_units` shape.
    """
    kernels = sum(
        layer.count_params() for layer in parent.layers if type(layer).__name__ in _KERNELS
    )
    chosen: list[CandidateConfig] = [PostTrainingConfig(method="int8")]
    if 2 * kernels > parent.count_params():
        chosen.append(QatConfig())
    if kernels >= _PRUNE_MIN_WEIGHTS:
        pruned = PruneConfig()
        chosen += [pruned, PostTrainingConfig(method="int8", of=default_name(pruned))]
    if model.hidden_units_shape_it and max(model.hidden_units) >= 8:
        student = DistillConfig()
        chosen += [student, PostTrainingConfig(method="int8", of=default_name(student))]
    return chosen


def ordered(candidates: Sequence[CandidateConfig]) -> list[CandidateConfig]:
    """Names every candidate, and puts each behind the one it starts from.

    Otherwise the given order is kept. This looks at the config alone, so a check of it can call
    this before anything has run.

    Raises:
        ConfigError: Two candidates of one name, one of a name that is taken, an unknown `of`, a
            circle of them, or a candidate of one whose weights are another's.
    """
    named = {}
    names = [candidate.name or default_name(candidate) for candidate in candidates]
    for index, (name, candidate) in enumerate(zip(names, candidates, strict=True)):
        where = f"{_FIELD}[{index}]"
        if name in _TAKEN:
            raise ConfigError(
                f"no candidate may be named {name!r}: that is {_TAKEN[name]}",
                where=where,
                hint="Choose another `name`.",
            )
        if name in named:
            raise ConfigError(
                f"{Counter(names)[name]} candidates are named {name!r}",
                where=where,
                hint="Give all but one of them a `name`.",
            )
        named[name] = candidate.model_copy(update={"name": name})
    for index, candidate in enumerate(named.values()):
        _check_parent(candidate, named, f"{_FIELD}[{index}].of")
    done: dict[str, CandidateConfig] = {}
    while len(done) < len(named):
        ready = [c for c in named.values() if c.name not in done and c.of in (FLOAT, *done)]
        if not ready:
            circle = ", ".join(name for name in named if name not in done)
            raise ConfigError(
                f"these candidates start from each other: {circle}",
                where=_FIELD,
                hint=f"Let one of them start `of: {FLOAT}`.",
            )
        done[ready[0].name] = ready[0]
    return list(done.values())


def default_name(candidate: CandidateConfig) -> str:
    """The method and its numbers, as in `prune_80` or `student_int8`; behind the name of the
    candidate it starts from, but for `float`."""
    own = _own_name(candidate)
    return own if candidate.of == FLOAT else f"{candidate.of}_{own}"


def _own_name(candidate: CandidateConfig) -> str:
    match candidate:
        case PruneConfig(pattern="2:4"):
            return "prune_2x4"
        case PruneConfig(pattern="block"):
            return f"prune_block_{_percent(candidate.sparsity)}"
        case PruneConfig():
            return f"prune_{_percent(candidate.sparsity)}"
        case ClusterConfig():
            return f"cluster_{candidate.clusters}"
        case CollaborativeConfig():
            numbers = {"prune": _percent(candidate.sparsity), "cluster": str(candidate.clusters)}
            parts = candidate.method.split("_")
            return "_".join(
                f"{part}_{numbers[part]}" if part in numbers else part for part in parts
            )
        case DistillConfig():
            return "student"
        case _:
            return candidate.method


def _percent(share: float) -> str:
    return f"{100 * share:g}".replace(".", "_")


def _check_parent(
    candidate: CandidateConfig, named: dict[str, CandidateConfig], where: str
) -> None:
    if candidate.of == FLOAT:
        return
    if candidate.of not in named:
        close = difflib.get_close_matches(candidate.of, named, n=1)
        known = ", ".join([FLOAT, *named])
        raise ConfigError(
            f"{candidate.name!r} starts from {candidate.of!r}, and there is no such candidate",
            where=where,
            hint=f"Did you mean {close[0]!r}?" if close else f"There are: {known}.",
        )
    parent = named[candidate.of]
    if parent.of == candidate.name:
        return  # A circle, which is told as one.
    if parent.method in get_args(Numbers):
        raise ConfigError(
            f"{candidate.name!r} starts from {parent.name!r}, whose weights are still those of "
            f"{parent.of!r}: {parent.method} changes only the numbers of its core",
            where=where,
            hint=f"Write `of: {parent.of}`.",
        )
    if isinstance(parent, QatConfig | CollaborativeConfig) and candidate.method != "distill":
        raise ConfigError(
            f"{candidate.name!r} starts from {parent.name!r}, which is trained for int8 already: "
            "TF-MOT does not compress such a model again",
            where=where,
            hint=f"Write `of: {parent.of}`, or prune and cluster by the methods prune_qat, "
            "cluster_qat and prune_cluster_qat.",
        )
