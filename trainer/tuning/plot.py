"""The trials as a parallel-coordinates plot: an axis a field, a line a trial, coloured by rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfx_pipeline.errors import storage_errors
from trainer.tuning.journal import Trial, Trials, shown

_INCH_AN_AXIS = 1.9
_MOST_TICKS = 8


def plot_trials(found: Trials, path: Path, log_fields: Sequence[str] = ()) -> None:
    """Writes the plot as PNG. Trials that failed are not in it.

    Args:
        found: The trials.
        path: Of the file.
        log_fields: Fields whose axis is logarithmic.

    Raises:
        StorageError: The folder cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    trials = [trial for trial in found.trials if trial.rank]
    paths = list(dict.fromkeys(p for trial in found.trials for p in trial.values))
    figure = Figure(figsize=(_INCH_AN_AXIS * (len(paths) + 1) + 1, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    columns: list[tuple[str, Sequence[Any], bool]] = [
        (p, [trial.values.get(p) for trial in trials], p in log_fields) for p in paths
    ]
    columns.append((found.metric, [trial.measured.get(found.metric) for trial in trials], False))
    heights = []
    for place, (name, values, is_log) in enumerate(columns):
        height, ticks = _axis(values, is_log)
        heights.append(height)
        axes.vlines(place, 0, 1, color="0.75", linewidth=1, zorder=0)
        for at, text in ticks:
            axes.text(place + 0.03, at, text, fontsize=7, color="0.35", va="center")
        axes.text(place, 1.07, name.replace(".", ".\n", 1), fontsize=8, ha="center", va="bottom")
    _lines(axes, trials, heights)
    axes.set_xlim(-0.2, len(columns) - 0.5)
    axes.set_ylim(-0.05, 1.3)
    axes.set_axis_off()
    unfinished = path.with_name(f"{path.name}.unfinished")
    with storage_errors(str(path)):
        figure.savefig(unfinished, dpi=130, format="png")
        unfinished.replace(path)


def _lines(axes: Any, trials: Sequence[Trial], heights: Sequence[Sequence[float | None]]) -> None:
    import matplotlib

    colours = matplotlib.colormaps["viridis_r"]
    for index in reversed(range(len(trials))):  # The best is drawn last, on top.
        trial = trials[index]
        points = [(x, column[index]) for x, column in enumerate(heights)]
        drawn = [(x, y) for x, y in points if y is not None]
        best = trial.rank == 1
        axes.plot(
            [x for x, _ in drawn],
            [y for _, y in drawn],
            color="crimson" if best else colours(1 - index / max(len(trials) - 1, 1)),
            linewidth=2.2 if best else 1.0,
            alpha=1.0 if best else 0.7,
            linestyle="--" if trial.state == "pruned" else "-",
        )


def _axis(
    values: Sequence[Any], is_log: bool
) -> tuple[list[float | None], list[tuple[float, str]]]:
    """The height in [0, 1] of each value, and the ticks of the axis."""
    there = [value for value in values if value is not None]
    if there and all(isinstance(v, int | float) and not isinstance(v, bool) for v in there):
        return _number_axis(values, [float(value) for value in there], is_log)
    names = sorted({shown(value) for value in there})
    at = {name: (i + 0.5) / len(names) for i, name in enumerate(names)}
    heights = [None if value is None else at[shown(value)] for value in values]
    return heights, [(at[name], name[:18]) for name in names[:_MOST_TICKS]]


def _number_axis(
    values: Sequence[Any], there: Sequence[float], is_log: bool
) -> tuple[list[float | None], list[tuple[float, str]]]:
    scale = math.log if is_log and min(there) > 0 else float
    low, high = scale(min(there)), scale(max(there))
    width = high - low or 1.0
    heights = [None if value is None else (scale(value) - low) / width for value in values]
    places = [0.0, 0.25, 0.5, 0.75, 1.0] if high > low else [0.0]
    ticks = [low + place * width for place in places]
    return heights, [
        (place, f"{math.exp(t) if scale is math.log else t:.4g}")
        for place, t in zip(places, ticks, strict=True)
    ]
