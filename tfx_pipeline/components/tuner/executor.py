"""TFX's Tuner executor, whose search works in the folder of its results."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.components.tuner import executor as stock
from tfx.types import artifact_utils, standard_component_specs


class Executor(stock.Executor):  # type: ignore[misc]
    """Same inputs, outputs and parameters as TFX's executor.

    TFX gives `tuner_fn` a temporary folder, which is another one in every execution. The folder of
    an output is still there after a kill, for the execution that goes on; and the table of trials
    belongs with the results.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Searches, and writes the best hyperparameters and TFX's results.

        Raises:
            ConfigError, DataError, NodeFailed, StorageError: See `trainer.tuning`.
        """
        results = output_dict[standard_component_specs.TUNER_RESULTS_KEY]
        folder = artifact_utils.get_single_uri(results)
        tuner = stock.search(input_dict, exec_properties, folder, print_tuning_summary=False)
        stock.write_best_hyperparameters(tuner, output_dict)
