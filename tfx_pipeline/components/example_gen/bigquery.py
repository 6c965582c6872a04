"""BigQuery input: TFX's own BigQueryExampleGen, and a check of what it needs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tfx_pipeline.config.data import DataConfig
from tfx_pipeline.errors import ConfigError, EnvironmentMismatch

if TYPE_CHECKING:
    from tfx.dsl.components.base import base_component

_BUCKETS = 10_000  # Resolution of the split's fractions.


def make_example_gen(data: DataConfig) -> base_component.BaseComponent:
    """BigQueryExampleGen with the hash split of the config.

    BigQuery's own types decide those of the tf.Examples, and a `val` split may stay without rows.

    Raises:
        ConfigError: A split by time, column, folders or several key columns.
        EnvironmentMismatch: A package that it needs is not installed.
    """
    from tfx.proto import example_gen_pb2

    split = data.split
    if split.method != "hash" or len(split.key) > 1:
        raise ConfigError(
            f"with `format: bigquery` rows cannot be split by {split.method}"
            + (" of several columns" if split.method == "hash" else ""),
            where="data.split",
            hint="Use `method: hash` with at most one column as `key`.",
        )
    assert data.bigquery, "DataConfig lets no `format: bigquery` pass without its section"
    component = _import("tfx.extensions.google_cloud_big_query.example_gen.component")
    shares = {"val": split.val_fraction, "eval": split.eval_fraction}
    held_out = {name: round(share * _BUCKETS) for name, share in shares.items() if share > 0}
    buckets = {"train": _BUCKETS - sum(held_out.values()), **held_out}
    return component.BigQueryExampleGen(  # type: ignore[no-any-return]
        query=data.bigquery.query,
        output_config=example_gen_pb2.Output(
            split_config=example_gen_pb2.SplitConfig(
                splits=[
                    example_gen_pb2.SplitConfig.Split(name=name, hash_buckets=count)
                    for name, count in buckets.items()
                ],
                partition_feature_name=split.key[0] if split.key else "",
            )
        ),
    )


def check_bigquery() -> None:
    """Checks that BigQuery can be asked, before a run is started. Reads no table.

    Raises:
        EnvironmentMismatch: A package or the credentials are missing.
    """
    _import("google.cloud.bigquery")
    auth = _import("google.auth")
    try:
        auth.default(scopes=["https://www.googleapis.com/auth/bigquery"])
    except auth.exceptions.GoogleAuthError as error:
        raise EnvironmentMismatch(
            f"there are no Google Cloud credentials: {str(error).split('. ')[0]}",
            where="data.bigquery",
            hint="Run `gcloud auth application-default login`, or set "
            "GOOGLE_APPLICATION_CREDENTIALS to a service account's key file.",
        ) from error


def _import(name: str):  # type: ignore[no-untyped-def]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EnvironmentMismatch(
            f"BigQuery input needs {name}, which is not installed: {error}",
            where="data.format",
            hint="Install the packages of requirements/ again (`make setup`).",
        ) from error
