"""Executor of Evaluator: runs TFMA, judges what it measured, and blesses accordingly."""

from __future__ import annotations

import dataclasses
import logging
import os
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.slicer import slicer_lib
from tfx import types
from tfx.components.evaluator import constants, executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, path_utils

from tfx_pipeline.config.gates import QualityGateConfig
from tfx_pipeline.errors import StorageError, Transient
from tfx_pipeline.gates.quality import Metrics, judge, slice_name
from tfx_pipeline.gates.same_answers import why_other_answers
from tfx_pipeline.gates.same_split import SPLIT_BY_PROPERTY, why_not_comparable
from tfx_pipeline.gates.verdict import OVERALL, Check, Verdict, write_verdict
from tfx_pipeline.runners.explain import explain

log = logging.getLogger(__name__)

GATE_KEY = "quality_gate"
BASELINE_BLESSING_KEY = "baseline_blessing"

_EXTRACTORS_MODULE = "tfx_pipeline.gates.tfma_metrics"
_KEYS = standard_component_specs


class Executor(executor.Executor):  # type: ignore[misc]
    """The stock executor with faster extractors; the blessing follows our verdict."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluates, then writes verdict.json and BLESSED or NOT_BLESSED beside each other.

        Args:
            input_dict: As in the stock executor, and `baseline_blessing`; that and
                `baseline_model` may be empty lists.
            output_dict: As in the stock executor.
            exec_properties: The stock ones and `quality_gate`, the JSON of QualityGateConfig.

        Raises:
            StorageError: The verdict cannot be written.
            Exception: The candidate cannot be measured, or the machine is at fault.
        """
        properties = {**exec_properties, _KEYS.MODULE_PATH_KEY: _EXTRACTORS_MODULE}
        gate = QualityGateConfig.model_validate_json(exec_properties[GATE_KEY])
        model = artifact_utils.get_single_instance(input_dict[_KEYS.MODEL_KEY])
        baseline = next(iter(input_dict.get(_KEYS.BASELINE_MODEL_KEY) or []), None)
        evaluation = artifact_utils.get_single_uri(output_dict[_KEYS.EVALUATION_KEY])
        split_by = _split_by(input_dict[_KEYS.EXAMPLES_KEY])
        broken = ""
        if baseline is not None:
            before = _split_by(input_dict.get(BASELINE_BLESSING_KEY))
            broken = _not_comparable(model, baseline, split_by, before)
        inputs = {**input_dict, _KEYS.BASELINE_MODEL_KEY: []} if broken else input_dict
        try:
            super().Do(inputs, output_dict, properties)
        except Exception as error:
            if baseline is None or broken or _is_the_machines(error, evaluation):
                raise
            # A column that the last blessed model reads may be gone: then that one cannot be
            # measured, but the candidate can. If it fails too, the fault is the candidate's.
            log.exception("the evaluation beside the last blessed model failed")
            broken = (
                "the last blessed model does not run on these data "
                f"({type(error).__name__}: {str(error).strip().splitlines()[0][:200]})"
            )
            super().Do({**input_dict, _KEYS.BASELINE_MODEL_KEY: []}, output_dict, properties)
        measured = baseline.uri if baseline is not None and not broken else ""
        verdict = judge_evaluation(gate, evaluation, subject=model.uri, baseline=measured)
        if baseline is not None and broken:
            verdict = without_baseline(verdict, gate, baseline.uri, broken)
        blessing = artifact_utils.get_single_instance(output_dict[_KEYS.BLESSING_KEY])
        blessing.set_string_custom_property(SPLIT_BY_PROPERTY, split_by)
        _bless(blessing, verdict, model, baseline)


def _split_by(artifacts: list[types.Artifact] | None) -> str:
    """What decided the split of the rows, as these Examples or this ModelBlessing say."""
    found = (artifact.get_string_custom_property(SPLIT_BY_PROPERTY) for artifact in artifacts or [])
    return next(found, "") or ""


def _not_comparable(
    model: types.Artifact, baseline: types.Artifact, split_by: str, before: str
) -> str:
    """Why the last blessed model is not measured beside the candidate; empty if it is."""
    moved = why_not_comparable(split_by, before)
    if moved:
        return f"not comparable: the last blessed model may have seen eval rows, for {moved}"
    other = why_other_answers(*map(path_utils.serving_model_path, (model.uri, baseline.uri)))
    return f"not comparable with the last blessed model: {other}" if other else ""


def _is_the_machines(error: Exception, folder: str) -> bool:
    """Whether the machine is at fault (disk, connection, memory), and no model: then nothing is
    known of the baseline, and the runner tries again or tells it."""
    known = isinstance(explain(error, "Evaluator", folder), (StorageError, Transient))
    return known or isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError)


