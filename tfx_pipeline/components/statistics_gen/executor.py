"""TFX's StatisticsGen executor; on `LocalRunner`, it goes on from what earlier runs computed.

Beside the statistics lies `accumulators/`: what TFDV's combiners took in of each shard, one file
each, named by the shard's bytes and the combiners (`runners.beam.local.accumulators`). A later
run finds them in the folders of earlier ones. No lineage is asked: this is a cache of a pure
function. Other runners compute all anew, as does `run.cache: false`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.statistics_gen import executor as stock
from tfx.types import artifact_utils, standard_component_specs

from tfx_pipeline.components.earlier import KNOWN_PROPERTY, earlier_outputs, may_reuse
from tfx_pipeline.runners.beam.local.accumulators import sweep
from tfx_pipeline.runners.beam.local.options import LocalOptions
from tfx_pipeline.runners.beam.local.runner import LocalRunner

FOLDER = "accumulators"
_log = logging.getLogger(__name__)


class Executor(stock.Executor):  # type: ignore[misc]
    """Drop-in for TFX's executor: same inputs, outputs and exec properties."""

    _folder: Path | None = None
    _pipeline: Any = None

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Computes the statistics, and says how many shards were known."""
        statistics = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.STATISTICS_KEY]
        )
        self._folder = own_folder(statistics.uri) if is_pure(exec_properties) else None
        if self._folder is not None:
            sweep(self._folder)
        super().Do(input_dict, output_dict, exec_properties)
        result = self._pipeline.result
        if getattr(result, "files", 0):
            known = f"{result.known:,} of {result.files:,} shards"
            _log.info("statistics: %s were known from an earlier run", known)
            if result.known:
                statistics.set_string_custom_property(KNOWN_PROPERTY, f"{known} known")

    def _make_beam_pipeline(self) -> Any:
        self._pipeline = super()._make_beam_pipeline()
        if self._folder is not None and isinstance(self._pipeline.runner, LocalRunner):
            options = self._pipeline.options.view_as(LocalOptions)
            options.accumulators = str(self._folder)
            # Its own folder, too: a run that was killed here may have left some.
            if may_reuse(self._context):
                others = [path / FOLDER for path in earlier_outputs(str(self._folder.parent))]
                folders = [self._folder, *(path for path in others if path.is_dir())]
                options.earlier_accumulators = [str(folder) for folder in folders]
        return self._pipeline


def is_pure(exec_properties: dict[str, Any]) -> bool:
    """Whether statistics follow from the shards and the options alone: not from random samples of
    rows, nor from files that the options name."""
    if exec_properties.get(standard_component_specs.SAMPLE_RATE_BY_SPLIT_KEY) not in (
        None,
        "null",
        "{}",
    ):
        return False
    from tensorflow_data_validation.statistics.stats_options import StatsOptions  # After tfx.

    given = exec_properties.get(standard_component_specs.STATS_OPTIONS_JSON_KEY)
    if not given:
        return True
    options = StatsOptions.from_json(given)
    sampled = options.sample_rate is not None or (
        options.enable_semantic_domain_stats
        and options.semantic_domain_stats_sample_rate is not None
    )
    return not sampled and not options.vocab_paths


def own_folder(uri: str) -> Path | None:
    """Where an artifact keeps accumulators; None where it is not on a disk of this machine."""
    return None if "://" in uri else Path(uri) / FOLDER
