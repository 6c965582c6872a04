"""The `compress` section of `pipeline.yaml`: which candidates to make. Pydantic only."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, model_validator

from transform.config import Section

FLOAT = "float"
"""The name of the trained float model, which every ladder starts with."""


class _Candidate(Section):
    """What every candidate has."""

    name: str = Field(
        "",
        pattern=r"^([a-z0-9][a-z0-9_]*)?$",
        description="Name in tables and folders; empty: made of the method and its numbers.",
    )
    of: str = Field(FLOAT, description="The candidate whose weights it starts from.")
    steps: int = Field(300, ge=0, description="Optimizer steps of its own fine-tuning.")
    learning_rate: float = Field(1e-3, gt=0, description="Adam's learning rate in fine-tuning.")


class PruneConfig(_Candidate):
    """Magnitude pruning: the smallest weights become zero and stay zero (TF-MOT)."""

    method: Literal["prune"] = Field("prune", description="Magnitude pruning.")
    sparsity: float = Field(
        0.8, ge=0.5, le=0.95, description="Share of zeros in each pruned kernel."
    )
    schedule: Literal["polynomial", "constant"] = Field(
        "polynomial", description="Rise to `sparsity` over the steps, or be there from the first."
    )
    pattern: Literal["any", "2:4", "block"] = Field(
        "any",
        description="`2:4`: two zeros in every four weights (`sparsity` does not count); `block`: "
        "whole blocks of `block_size` become zero.",
    )
    block_size: tuple[int, int] = Field((4, 1), description="Rows and columns of a block.")


class ClusterConfig(_Candidate):
    """Weight clustering: each kernel has at most `clusters` distinct values (TF-MOT)."""

    method: Literal["cluster"] = Field("cluster", description="Weight clustering.")
    clusters: int = Field(16, ge=2, le=256, description="Distinct values of each kernel.")


class QatConfig(_Candidate):
    """Quantization-aware training to int8, of every layer that can (TF-MOT)."""

    method: Literal["qat"] = Field("qat", description="Quantization-aware training.")
    layers: list[str] = Field([], description="Only these layers; empty: every one that can.")


class CollaborativeConfig(_Candidate):
    """Pruning, clustering or both, kept through quantization-aware training (TF-MOT)."""

    method: Literal["prune_qat", "cluster_qat", "prune_cluster_qat"] = Field(
        "prune_qat", description="What comes before quantization-aware training and is preserved."
    )
    sparsity: float = Field(0.8, ge=0.5, le=0.95, description="Share of zeros, where it prunes.")
    clusters: int = Field(16, ge=2, le=256, description="Distinct values, where it clusters.")


class PostTrainingConfig(_Candidate):
    """Quantization of a trained model, without training (TFLite)."""

    method: Literal["int8", "dynamic_range", "float16", "int16x8"] = Field(
        "int8", description="The numbers that weights and activations become."
    )
    representative_rows: int = Field(
        500, ge=1, description="Training rows that show the range of the activations."
    )


class DistillConfig(_Candidate):
    """A smaller student that learns from the model's answers (Hinton et al., 2015)."""

    method: Literal["distill"] = Field("distill", description="Distillation.")
    hidden_units: list[int] = Field(
        [], description="The student's layers, in units; empty: a quarter of the teacher's."
    )
    temperature: float = Field(2.0, ge=1, description="Softens the teacher's probabilities.")
    alpha: float = Field(
        0.5, ge=0, le=1, description="Weight of the true labels; the teacher has the rest."
    )
    targets: Literal["soft", "hard"] = Field(
        "soft", description="What the teacher teaches: its probabilities, or its choice."
    )
    steps: int = Field(1000, ge=1, description="Optimizer steps of the student's training.")


CandidateConfig: TypeAlias = Annotated[
    PruneConfig
    | ClusterConfig
    | QatConfig
    | CollaborativeConfig
    | PostTrainingConfig
    | DistillConfig,
    Field(discriminator="method"),
]


def _shape(value: Any) -> str:
    return "listed" if isinstance(value, list) else "auto"


# Which of the two is meant shows at once, so that an error is told of that one alone.
Candidates: TypeAlias = Annotated[
    Annotated[Literal["auto"], Tag("auto")] | Annotated[list[CandidateConfig], Tag("listed")],
    Discriminator(_shape),
]


class CompressConfig(Section):
    """The compression ladder. `compress: auto` picks one that suits the model."""

    candidates: Candidates = Field(
        "auto", description="What to make of the float model, or `auto`."
    )
    tolerance: float = Field(
        1e-3,
        gt=0,
        description="Largest difference of a converted float core's outputs to its source's on "
        "real rows, relative to their spread; quantized ones may differ 250 times as much.",
    )
    seed: int = Field(17, ge=0, description="Seed of fine-tuning and of students.")

    @model_validator(mode="before")
    @classmethod
    def _auto(cls, value: Any) -> Any:
        return {"candidates": "auto"} if value == "auto" else value
