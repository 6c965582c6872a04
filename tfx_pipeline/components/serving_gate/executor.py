"""Executor of ServingGate: stages the candidates, has them measured and judged, and blesses."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensorflow.python.saved_model import loader_impl
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, json_utils, path_utils

from serving.warmup_file import write_warmup
from tfx_pipeline.components.compressor.executor import KERAS_MODEL
from tfx_pipeline.components.data_gate.executor import BLESSED_PROPERTY
from tfx_pipeline.config.gates import GatesConfig
from tfx_pipeline.errors import storage_errors
from tfx_pipeline.gates.same_split import SPLIT_BY_PROPERTY, why_not_comparable
from tfx_pipeline.gates.serving.latency import SIGNATURE
from tfx_pipeline.gates.serving.measure import CHAMPION, measure
from tfx_pipeline.gates.serving.measured import Measured
from tfx_pipeline.gates.serving.pareto import write_pareto
from tfx_pipeline.gates.serving.rows import HeldOut, held_out
from tfx_pipeline.gates.serving.servers import server_name
from tfx_pipeline.gates.serving.settings import settings_of
from tfx_pipeline.gates.serving.skew import Trained
from tfx_pipeline.gates.serving.verdict import ServingVerdict, judge, write_serving_verdict
from trainer import progress
from trainer.compression.candidate import Candidate, read_index
from trainer.compression.config import FLOAT
from transform.config import TransformConfig
from transform.user_code import load

PARETO_FILE = "pareto.png"
LOG_FILE = "server.log"
WINNER_PROPERTY = "winner"

_STAGED = "staged"
_WARMUP_ROWS = 64
_INFRA_FILES = {True: "INFRA_BLESSED", False: "INFRA_NOT_BLESSED"}
_MODEL_FILES = {True: constants.BLESSED_FILE_NAME, False: constants.NOT_BLESSED_FILE_NAME}

Artifacts = dict[str, list[types.Artifact]]


class Executor(base_executor.BaseExecutor):  # type: ignore[misc]
    """Judges one trained model by its candidates."""

    def Do(
        self,
        input_dict: Artifacts,
        output_dict: Artifacts,
        exec_properties: dict[str, Any],
    ) -> None:
        """Measures every candidate, and writes the verdict, the blessings and the winner.

        Args:
            input_dict: See the component; `candidates`, `champion` and `champion_blessing` may be
                absent or empty.
            output_dict: `winner`, `blessing`, `infra_blessing`, `verdict`.
            exec_properties: `gates`, the JSON of GatesConfig, and `custom_config`.

        Raises:
            DataError: There are no held-out rows, or they cannot be read.
            ServingError: The model server does not start at all.
            StorageError: The disk is full or a folder cannot be written.
        """
        gates = GatesConfig.model_validate_json(exec_properties["gates"])
        config = json_utils.loads(exec_properties["custom_config"])
        transform = TransformConfig.model_validate(config["transform"])
        for function in config.get("functions") or []:  # Their modules register the user's layers.
            load(function, Path(config.get("folder") or "."))
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        model = _serving_model(input_dict)
        folder = Path(artifact_utils.get_single_uri(output_dict["verdict"]))
        split = artifact_utils.get_split_uri([examples], "eval")
        champion, incomparable = _champion(input_dict, examples)
        settings = settings_of(gates, config["start_timeout_s"])
        with storage_errors(str(folder)), _staged(input_dict, folder) as (ladder, candidates):
            rows = held_out(split, model, gates.quality.slices, max_rows=gates.measure.max_rows)
            _write_warmups(ladder, candidates, rows)
            measured = measure(
                ladder,
                candidates,
                rows,
                transform.label.task,
                settings,
                _trained(input_dict, examples, transform),
                champion,
                levels=transform.label.quantiles,
                log_file=folder / LOG_FILE,
                on_measured=_Told(sum(not c.failed for c in candidates) + (champion is not None)),
            )
            if incomparable:
                measured.append(Measured(CHAMPION, failed=incomparable))
            verdict = judge(
                measured,
                candidates,
                gates,
                task=transform.label.task,
                labels=rows.labels,
                server=server_name(settings),
            )
            write_serving_verdict(verdict, str(folder))
            write_pareto(verdict, folder / PARETO_FILE)
            if verdict.blessed:
                _keep(ladder / verdict.winner, artifact_utils.get_single_uri(output_dict["winner"]))
        _bless(verdict, input_dict, output_dict, examples)


@contextmanager
def _staged(input_dict: Artifacts, folder: Path) -> Iterator[tuple[Path, list[Candidate]]]:
    """A ladder of our own to add warm-up requests to: what is measured is what ships.

    Files are linked, not copied, where the disk can.
    """
    stage = folder / _STAGED
    shutil.rmtree(stage, ignore_errors=True)  # A killed execution may have left one.
    if input_dict.get("candidates"):
        ladder = Path(artifact_utils.get_single_uri(input_dict["candidates"]))
        candidates = read_index(ladder)
        folders = {c.name: ladder / c.name for c in candidates if not c.failed}
    else:
        candidates = [Candidate(FLOAT, FLOAT)]
        folders = {FLOAT: _serving_model(input_dict)}
    try:
        for name, source in folders.items():
            shutil.copytree(source, stage / name, copy_function=_link_or_copy)
        yield stage, candidates
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _serving_model(input_dict: Artifacts) -> Path:
    """The trained model's SavedModel."""
    model = artifact_utils.get_single_instance(input_dict["model"])
    return Path(path_utils.serving_model_path(model.uri))


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write_warmups(ladder: Path, candidates: list[Candidate], rows: HeldOut) -> None:
    for candidate in candidates:
        if candidate.failed:
            continue
        folder = ladder / candidate.name
        name = _examples_input(folder)
        if name:
            write_warmup(folder, rows.serialized[:_WARMUP_ROWS], input_name=name)


