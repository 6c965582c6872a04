"""The ExampleGen node: ours for files, TFX's own for BigQuery."""

from __future__ import annotations

from google.protobuf import wrappers_pb2
from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts, standard_component_specs

from tfx_pipeline.components.example_gen import bigquery
from tfx_pipeline.components.example_gen.driver import Driver
from tfx_pipeline.components.example_gen.executor import Executor
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.ingest.source import Source, source_of

NODE_ID = "ExampleGen"


class ExampleGen(base_component.BaseComponent):
    """Reads CSV, Parquet, Arrow or TFRecord files into tf.Examples, typed by the config.

    The spec and the output are those of `tfx.components.FileBasedExampleGen`, so stock components
    and tools read them. It differs in that it needs no Beam, types columns by what the config
    declares, and is cached by the content of the files instead of their times.

    Output:
        examples: `Examples` with the splits train, val (if there are rows for it) and eval: gzip
            TFRecords of tf.Example. Custom properties: `input_fingerprint` (SHA-256 of the data),
            `rows_train`, `rows_val`, `rows_eval`; `split_by`: the columns that decided the splits;
            `rows_rejected`, where any may be, with `rejected_rows.jsonl` beside the splits; `note`:
            what was odd with the rows.
    """

    SPEC_CLASS = standard_component_specs.FileBasedExampleGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(self, source: Source) -> None:
        """Makes the node.

        Args:
            source: What is read. All of it is an execution property and so part of the cache key.
        """
        custom_config = example_gen_pb2.CustomConfig()
        custom_config.custom_config.Pack(wrappers_pb2.StringValue(value=source.to_json()))
        super().__init__(
            standard_component_specs.FileBasedExampleGenSpec(
                input_base=source.paths[0],
                input_config=example_gen_pb2.Input(
                    splits=[
                        example_gen_pb2.Input.Split(name=f"input_{number}", pattern=path)
                        for number, path in enumerate(source.paths)
                    ]
                ),
                output_config=example_gen_pb2.Output(),
                output_data_format=example_gen_pb2.FORMAT_TF_EXAMPLE,
                output_file_format=example_gen_pb2.FORMAT_TFRECORDS_GZIP,
                custom_config=custom_config,
                examples=types.Channel(type=standard_artifacts.Examples),
            )
        )


def make_example_gen(config: PipelineConfig) -> base_component.BaseComponent:
    """The ExampleGen of a pipeline, with the id "ExampleGen".

    Raises:
        ConfigError: A split that BigQuery input cannot have.
        EnvironmentMismatch: BigQuery's packages are not installed.
    """
    if config.data.format == "bigquery":
        return bigquery.make_example_gen(config.data).with_id(NODE_ID)
    return ExampleGen(source_of(config)).with_id(NODE_ID)