def judge_evaluation(
    gate: QualityGateConfig, evaluation: str, *, subject: str = "", baseline: str = ""
) -> Verdict:
    """The verdict on what TFMA left in a folder.

    Args:
        gate: The thresholds.
        evaluation: Folder of a `ModelEvaluation`.
        subject: URI of the candidate.
        baseline: URI of the last blessed model; empty when there is none.

    Returns:
        A verdict; results that cannot be read give a refusal that says so.
    """
    try:
        by_model, columns = _read_metrics(evaluation)
        failures = _tfma_failures(evaluation)
    except Exception as error:  # noqa: BLE001 (whatever is wrong, the gate stays shut)
        return Verdict(
            gate="quality",
            blessed=False,
            reason=f"TFMA's results cannot be read: {type(error).__name__}: {error}",
            subject=subject,
            baseline=baseline,
        )
    verdict = judge(
        gate,
        by_model.get(tfma.CANDIDATE_KEY if baseline else "", {}),
        by_model.get(tfma.BASELINE_KEY, {}) if baseline else None,
        columns=columns,
        subject=subject,
        baseline_uri=baseline,
    )
    return _agreed(verdict, failures)


def without_baseline(verdict: Verdict, gate: QualityGateConfig, baseline: str, why: str) -> Verdict:
    """The verdict when the last blessed model cannot be measured on these data, and why.

    A comparison that cannot be made is not passed. Thresholds without one are not concerned.
    """
    compared = [t for t in gate.thresholds if t.max_regression is not None]
    if not compared:
        return verdict
    checks = [
        Check(
            what=threshold.metric,
            slice=OVERALL,
            threshold=f"<= {threshold.max_regression:g} worse",
            measured=verdict.metrics.get(OVERALL, {}).get(threshold.metric),
            margin=None,
            baseline=None,
            passed=False,
            reason=f"{why}. Leave max_regression out for one run to start anew.",
        )
        for threshold in compared
    ]
    return dataclasses.replace(
        verdict,
        blessed=False,
        checks=[*verdict.checks, *checks],
        reason="the last blessed model cannot be measured, so nothing shows that this one is "
        "no worse",
        baseline=baseline,
    )


def _read_metrics(evaluation: str) -> tuple[dict[str, Metrics], dict[str, tuple[str, ...]]]:
    """TFMA's metrics by model and slice, and the columns of each slice."""
    models: dict[str, Metrics] = {}
    columns: dict[str, tuple[str, ...]] = {}
    for record in tfma.load_metrics(evaluation):
        key = slicer_lib.deserialize_slice_key(record.slice_key)
        name = slice_name(key)
        columns[name] = tuple(column for column, _ in key)
        for item in record.metric_keys_and_values:
            if item.key.is_diff or not item.value.HasField("double_value"):
                continue
            metrics = models.setdefault(item.key.model_name, {}).setdefault(name, {})
            metrics[item.key.name] = item.value.double_value.value
    return models, columns


def _tfma_failures(evaluation: str) -> set[tuple[str, str]]:
    """(metric, slice) of each threshold that TFMA itself found broken."""
    if not fileio.glob(os.path.join(evaluation, f"{tfma.VALIDATIONS_KEY}*")):
        return set()
    result = tfma.load_validation_result(evaluation)
    return {
        (failure.metric_key.name, slice_name(slicer_lib.deserialize_slice_key(item.slice_key)))
        for item in result.metric_validations_per_slice
        for failure in item.failures
    }


def _agreed(verdict: Verdict, failures: set[tuple[str, str]]) -> Verdict:
    """Refuses when TFMA found a broken threshold that our reading of it calls kept."""
    kept = {
        (check.what, check.slice) for check in verdict.checks if check.passed and not check.reason
    }
    broken = {(check.what, check.slice) for check in verdict.failed}
    disputed = sorted(failures & kept - broken)
    if not disputed:
        return verdict
    metric, name = disputed[0]
    reason = f"TFMA finds the threshold on {metric} ({name}) broken, our own reading does not"
    return Verdict(**{**vars(verdict), "blessed": False, "reason": reason})


def _bless(
    blessing: types.Artifact,
    verdict: Verdict,
    model: types.Artifact,
    baseline: types.Artifact | None,
) -> None:
    """Makes the standard ModelBlessing say what the verdict says, and adds the verdict's file."""
    blessing.set_string_custom_property(
        constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri
    )
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    if baseline is not None:
        blessing.set_string_custom_property(
            constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, baseline.uri
        )
        blessing.set_int_custom_property(
            constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.id
        )
    files = {True: constants.BLESSED_FILE_NAME, False: constants.NOT_BLESSED_FILE_NAME}
    wrong = os.path.join(blessing.uri, files[not verdict.blessed])
    if fileio.exists(wrong):  # TFMA alone decides less: without examples or thresholds it passes.
        fileio.remove(wrong)
    write_verdict(verdict, blessing.uri)
    io_utils.write_string_file(os.path.join(blessing.uri, files[verdict.blessed]), "")
    blessing.set_int_custom_property(
        constants.ARTIFACT_PROPERTY_BLESSED_KEY,
        constants.BLESSED_VALUE if verdict.blessed else constants.NOT_BLESSED_VALUE,
    )
