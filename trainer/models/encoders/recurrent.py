"""How recurrent layers stand in the graph: step by step where the row is short, else as a loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.models.encoders.registry import Encoding

UNROLL_MAX_STEPS = 32


def unrolled(feature: Encoding) -> bool:
    """Whether the layer is written out step by step.

    TFLite converts what is written out, and no loop over a list of tensors. A long row written out
    would take minutes to trace.
    """
    return (feature.spec.shape[0] or 0) <= UNROLL_MAX_STEPS
