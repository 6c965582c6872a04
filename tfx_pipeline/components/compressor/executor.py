"""Executor of Compressor: from artifacts to `trainer.compression.run`, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, json_utils

KERAS_MODEL = "keras_model.h5"
"""What `trainer.run.run_fn` leaves in the ModelRun."""


class Executor(base_executor.BaseExecutor):  # type: ignore[misc]
    """Makes the candidates of one trained model."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the ladder.

        Args:
            input_dict: `examples` (transformed), `transform_graph`, `model_run`, perhaps
                `hyperparameters`.
            output_dict: `candidates`.
            exec_properties: `custom_config`, JSON; see the component.

        Raises:
            ConfigError, DataError, NodeFailed, StorageError: See `trainer.compression.run`.
        """
        from trainer.compression.run import compress

        examples = artifact_utils.get_single_instance(input_dict["examples"])
        splits = artifact_utils.decode_split_names(examples.split_names)
        compress(
            keras_model=Path(artifact_utils.get_single_uri(input_dict["model_run"])) / KERAS_MODEL,
            transform_graph=artifact_utils.get_single_uri(input_dict["transform_graph"]),
            train_files=_files(examples, "train"),
            val_files=_files(examples, "val") if "val" in splits else [],
            custom_config={
                **json_utils.loads(exec_properties["custom_config"]),
                "hyperparameters": _hyperparameters(input_dict),
            },
            folder=Path(artifact_utils.get_single_uri(output_dict["candidates"])),
        )


def _hyperparameters(input_dict: dict[str, list[types.Artifact]]) -> dict[str, Any] | None:
    """What the Tuner found, read as TFX's Trainer reads it."""
    if not input_dict.get("hyperparameters"):
        return None
    folder = artifact_utils.get_single_uri(input_dict["hyperparameters"])
    text = io_utils.read_string_file(io_utils.get_only_uri_in_dir(folder))
    found: dict[str, Any] = json.loads(text)
    return found


def _files(examples: types.Artifact, split: str) -> list[str]:
    return [io_utils.all_files_pattern(artifact_utils.get_split_uri([examples], split))]
