"""One number for a trial: its metric, folded with the budgets that were declared.

Without budgets the score is the metric itself. With budgets it is to be made small:

- within all budgets, the metric alone, as a loss in [0, 1]: 1 - x for auc and accuracy, x / (1 + x)
  for log_loss, mse, rmse and mae, y / (1 + y) with y = 1 - r2 for r2;
- otherwise 1 + the sum of the shares by which the budgets are exceeded.

So any trial within the budgets is better than any that is not, and of these the nearest to the
budgets is best: a search that starts outside is led inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainer.tuning.config import Budgets
from trainer.tuning.metrics import METRICS

FOLDED = "folded"


@dataclass(frozen=True)
class Objective:
    """What trials are compared by.

    Attributes:
        metric: The metric of the validation split.
        budgets: What a trial may cost.
    """

    metric: str
    budgets: Budgets

    @property
    def has_budgets(self) -> bool:
        """Whether any budget is declared."""
        budgets = self.budgets
        return bool(budgets.parameters or budgets.latency_us or budgets.metrics)

    @property
    def name(self) -> str:
        """Of the score."""
        return FOLDED if self.has_budgets else self.metric

    @property
    def metric_is_higher(self) -> bool:
        """Whether a higher value of the metric itself is better."""
        return METRICS[self.metric].higher

    @property
    def higher(self) -> bool:
        """Whether a higher score is better."""
        return not self.has_budgets and self.metric_is_higher

    def score(self, measured: Mapping[str, float]) -> float:
        """The score of a trial, from its metrics, `parameters` and `latency_us`."""
        value = measured[self.metric]
        if not self.has_budgets:
            return value
        exceeded = self.exceeded(measured)
        return 1 + sum(exceeded.values()) if exceeded else _loss(self.metric, value)

    def exceeded(self, measured: Mapping[str, float]) -> dict[str, float]:
        """The budgets that a trial does not keep, and by which share of each."""
        budgets = self.budgets
        limits = {"parameters": budgets.parameters, "latency_us": budgets.latency_us}
        over = {
            name: measured[name] / limit - 1
            for name, limit in limits.items()
            if limit is not None and measured[name] > limit
        }
        for name, limit in budgets.metrics.items():
            gap = measured[name] - limit
            gap = -gap if METRICS[name].higher else gap
            # A metric that cannot be told keeps no budget.
            if not gap <= 0:
                over[name] = gap / max(abs(limit), 1e-12) if gap > 0 else 1.0
        return over


def _loss(name: str, value: float) -> float:
    if METRICS[name].of_one:
        return 1 - value
    loss = 1 - value if METRICS[name].higher else value
    return loss / (1 + loss)
