"""The one text of a value that stands for a category, in training data and in requests alike.

A vocabulary is learned from text, so 3 in a Parquet file of floats, 3 in one of integers and 3 in a
JSON request must be one word. Numbers that are equal have equal texts; texts stay as they are.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np

_WHOLE_BELOW = 2.0**63  # Larger floats keep their exponent: 1e+300 is no identifier.


def category_text(value: Any) -> str:
    """A number's or a truth value's text.

    Whole numbers have no fraction (3.0 is "3"), others are the shortest decimal that reads back
    as the same number of their width, truth values are "true" and "false".

    Args:
        value: A bool, int, float or Decimal, or a numpy scalar of such. Not NaN, which is no value.

    Raises:
        TypeError: It is something else.
    """
    match value:
        case bool() | np.bool_():
            return "true" if value else "false"
        case int() | np.integer():
            return str(int(value))
        case float() | np.floating():
            number = float(value)
            is_whole = abs(number) < _WHOLE_BELOW and number.is_integer()
            return str(int(value)) if is_whole else str(value)
        case Decimal():
            text = format(value, "f")
            text = text.rstrip("0").rstrip(".") if "." in text else text
            return "0" if text == "-0" else text
        case _:
            raise TypeError(f"a {type(value).__name__} is no category")