def _examples_input(folder: Path) -> str:
    """What the signature calls its tf.Examples; empty where it does not take them alone, or the
    model cannot be read: the server will say so."""
    try:
        [graph] = loader_impl.parse_saved_model(str(folder)).meta_graphs
        [name] = graph.signature_def[SIGNATURE].inputs
    except (OSError, ValueError):
        return ""
    return str(name)


def _trained(
    input_dict: Artifacts, examples: types.Artifact, transform: TransformConfig
) -> Trained:
    return Trained(
        keras_model=Path(artifact_utils.get_single_uri(input_dict["model_run"])) / KERAS_MODEL,
        transform_graph=Path(artifact_utils.get_single_uri(input_dict["transform_graph"])),
        raw=Path(examples.uri),
        transformed=Path(artifact_utils.get_single_uri(input_dict["transformed_examples"])),
        config=transform,
    )


def _champion(input_dict: Artifacts, examples: types.Artifact) -> tuple[Path | None, str]:
    """The folder of the model in production, or why it cannot be compared with on these rows."""
    found = input_dict.get("champion")
    if not found:
        return None, ""
    blessing = next(iter(input_dict.get("champion_blessing") or []), None)
    moved = why_not_comparable(_split_by(examples), _split_by(blessing))
    if moved:
        return None, f"not comparable: it may have been trained on eval rows, for {moved}"
    return Path(artifact_utils.get_single_instance(found).uri), ""


def _split_by(artifact: types.Artifact | None) -> str:
    return (artifact and artifact.get_string_custom_property(SPLIT_BY_PROPERTY)) or ""


def _keep(winner: Path, uri: str) -> None:
    """Moves the winner to where a Model artifact has its SavedModel."""
    target = Path(path_utils.serving_model_dir(uri))
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    shutil.move(winner, target)


def _bless(
    verdict: ServingVerdict, input_dict: Artifacts, output_dict: Artifacts, examples: types.Artifact
) -> None:
    """Makes the standard artifacts say what the verdict says."""
    model = artifact_utils.get_single_instance(input_dict["model"])
    blessed = int(verdict.blessed)
    blessing = artifact_utils.get_single_instance(output_dict["blessing"])
    blessing.set_string_custom_property(
        constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri
    )
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    blessing.set_string_custom_property(SPLIT_BY_PROPERTY, _split_by(examples))
    blessing.set_string_custom_property(WINNER_PROPERTY, verdict.winner)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, blessed)
    io_utils.write_string_file(os.path.join(blessing.uri, _MODEL_FILES[verdict.blessed]), "")
    infra = artifact_utils.get_single_instance(output_dict["infra_blessing"])
    infra.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, blessed)
    io_utils.write_string_file(os.path.join(infra.uri, _INFRA_FILES[verdict.blessed]), "")
    kept = artifact_utils.get_single_instance(output_dict["winner"])
    kept.set_string_custom_property(WINNER_PROPERTY, verdict.winner)
    setattr(artifact_utils.get_single_instance(output_dict["verdict"]), BLESSED_PROPERTY, blessed)


class _Told:
    """Counts what has been measured, for whoever draws the run."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0

    def __call__(self, measured: Measured) -> None:
        self._done += 1
        progress.report(progress.Stage(self._done, self._total, measured.name))
