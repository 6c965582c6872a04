"""Values taken out of a column: null in their places."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def without(values: pa.Array, mask: pa.BooleanArray) -> pa.Array:
    """The values, with null where the mask is true.

    Not by `pc.if_else(mask, None, values)`: of a slice of texts, pyarrow 18 reads other rows' bytes
    with it.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.replace_with_mask(values, pc.fill_null(mask, False), pa.scalar(None, values.type))
