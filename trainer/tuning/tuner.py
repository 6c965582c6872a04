"""The search: keras-tuner's oracle says what to try, workers try it, a journal remembers it."""

from __future__ import annotations

import contextvars
import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras_tuner as kt
from keras_tuner.engine import base_tuner

from tfx_pipeline.errors import NodeFailed
from trainer import progress
from trainer.tuning import space as spaces
from trainer.tuning.journal import PLOT_FILE, Journal, Trial, Trials, write_trials
from trainer.tuning.objective import Objective
from trainer.tuning.plot import plot_trials
from trainer.tuning.pruning import worse_than_median
from trainer.tuning.trial import Order, Result, Setting, trial_folder
from trainer.tuning.workers import JudgeSlot, Workers

log = logging.getLogger(__name__)

_SHOWN_REASONS = 3
_PROJECT = "oracle"


class ConfigTuner(base_tuner.BaseTuner):  # type: ignore[misc]
    """A keras-tuner Tuner over fields of the config, as TFX's Tuner component drives it.

    It derives from the base tuner, which knows nothing of Keras: `keras_tuner.Tuner` takes Keras 3
    models only, and ours are of tf_keras. `search` is its own, for several trials run at once and
    a search that was killed goes on.

    Args:
        oracle: See `trainer.tuning.oracles`.
        setting: What all trials share. `setting.folder` holds the journal, the trials' checkpoints
            while the search runs, and the table of trials.
        objective: What trials are compared by.
        make_workers: Makes who runs the trials, given who judges them after each round.
    """

    def __init__(
        self,
        oracle: kt.Oracle,
        setting: Setting,
        objective: Objective,
        make_workers: Callable[[JudgeSlot], Workers],
    ) -> None:
        self._setting, self._objective = setting, objective
        self._make_workers = make_workers
        self._tune, self._config = setting.tune, setting.config
        self._folder = Path(setting.folder)
        self._rows: dict[str, Trial] = {}
        self._running: dict[int, kt.engine.trial.Trial] = {}
        self._elapsed_before = 0.0
        self._began = time.monotonic()
        # A trial in this process has a listener of its own while it trains.
        self._context = contextvars.copy_context()
        super().__init__(oracle, directory=setting.folder, project_name=_PROJECT, overwrite=True)

    def search(self, *_: Any, **__: Any) -> None:
        """Runs the trials that are left, and writes the table and the plot.

        Raises:
            NodeFailed: Every trial failed, or none is within the budgets.
            ConfigError, DataError, StorageError: No trial can run.
        """
        self._began = time.monotonic()
        self._context = contextvars.copy_context()
        journal = Journal(
            self._folder,
            {
                "custom_config": self._setting.custom_config,
                "files": [*self._setting.train_files, *self._setting.eval_files],
                "transform_graph": self._setting.transform_graph_path,
                "keras_tuner": kt.__version__,
            },
        )
        self._replay(journal)
        workers = self._make_workers(self._judge)
        try:
            for slot, trial in self._running.items():
                workers.start(slot, self._order(trial))
            while True:
                self._fill(workers, journal)
                if not self._running:
                    break
                slot, result = workers.next_result()
                journal.add(self._event("ended", slot, result=vars(result)))
                self._end(slot, result)
                self._tell()
        finally:
            workers.close()
        found = self.trials()
        write_trials(found, self._folder)
        self._check(found)
        logarithmic = [path for path, range_ in self._tune.space.items() if range_.log]
        plot_trials(found, self._folder / PLOT_FILE, logarithmic)
        for leftover in (_PROJECT, "trials"):
            shutil.rmtree(self._folder / leftover, ignore_errors=True)

    def get_best_hyperparameters(self, num_trials: int = 1) -> list[kt.HyperParameters]:
        """Those of the best trials. A pruned trial comes behind every complete one: the metric
        that it was ended with may be better than those of the others at their end."""
        ranked = [trial for trial in self.trials().trials if trial.rank]
        return [self.oracle.get_trial(t.id).hyperparameters for t in ranked[:num_trials]]

    def trials(self) -> Trials:
        """The table of the trials so far."""
        objective = self._objective
        sign = -1.0 if objective.higher else 1.0

        def place(row: Trial) -> tuple[bool, bool, float]:
            return bool(row.exceeds), row.state != "complete", sign * (row.score or 0.0)

        good = sorted((row for row in self._rows.values() if row.score is not None), key=place)
        ranked = [replace(row, rank=rank) for rank, row in enumerate(good, 1)]
        failed = [row for row in self._rows.values() if row.score is None]
        return Trials(
            objective.metric,
            objective.metric_is_higher,
            self.oracle.max_trials,
            [*ranked, *failed],
            objective.has_budgets,
        )

    def _row(self, trial: kt.engine.trial.Trial, result: Result) -> Trial:
        """A trial's row of the table, but for its rank."""
        values = spaces.decoded(trial.hyperparameters.values)
        measured = result.measured
        good = result.state != "failed"
        return Trial(
            rank=0,
            id=trial.trial_id,
            state=result.state,
            values=values,
            measured=measured,
            score=self._objective.score(measured) if good else None,
            exceeds=self._objective.exceeded(measured) if good else {},
            history=result.history,
            steps=result.steps,
            seconds=result.seconds,
            reason=result.reason,
            own=spaces.is_unchanged(values, self._config.model, self._config.train),
        )

    def _replay(self, journal: Journal) -> None:
        """Tells the oracle what a search that was killed has done."""
        for index, event in enumerate(journal.events):
            slot = event["slot"]
            if event["what"] == "ended":
                self._end(slot, Result(**event["result"]))
                self._elapsed_before = event["elapsed"]
                continue
            trial = self.oracle.create_trial(f"slot{slot}")
            if (trial.trial_id, trial.hyperparameters.values) != (event["id"], event["values"]):
                # It cannot be told further; what was not told is done anew.
                log.warning("the journal does not fit after %d events", index)
                journal.forget_from(index)
                if trial.status == "RUNNING":
                    self._running[slot] = trial
                    journal.add(self._begun(slot, trial))
                break
            self._running[slot] = trial
        if journal.events:
            log.info("resumed a search after %d trials", len(self._rows))
            self._tell()

    def _fill(self, workers: Workers, journal: Journal) -> None:
        """Begins trials in the slots that are free, as many as there are."""
        for slot in range(self._tune.parallel):
            if slot in self._running or (self._rows and self._time_is_up()):
                continue
            trial = self.oracle.create_trial(f"slot{slot}")
            if trial.status != "RUNNING":  # Nothing to try, or not before another has ended.
                return
            self._running[slot] = trial
            journal.add(self._begun(slot, trial))
            workers.start(slot, self._order(trial))

    def _begun(self, slot: int, trial: kt.engine.trial.Trial) -> dict[str, Any]:
        values = trial.hyperparameters.values
        return self._event("begun", slot, id=trial.trial_id, values=values)

    def _event(self, what: str, slot: int, **more: Any) -> dict[str, Any]:
        return {"what": what, "slot": slot, "elapsed": round(self._elapsed(), 3), **more}

    def _elapsed(self) -> float:
        return self._elapsed_before + time.monotonic() - self._began

    def _time_is_up(self) -> bool:
        return self._tune.max_seconds is not None and self._elapsed() >= self._tune.max_seconds

    def _order(self, trial: kt.engine.trial.Trial) -> Order:
        values = trial.hyperparameters.values
        return Order(
            trial.trial_id,
            spaces.decoded(values),
            values.get("tuner/epochs", self._tune.rounds_of_a_trial),
            values.get("tuner/trial_id", ""),
        )

    def _end(self, slot: int, result: Result) -> None:
        """Tells the oracle how a trial went."""
        trial = self._running.pop(slot)
        order = self._order(trial)
        before = self._rows.get(order.goes_on_from)
        if before is not None and len(result.history) < order.rounds:
            result = replace(result, history=[*before.history, *result.history])
        row = self._row(trial, result)
        if row.score is not None and not math.isfinite(row.score):
            reason = f"{self._objective.name} is {row.score}"
            row = replace(row, state="failed", score=None, exceeds={}, reason=reason)
        self._rows[trial.trial_id] = row
        if row.score is None:
            trial.status, trial.message = "FAILED", row.reason
        else:
            self.oracle.update_trial(trial.trial_id, {self._objective.name: row.score})
            trial.status = "COMPLETED"
        self.on_trial_end(trial)
        if self._tune.search != "hyperband":  # Whose trials go on where others ended.
            shutil.rmtree(trial_folder(self._setting, trial.trial_id), ignore_errors=True)

    def _judge(self, slot: int, history: list[float], steps: int) -> str:
        """Why the trial in a slot is to end after this round, or ""."""
        if self._time_is_up():
            return "tune.max_seconds are over"
        self._tell(f"trial {self._running[slot].trial_id} at step {steps}")
        others = [row.history for row in self._rows.values() if row.state == "complete"]
        judged = self._tune.prune and self._tune.search != "hyperband"
        if judged and worse_than_median(history, others, higher=self._objective.metric_is_higher):
            return f"worse than the median after {steps} steps"
        return ""

    def _tell(self, more: str = "") -> None:
        """Reports how far the search is; when a trial has ended, in the table of trials too."""
        found = self.trials()
        if not more:
            write_trials(found, self._folder)
        best = found.best
        said = f"best {found.metric} {best.measured[found.metric]:.4g}" if best else "none yet"
        what = ", ".join(part for part in (said, more) if part)
        stage = progress.Stage(len(self._rows), self.oracle.max_trials, what)
        self._context.run(progress.report, stage)

    def _check(self, found: Trials) -> None:
        """Refuses a search that has found nothing."""
        best = found.best
        if best is None:
            reasons = list(dict.fromkeys(trial.reason for trial in found.trials))
            more = len(reasons) - _SHOWN_REASONS
            listed = "; ".join(reasons[:_SHOWN_REASONS]) + (
                f"; and {more} more" if more > 0 else ""
            )
            raise NodeFailed(
                f"all {len(found.trials)} trials failed: {listed}",
                where="Tuner",
                hint="Narrow tune.space to values that train.",
            )
        if best.exceeds:
            nearest = ", ".join(
                f"{name} {best.measured[name]:.4g} is over by {share:.1%}"
                for name, share in best.exceeds.items()
            )
            raise NodeFailed(
                f"no trial of {len(found.trials)} keeps tune.budgets; the nearest one: {nearest}",
                where="Tuner",
                hint="Widen tune.budgets, or take smaller models into tune.space.",
            )
