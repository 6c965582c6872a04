"""The `train` section of `pipeline.yaml`. Pydantic only, no TensorFlow."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from trainer.losses_config import ClassWeights, FocalConfig
from trainer.models.config import ModelConfig as ModelConfig
from trainer.optimizers.config import (
    ClipConfig,
    Optimizer,
    OptimizerConfig,
    Schedule,
    ScheduleConfig,
)
from trainer.regularize.config import AdversarialConfig, CutoutConfig
from transform.augment.config import AugmentConfig
from transform.section import FieldError, Section


class EarlyStopping(Section):
    """Stop when the validation split no longer improves, and keep the best weights."""

    patience_epochs: int = Field(3, ge=1, description="Epochs without improvement to wait.")
    min_delta: float = Field(0.0, ge=0, description="Smallest gain that counts.")


class TrainConfig(Section):
    """How the network is trained."""

    steps: int = Field(1000, ge=1, description="Optimizer steps in all.")
    steps_per_epoch: int = Field(
        200, ge=1, description="Steps between two validations and checkpoints."
    )
    batch_size: int = Field(
        128, ge=1, description="Rows a step: over all replicas, or of each one with `scale`."
    )
    learning_rate: float = Field(
        1e-3,
        gt=0,
        description="Learning rate; with a schedule its peak. `assay lr-range` finds it.",
    )
    scale: Literal["none", "linear", "sqrt"] = Field(
        "none",
        description="What several replicas change. `none`: nothing. Else batch_size and "
        "learning_rate are one replica's: the global batch is batch_size times the replicas, and "
        "the rate grows with them (`linear`) or with their square root (`sqrt`).",
    )
    optimizer: Optimizer = Field(
        OptimizerConfig(), description="The optimizer's name, or its name and settings."
    )
    schedule: Schedule = Field(
        ScheduleConfig(),
        description="How the learning rate changes: a schedule's name, or its name and settings.",
    )
    clip: ClipConfig | None = Field(None, description="Bound the gradients; empty: do not.")
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of the average that a step keeps (0.999): weights averaged over the "
        "steps are what is validated, kept and exported. Empty: the weights themselves.",
    )
    accumulate_steps: int = Field(
        1,
        ge=1,
        description="Parts that a batch is worked off in, one after the other, for a batch that "
        "does not fit in memory; the step is the whole batch's.",
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "float32",
        description="What layers compute in; weights stay float32, and so does the exported model.",
    )
    jit_compile: bool = Field(False, description="Compile the training step with XLA.")
    l1: float = Field(0.0, ge=0, description="L1 penalty on dense kernels.")
    l2: float = Field(0.0, ge=0, description="L2 penalty on dense kernels.")
    mixup: float | None = Field(
        None,
        ge=0.05,
        le=10,
        description="Train on mixtures of two rows and their labels, of shares drawn from "
        "Beta(mixup, mixup) (arXiv:1710.09412); 0.2 is usual. Empty: on rows as they are.",
    )
    cutout: CutoutConfig | None = Field(None, description="Black out a part of training images.")
    adversarial: AdversarialConfig | None = Field(
        None, description="Train on attacked rows as well, and report the robust accuracy."
    )
    augment: AugmentConfig | None = Field(
        None, description="Random changes of the training rows, seeded; never when serving."
    )
    loss: Literal["auto", "focal"] = Field(
        "auto",
        description="`auto`: cross entropy, squared error for a number, pinball loss for "
        "quantiles. `focal`: rows that are answered right count less (arXiv:1708.02002).",
    )
    focal: FocalConfig = Field(FocalConfig(), description="For `loss: focal`.")
    class_weights: ClassWeights = Field(
        None,
        description="Weight of a row by its class: `balanced` (each class counts alike in all), or "
        "{class: weight}, 1 where none is given; scaled to mean 1 over the training rows.",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of a label that is spread over all classes."
    )
    calibrate: Literal["none", "temperature", "platt"] = Field(
        "none",
        description="Fit probabilities to the validation split: scale the logits, or scale and "
        "shift those of a binary label, or of each class of a multilabel by itself. It costs "
        "nothing when serving.",
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="Stop early on the validation split; empty: train all steps."
    )
    seed: int = Field(17, ge=0, description="Seed of weights, shuffling and dropout.")
    strategy: Literal["auto", "mirrored", "default", "tpu", "multi_worker", "horovod"] = Field(
        "mirrored",
        description="Distribution strategy. `auto`: mirrored with two or more GPUs, else default.",
    )
    join_timeout_seconds: int = Field(
        300, ge=1, description="With multi_worker: how long to wait for the other workers."
    )
    logical_cpus: int = Field(
        0, ge=0, le=64, description="Split the CPU into this many logical replicas; 0: do not."
    )
    cache_max_mb: int = Field(
        1024,
        ge=0,
        description="Hold the parsed rows of a split in memory up to this many megabytes; a "
        "larger split is streamed from disk.",
    )
    keep: Literal["last", "best"] | None = Field(
        None,
        description="Which weights are kept; empty: the best with early stopping, else the last.",
    )
    best_metric: Literal["val_loss", "val_accuracy", "val_auc"] = Field(
        "val_loss", description="What epochs are compared by, for `keep` and early stopping."
    )
    checkpoints_to_keep: int = Field(
        1, ge=1, description="Latest checkpoints on disk. Those of the best weights come on top."
    )
    tensorboard: bool | Literal["scalars", "full"] = Field(
        True,
        description="Logs for TensorBoard beside the model: scalars (true), with `full` also "
        "histograms of the weights and the graph.",
    )
    profile_steps: int = Field(
        0, ge=0, description="Steps to profile, for TensorBoard; `assay run --profile` sets it."
    )
    run_fn: str = Field(
        "trainer.run.run_fn", description="TFX run_fn: import path or file.py:function."
    )

    @model_validator(mode="after")
    def _parts_fill_the_batch(self) -> TrainConfig:
        replicas = max(1, self.logical_cpus) if self.scale == "none" else 1
        parts = self.accumulate_steps * replicas
        if self.accumulate_steps > 1 and self.batch_size % parts:
            raise FieldError(
                f"batch_size {self.batch_size} does not divide into {self.accumulate_steps} equal "
                f"parts on each of {replicas} replicas; make it a multiple of {parts}",
                "accumulate_steps",
            )
        return self

    @model_validator(mode="after")
    def _fits_the_steps(self) -> TrainConfig:
        if self.schedule.warmup_steps >= self.steps and self.schedule.warmup_steps:
            raise FieldError(
                f"warmup_steps {self.schedule.warmup_steps} leave none of the {self.steps} steps "
                "for training",
                "schedule",
                "warmup_steps",
            )
        return self

    @model_validator(mode="after")
    def _xla_has_one_replica(self) -> TrainConfig:
        if self.jit_compile and self.logical_cpus > 1 and self.strategy == "mirrored":
            raise FieldError(
                "XLA does not compile a step of several replicas; drop it, or set "
                "`strategy: default`",
                "jit_compile",
            )
        return self

    @model_validator(mode="after")
    def _replicas_share_the_batch(self) -> TrainConfig:
        if self.scale == "none" and self.logical_cpus and self.batch_size % self.logical_cpus:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of logical_cpus "
                f"{self.logical_cpus}: every replica takes an equal share of each step"
            )
        return self
