"""The features of a real Transform run, against numpy on the rows it read."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from tests.transform.table import CONFIG, Transformed, serialize
from transform import layout
from transform.config import LABEL, feature_name

pytestmark = pytest.mark.slow


def column(transformed: Transformed, name: str) -> np.ndarray:
    """A raw column as floats: missing and infinite are NaN."""
    values = [row[name] for row in transformed.rows]
    column = np.array([np.nan if v is None else v for v in values], np.float64)
    return np.where(np.isfinite(column), column, np.nan)


def feature(transformed: Transformed, name: str, part: str = "") -> np.ndarray:
    return transformed.features[feature_name(name, part)].numpy()


@pytest.mark.parametrize("name", ["plain", "gaps"])
def test_zscore_has_the_mean_and_variance_of_the_present_values(
    transformed: Transformed, name: str
) -> None:
    raw = column(transformed, name)
    expected = np.nan_to_num((raw - np.nanmean(raw)) / np.nanstd(raw), nan=0.0)
    np.testing.assert_allclose(feature(transformed, name)[:, 0], expected, atol=1e-5)


def test_missing_indicator_marks_missing_and_infinite_values(transformed: Transformed) -> None:
    expected = np.isnan(column(transformed, "gaps"))
    assert 0 < expected.sum() < len(expected)
    np.testing.assert_array_equal(feature(transformed, "gaps", "missing")[:, 0], expected)


@pytest.mark.parametrize("name", ["constant", "empty"])
def test_a_column_that_says_nothing_is_zero(transformed: Transformed, name: str) -> None:
    np.testing.assert_array_equal(feature(transformed, name), np.zeros((60, 1)))


def test_log_keeps_the_sign(transformed: Transformed) -> None:
    raw = column(transformed, "long_tail")
    expected = np.sign(raw) * np.log1p(np.abs(raw))
    np.testing.assert_allclose(feature(transformed, "long_tail")[:, 0], expected, rtol=1e-5)


def test_minmax_spans_zero_to_one(transformed: Transformed) -> None:
    expected = column(transformed, "bounded") / 9.0
    np.testing.assert_allclose(feature(transformed, "bounded")[:, 0], expected, atol=1e-6)


def test_buckets_are_quantiles_and_a_missing_value_is_in_none(transformed: Transformed) -> None:
    raw = column(transformed, "bucketed")
    one_hot = feature(transformed, "bucketed")
    present = ~np.isnan(raw)
    assert one_hot.shape == (60, 4)
    np.testing.assert_array_equal(one_hot.sum(axis=1), present)
    sizes = one_hot.sum(axis=0)
    assert abs(sizes - present.sum() / 4).max() <= 2
    buckets = one_hot[present].argmax(axis=1)
    assert (np.diff(buckets[np.argsort(raw[present])]) >= 0).all()


def test_vocabulary_ids_follow_frequency_and_tell_missing_from_unseen(
    transformed: Transformed,
) -> None:
    ids = feature(transformed, "city")[:, 0]
    by_value: dict[Any, set[int]] = {}
    for row, value in zip(transformed.rows, ids, strict=True):
        by_value.setdefault(row["city"], set()).add(int(value))
    assert by_value[None] == {0}
    assert by_value["Rome"] == {1}
    assert by_value["Oslo"] == {2}
    kept = {"Bern", "Ulm"}  # one of two equally frequent values is third, the other is OOV
    assert {3} in [by_value[v] for v in kept]
    assert any(by_value[v] <= {4, 5} for v in kept)


def test_min_count_sends_rare_values_out_of_vocabulary(transformed: Transformed) -> None:
    ids = feature(transformed, "rare")[:, 0]
    often = np.array([row["rare"] == "often" for row in transformed.rows])
    assert set(ids[often]) == {1}
    assert set(ids[~often]) == {2}


def test_columns_of_like_names_have_a_vocabulary_each(transformed: Transformed) -> None:
    """TFT makes one file name of `user.id` and `user_id`."""
    for name, first, second in (("user.id", "ann", "bob"), ("user_id", "y", "x")):
        expected = [{first: 1, second: 2}[row[name]] for row in transformed.rows]
        np.testing.assert_array_equal(feature(transformed, name)[:, 0], expected)


def test_hash_ids_stay_within_their_buckets_and_agree(transformed: Transformed) -> None:
    ids = feature(transformed, "hashed")[:, 0]
    assert set(ids) <= set(range(1, 8))
    np.testing.assert_array_equal(ids[:50], ids[5:55])
    assert len(set(ids)) > 1


def test_identity_ids_shift_by_one(transformed: Transformed) -> None:
    expected = [[1, 2, 3, 4, 5, 5, 0][i % 7] for i in range(60)]
    np.testing.assert_array_equal(feature(transformed, "level")[:, 0], expected)


def test_cross_ids_are_a_function_of_both_columns(transformed: Transformed) -> None:
    ids = feature(transformed, "city_x_hashed")[:, 0]
    seen: dict[tuple[Any, Any], int] = {}
    for row, value in zip(transformed.rows, ids, strict=True):
        assert seen.setdefault((row["city"], row["hashed"]), value) == value
    assert set(ids) <= set(range(11))
    assert len(set(ids)) > 4


def test_dates_have_the_parts_of_datetime(transformed: Transformed) -> None:
    for row, values in zip(transformed.rows, feature(transformed, "stamp"), strict=True):
        moment = datetime.fromtimestamp(row["stamp"], UTC)
        hour = moment.hour + moment.minute / 60 + moment.second / 3600
        angles = 2 * math.pi * np.array([hour / 24, (moment.month - 1) / 12])
        expected = [np.sin(angles[0]), np.cos(angles[0]), np.sin(angles[1]), np.cos(angles[1]), 0]
        np.testing.assert_allclose(values, expected, atol=1e-5)


def test_a_date_that_does_not_exist_is_missing(transformed: Transformed) -> None:
    values = feature(transformed, "day")
    for i in range(4):
        missing = i >= 2  # 2023-02-29, and none
        assert values[i, 3] == missing
        if missing:
            np.testing.assert_array_equal(values[i, :3], 0)
    np.testing.assert_allclose(values[0, 2], 2.4)  # (2024 - 2000) / 10
    np.testing.assert_allclose(
        values[1, :2], [np.sin(4 * math.pi / 7), np.cos(4 * math.pi / 7)], atol=1e-6
    )  # a Wednesday


def bag(transformed: Transformed, name: str, row: int) -> dict[str, float]:
    vocabulary = transformed.output.vocabulary_by_name(f"{name}_vocabulary")
    ids = transformed.features[feature_name(name, "ids")]
    weights = transformed.features[feature_name(name, "weights")]
    of_row = ids.indices.numpy()[:, 0] == row
    return {
        vocabulary[i].decode(): float(w)
        for i, w in zip(ids.values.numpy()[of_row], weights.values.numpy()[of_row], strict=True)
    }


def test_text_counts(transformed: Transformed) -> None:
    assert bag(transformed, "note", 1) == {"x": 1.0, "y": 2.0}
    assert bag(transformed, "note", 2) == {"x": 1.0, "z2": 1.0}


def test_tfidf_weighs_unicode_ngrams(transformed: Transformed) -> None:
    tokens = [
        [
            "a",
            "good",
            "film",
            "a",
            "good",
            "film",
            "a good",
            "good film",
            "film a",
            "a good",
            "good film",
        ],
        ["not", "good", "not good"],
        ["ein", "schöner", "tag", "ein schöner", "schöner tag"],
        [],
        ["schöner", "film", "schöner film"],
    ]
    in_rows = Counter(token for row in tokens for token in set(row))
    for i, row in enumerate(tokens):
        expected = {
            token: count / len(row) * (math.log((60 + 1) / (12 * in_rows[token] + 1)) + 1)
            for token, count in Counter(row).items()
        }
        assert bag(transformed, "review", i) == pytest.approx(expected, rel=1e-4)


def test_a_sequence_keeps_the_order_and_is_cut_and_padded(transformed: Transformed) -> None:
    vocabulary = transformed.output.vocabulary_by_name("ordered_vocabulary")
    a, b = (2 + vocabulary.index(token) for token in (b"a", b"b"))
    assert {a, b} == {2, 3}
    ids = feature(transformed, "ordered", "sequence")
    np.testing.assert_array_equal(ids[:4], [[b, a, 0], [a, a, b], [0, 0, 0], [b, 1, a]])


def test_a_series_is_scaled_by_channel_and_a_gap_is_its_mean(transformed: Transformed) -> None:
    raw = np.full((60, 3, 2), np.nan)
    for i in range(60):
        if i % 5 != 4:
            raw[i, 0], raw[i, 1, 0] = (i, -2 * i), i + 1
    expected = (raw - np.nanmean(raw, axis=(0, 1))) / np.nanstd(raw, axis=(0, 1))
    found = feature(transformed, "signal", "series")
    np.testing.assert_allclose(found, np.nan_to_num(expected), atol=1e-5)


def test_images_are_decoded_resized_and_scaled(transformed: Transformed) -> None:
    pixels = feature(transformed, "photo")
    expected = np.array([0 if i % 9 == 0 else i * 5 % 256 for i in range(60)]) / 255
    assert pixels.shape == (60, 4, 6, 3)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(
        pixels, np.broadcast_to(expected[:, None, None, None], pixels.shape), atol=1e-6
    )


def test_label_is_the_position_of_the_class(transformed: Transformed) -> None:
    label = transformed.features[LABEL].numpy()
    assert label.dtype == np.int64
    np.testing.assert_array_equal(label[:, 0], [i % 3 for i in range(60)])


def serve(transformed: Transformed, rows: list[dict[str, Any]]) -> dict[str, Any]:
    import tensorflow as tf

    examples = tf.constant([serialize(row) for row in rows])
    parsed = tf.io.parse_example(examples, transformed.output.raw_feature_spec())
    return transformed.output.transform_features_layer()(parsed)


def test_the_exported_graph_gives_what_was_materialized(transformed: Transformed) -> None:
    import tensorflow as tf

    served = serve(transformed, transformed.rows)
    assert set(served) == set(transformed.features)
    for name, expected in transformed.features.items():
        if isinstance(expected, tf.SparseTensor):
            np.testing.assert_array_equal(served[name].indices, expected.indices)
            served[name], expected = served[name].values, expected.values
        # The batch size decides which instructions compute a cosine: the last bit may differ.
        tolerance = 2e-7 if expected.dtype == tf.float32 else 0
        np.testing.assert_allclose(served[name].numpy(), expected.numpy(), tolerance, tolerance)


def test_a_text_that_means_missing_is_missing_to_whoever_sends_it(
    transformed: Transformed,
) -> None:
    """Ingest drops the marks of `data.missing_values`; a client may well send them."""
    marks = {"city": "?", "review": "?", "day": "n/a", "gaps": -999.0, "level": -999}
    row = next(row for row in transformed.rows if all(row[name] is not None for name in marks))
    sent = [row, row | dict.fromkeys(marks, None), row | marks]
    changed = set()
    for name, values in serve(transformed, sent).items():
        plain, absent, marked = dense(values)
        np.testing.assert_array_equal(marked, absent, err_msg=name)
        if not np.array_equal(plain, absent):
            changed.add(name)
    assert changed == {
        *(feature_name(name) for name in ("city", "day", "gaps", "level", "city_x_hashed")),
        *(feature_name("review", part) for part in ("ids", "weights")),
        feature_name("gaps", "missing"),
    }


def dense(values: Any) -> np.ndarray:
    import tensorflow as tf

    return (tf.sparse.to_dense(values) if isinstance(values, tf.SparseTensor) else values).numpy()


def test_layout_describes_what_was_written(transformed: Transformed) -> None:
    specs = layout.layout(CONFIG, transformed.output)
    inputs = layout.model_inputs(transformed.features, specs)
    names = {s.name for s in specs} | {s.weights for s in specs if s.weights}
    assert names == set(inputs) == set(transformed.features) - {LABEL}
    for spec in specs:
        values = inputs[spec.name].numpy()
        if spec.kind == "bag":
            assert values.shape == inputs[spec.weights].shape
        else:
            assert values.shape == (60, *spec.shape)
        assert values.dtype == spec.dtype
        if spec.dtype == "int64":
            assert values.min() >= 0
            assert values.max() < spec.size
        else:
            assert np.isfinite(values).all()
            assert math.prod(spec.shape) == spec.size
