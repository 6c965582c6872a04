"""Names beside the points of a plot, so that none lies on another or on a point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tfx_pipeline.gates.serving.front import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _LEADER = "#333333", "#999999"
_FONT_POINTS = 8.5
_ROOM = 1.5  # between a name and what is beside it, in points
_MARK_POINTS = 5.0  # half of the largest mark, and a little
_DISTANCES = (7.0, 12.0, 20.0, 30.0, 42.0, 56.0)
_NO_LEADER_BELOW = 13.0
# What a place costs: each pixel that it covers of a name or a mark; of a line, 1; each pixel of
# distance.
_HARD, _FAR = 20.0, 4.0
_DIRECTIONS = (
    (1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (0.7, -0.7), (-0.7, 0.7), (-0.7, -0.7)
)  # fmt: skip


Line: TypeAlias = tuple[tuple[float, float], tuple[float, float]]
"""From one point to another, in the plot's units."""


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """The area that two have in common."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, wide) * max(0.0, high)

    def outside(self, other: Box) -> float:
        """The area of this one that is not in the other."""
        area = (self.right - self.left) * (self.top - self.bottom)
        return area - self.overlap(other)


def place(axes: Axes, found: Sequence[Point], lines: Sequence[Line] = ()) -> list[Box]:
    """Writes each point's name where it covers least; what stands far off gets a line.

    Args:
        axes: With final limits and place in the figure.
        found: The points; what ships is written first, and so nearest.
        lines: Vertical and horizontal ones that names should not lie on.

    Returns:
        The boxes of the names, in the order in which they were placed.
    """
    scale = axes.figure.dpi / 72  # pixels a point
    frame = axes.get_window_extent()
    inside = Box(frame.x0, frame.y0, frame.x1, frame.y1)
    centres = {p.name: tuple(axes.transData.transform((p.cost, p.quality))) for p in found}
    mark = _MARK_POINTS * scale
    marks = [_around(x, y, mark, mark) for x, y in centres.values()]
    thin = [_box(axes.transData.transform(line)) for line in lines]
    names: list[Box] = []
    for point in sorted(found, key=lambda p: p.kind != "ships"):
        text = axes.annotate(
            point.name,
            (point.cost, point.quality),
            (0, 0),
            textcoords="offset points",
            fontsize=_FONT_POINTS,
            fontweight="bold" if point.kind == "ships" else "normal",
            color=_INK,
            ha="center",
            va="center",
            zorder=5,
            parse_math=False,
            arrowprops={
                "arrowstyle": "-", "color": _LEADER, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3
            },
        )  # fmt: skip
        extent = text.get_window_extent()
        half = extent.width / 2 + _ROOM * scale, extent.height / 2 + _ROOM * scale
        x, y = centres[point.name]

        def cost(place: tuple[float, Box]) -> float:
            distance, box = place
            hard = sum(box.overlap(other) for other in (*marks, *names)) + box.outside(inside)
            soft = sum(box.overlap(line) for line in thin)
            return _HARD * hard + soft + _FAR * distance * scale

        distance, box = min(_places(x, y, half, scale), key=cost)
        names.append(box)
        middle = (box.left + box.right) / 2, (box.bottom + box.top) / 2
        text.set_position(((middle[0] - x) / scale, (middle[1] - y) / scale))
        if distance < _NO_LEADER_BELOW and text.arrow_patch is not None:
            text.arrow_patch.set_visible(False)
    return names


def _places(
    x: float, y: float, half: tuple[float, float], scale: float
) -> Iterator[tuple[float, Box]]:
    """Where a name may stand: the distance in points, and its box."""
    for distance, (right, up) in product(_DISTANCES, _DIRECTIONS):
        middle_x = x + right * distance * scale + _sign(right) * half[0]
        middle_y = y + up * distance * scale + _sign(up) * half[1]
        yield distance, _around(middle_x, middle_y, *half)


def _box(line: npt.NDArray[np.float64]) -> Box:
    (x0, y0), (x1, y1) = line
    return Box(min(x0, x1) - 1, min(y0, y1) - 1, max(x0, x1) + 1, max(y0, y1) + 1)


def _around(x: float, y: float, half_width: float, half_height: float) -> Box:
    return Box(x - half_width, y - half_height, x + half_width, y + half_height)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
