"""Calendar arithmetic on tensors of integers: days and civil dates, in UTC.

Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": exact for the proleptic Gregorian
calendar. Days count from 1970-01-01. TensorFlow's `//` and `%` floor, so dates before the epoch
need no case of their own.
"""

from __future__ import annotations

import tensorflow as tf

_DAYS_PER_ERA = 146097  # 400 years
_EPOCH_SHIFT = 719468  # days from 0000-03-01 to 1970-01-01


def civil_from_days(days: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Year, month (1-12) and day (1-31) of days since 1970-01-01: int64, same shape."""
    shifted = days + _EPOCH_SHIFT
    era, day_of_era = shifted // _DAYS_PER_ERA, shifted % _DAYS_PER_ERA
    year_of_era = (
        day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153  # March is 0
    day = day_of_year - (153 * shifted_month + 2) // 5 + 1
    month = tf.where(shifted_month < 10, shifted_month + 3, shifted_month - 9)
    return year_of_era + era * 400 + tf.cast(month <= 2, tf.int64), month, day


def days_from_civil(year: tf.Tensor, month: tf.Tensor, day: tf.Tensor) -> tf.Tensor:
    """Days since 1970-01-01 of a civil date: int64, same shape.

    A date that does not exist (30 February) gives the day it would be counting on; compare with
    `civil_from_days` to find out.
    """
    shifted_year = year - tf.cast(month <= 2, tf.int64)
    era, year_of_era = shifted_year // 400, shifted_year % 400
    shifted_month = tf.where(month > 2, month - 3, month + 9)
    day_of_year = (153 * shifted_month + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * _DAYS_PER_ERA + day_of_era - _EPOCH_SHIFT


def weekday_from_days(days: tf.Tensor) -> tf.Tensor:
    """0 for Monday to 6 for Sunday, as `datetime.weekday`: 1970-01-01 was a Thursday."""
    return (days + 3) % 7
