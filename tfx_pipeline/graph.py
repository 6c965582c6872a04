"""The pipeline's graph: the one place where nodes are wired. Plain TFX.

`LocalDagRunner().run(create_pipeline(config))` works; so does any runner that takes a TFX
pipeline. Stock components wherever one exists, under their own ids; where ours subclass a stock
one, the docstring of the component says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tfx import v1 as tfx
from tfx.components.distribution_validator.component import DistributionValidator
from tfx.components.example_validator.component import ExampleValidator
from tfx.components.schema_gen.component import SchemaGen
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.components.trainer.component import Trainer
from tfx.dsl.components.base import base_node
from tfx.proto import infra_validator_pb2, trainer_pb2, transform_pb2
from tfx.types import standard_artifacts

from tfx_pipeline import own_files
from tfx_pipeline.components import resolvers
from tfx_pipeline.components.compressor.component import Compressor
from tfx_pipeline.components.data_gate.component import DataGate, may_go_on
from tfx_pipeline.components.evaluator.component import Evaluator
from tfx_pipeline.components.example_gen.component import make_example_gen
from tfx_pipeline.components.pusher.component import Pusher
from tfx_pipeline.components.pusher.probe import Probe
from tfx_pipeline.components.serving_gate.component import ServingGate
from tfx_pipeline.components.statistics_gen.component import StatisticsGen
from tfx_pipeline.components.transform.component import Transform
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.config.serving_gate import InfraValidatorConfig
from tfx_pipeline.gates.drift import distribution_config
from tfx_pipeline.gates.serving.servers import server_name
from tfx_pipeline.gates.serving.settings import Settings
from tfx_pipeline.runners import mlmd
from tfx_pipeline.runners.beam.options import beam_args
from trainer.config import TrainConfig
from transform import user_code
from transform.config import FeaturesConfig


def create_pipeline(config: PipelineConfig) -> tfx.dsl.Pipeline:
    """The TFX pipeline that a config describes.

    Raises:
        ConfigError: The config names a function or file that is not there.
        EnvironmentMismatch: A metadata server's password is not in the environment.
    """
    example_gen = make_example_gen(config)
    examples = example_gen.outputs["examples"]
    data_nodes, schema, data_gate = _validate(config, examples)
    with tfx.dsl.Cond(may_go_on(data_gate)):
        model_nodes = _train_and_push(config, examples, schema)
    return tfx.dsl.Pipeline(
        pipeline_name=config.name,
        pipeline_root=str(config.root / "artifacts"),
        components=[example_gen, *data_nodes, *model_nodes],
        enable_cache=config.run.cache,
        metadata_connection_config=mlmd.connection_config(config),
        beam_pipeline_args=beam_args(config),
    )


def _validate(
    config: PipelineConfig, examples: Any
) -> tuple[list[base_node.BaseNode], Any, DataGate]:
    """Statistics, schema, anomalies, and the gate that judges them."""
    gate = config.gates.data
    statistics_gen = StatisticsGen(examples=examples)
    statistics = statistics_gen.outputs["statistics"]
    nodes: list[base_node.BaseNode] = [statistics_gen]
    if gate.schema_path:
        schema_gen = ImportSchemaGen(schema_file=str(config.resolve(gate.schema_path)))
    else:
        # From every split: whether a column can be missing is not left to the train split.
        schema_gen = SchemaGen(statistics=statistics, infer_feature_shape=True)
    schema = schema_gen.outputs["schema"]
    validator = ExampleValidator(statistics=statistics, schema=schema)
    nodes += [schema_gen, validator]
    compared: dict[str, Any] = {}
    if gate.drift:
        previous = tfx.dsl.Resolver(
            strategy_class=resolvers.PreviousStatistics,
            # Without its producer: TFX's compiler takes two channels of one producer's output for
            # one, and the resolver then fails.
            statistics=tfx.dsl.Channel(type=standard_artifacts.ExampleStatistics),
            current=statistics,
        ).with_id("PreviousStatistics")
        drift = DistributionValidator(
            statistics=statistics,
            baseline_statistics=previous.outputs["statistics"].as_optional(),
            config=distribution_config(gate.drift),
            include_split_pairs=[("train", "train")],
        ).with_id("DriftValidator")
        nodes += [previous, drift]
        compared["drift_anomalies"] = drift.outputs["anomalies"]
    if gate.skew:
        skew = DistributionValidator(
            statistics=statistics,
            baseline_statistics=statistics,
            config=distribution_config(gate.skew),
            include_split_pairs=[("eval", "train")],
        ).with_id("SkewValidator")
        nodes.append(skew)
        compared["skew_anomalies"] = skew.outputs["anomalies"]
    data_gate = DataGate(
        anomalies=validator.outputs["anomalies"],
        statistics=statistics,
        schema=schema,
        fail_on=gate.fail_on,
        **compared,
    )
    return [*nodes, data_gate], schema, data_gate


def _train_and_push(config: PipelineConfig, examples: Any, schema: Any) -> list[base_node.BaseNode]:
    """Features, model, its measure, its push."""
    transform_config = _transform_config(config)
    val = ["val"] if config.data.split.has_val else []
    analyzer_cache = tfx.dsl.Resolver(
        strategy_class=resolvers.AnalyzerCache,
        config=resolvers.analyzer_cache_config(transform_config),
        cache=tfx.dsl.Channel(type=standard_artifacts.TransformCache),
        examples=examples,
    ).with_id("AnalyzerCache")
    transform = Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn="transform.preprocessing.preprocessing_fn",
        # The eval split is the gate's: it is read raw, through the exported model.
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=["train", *val]),
        analyzer_cache=analyzer_cache.outputs["cache"],
        custom_config=transform_config,
        disable_statistics=True,
    )
    tuner_nodes, tuned = _tune(config, transform, schema)
    trainer = Trainer(
        run_fn=config.train.run_fn,
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema,
        train_args=trainer_pb2.TrainArgs(splits=["train"], num_steps=config.train.steps),
        # TFX takes no empty list for "eval"; the trainer does not validate on its own rows.
        eval_args=trainer_pb2.EvalArgs(splits=val or ["train"]),
        custom_config=_trainer_config(config),
        **tuned,
    )
    model = trainer.outputs["model"]
    baseline = tfx.dsl.Resolver(
        strategy_class=resolvers.LatestBlessedBefore,
        model=tfx.dsl.Channel(type=standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=standard_artifacts.ModelBlessing),
        candidate=model,
    ).with_id("LatestBlessedModel")
    evaluator = Evaluator(
        config,
        examples=examples,
        model=model,
        schema=schema,
        baseline_model=baseline.outputs["model"],
        baseline_blessing=baseline.outputs["model_blessing"],
    )
    nodes = [analyzer_cache, transform, *tuner_nodes, trainer, baseline, evaluator]
    blessing = evaluator.outputs["blessing"]
    if not config.has_serving_gate:
        return [*nodes, *_push(config, examples, model, blessing)]
    with tfx.dsl.Cond(_is_blessed(blessing)):
        gate_nodes, gate = _compress_and_judge(config, examples, transform, trainer, tuned)
        pusher = _push(
            config,
            examples,
            gate.outputs["winner"],
            gate.outputs["blessing"],
            gate.outputs["infra_blessing"],
        )
    return [*nodes, *gate_nodes, *pusher]


def _tune(
    config: PipelineConfig, transform: Any, schema: Any
) -> tuple[list[base_node.BaseNode], dict[str, Any]]:
    """The Tuner, and what it hands to the nodes that train."""
    if config.tune is None:
        return [], {}
    from tfx_pipeline.components.tuner.component import Tuner  # It imports keras_tuner.

    tuner = Tuner(
        tuner_fn="trainer.tuning.run.tuner_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema,
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        # Without a val split the tuner says what it needs one for.
        eval_args=trainer_pb2.EvalArgs(splits=["val"] if config.data.split.has_val else ["train"]),
        custom_config={**_trainer_config(config), "tune": config.tune.model_dump(mode="json")},
    )
    return [tuner], {"hyperparameters": tuner.outputs["best_hyperparameters"]}


def _compress_and_judge(
    config: PipelineConfig, examples: Any, transform: Any, trainer: Any, tuned: dict[str, Any]
) -> tuple[list[base_node.BaseNode], ServingGate]:
    """The ladder of candidates, and the verdict on them as they will be served."""
    # The modules of these have registered the user's own layers, where there are any.
    own = [
        path
        for path in (config.train.run_fn, config.model.builder)
        if path not in (None, *_OUR_FUNCTIONS)
    ]
    model = trainer.outputs["model"]
    trained = {
        "transform_graph": transform.outputs["transform_graph"],
        "model_run": trainer.outputs["model_run"],
    }
    nodes: list[base_node.BaseNode] = []
    ladder: dict[str, Any] = {}
    if config.compress is not None:
        compressor = Compressor(
            examples=transform.outputs["transformed_examples"],
            **trained,
            **tuned,
            custom_config={
                **_trainer_config(config),
                "compress": config.compress.model_dump(mode="json"),
            },
        )
        nodes.append(compressor)
        ladder["candidates"] = compressor.outputs["candidates"]
    gates = config.gates.of_serving.model_dump_json()
    custom_config = {
        "transform": config.transform.model_dump(mode="json"),
        "functions": own,
        "start_timeout_s": config.serve.ready_timeout_seconds,
        # A verdict holds for the server that was asked: with another one it is asked anew.
        "server": Path(server_name(Settings())).name,
        **_user_code(config, own),
    }
    champion = tfx.dsl.Resolver(
        strategy_class=resolvers.LatestPushedBefore,
        config=resolvers.champion_config(gates, custom_config),
        pushed_model=tfx.dsl.Channel(type=standard_artifacts.PushedModel),
        model_blessing=tfx.dsl.Channel(type=standard_artifacts.ModelBlessing),
        candidate=ladder.get("candidates", model),
    ).with_id("LatestPushedModel")
    gate = ServingGate(
        examples=examples,
        transformed_examples=transform.outputs["transformed_examples"],
        model=model,
        **trained,
        **ladder,
        champion=champion.outputs["pushed_model"],
        champion_blessing=champion.outputs["model_blessing"],
        gates=gates,
        custom_config=custom_config,
    )
    return [*nodes, champion, gate], gate


def _push(
    config: PipelineConfig,
    examples: Any,
    model: Any,
    model_blessing: Any,
    infra_blessing: Any | None = None,
) -> list[base_node.BaseNode]:
    """The Pusher; behind TFX's InfraValidator where the config asks for it."""
    asked = config.gates.infra_validator
    if asked is None:
        return [_pusher(config, model, model_blessing, infra_blessing)]
    # Without a blessing there may be no model to load; and a container takes its time.
    with tfx.dsl.Cond(_is_blessed(model_blessing)):
        validator = _infra_validator(asked, model, examples)
        # It looked at the same model as the serving gate, later, and the Pusher takes one of them.
        pusher = _pusher(config, model, model_blessing, validator.outputs["blessing"])
    return [validator, pusher]


def _pusher(
    config: PipelineConfig, model: Any, model_blessing: Any, infra_blessing: Any | None
) -> Pusher:
    return Pusher(
        model=model,
        model_blessing=model_blessing,
        infra_blessing=infra_blessing,
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(config.push_dir))
        ),
        custom_config=_probe(config),
    )


def _is_blessed(blessing: Any) -> Any:
    """The condition under which what stands behind a ModelBlessing runs."""
    return blessing.future()[0].custom_property("blessed") == 1


def _infra_validator(asked: InfraValidatorConfig, model: Any, examples: Any) -> base_node.BaseNode:
    from tfx.components.infra_validator.component import InfraValidator  # Docker, Kubernetes.

    serving = infra_validator_pb2.ServingSpec(
        tensorflow_serving=infra_validator_pb2.TensorFlowServing(
            image_name=asked.image, tags=asked.tags
        )
    )
    if asked.platform == "kubernetes":
        serving.kubernetes.service_account_name = asked.service_account
    else:
        serving.local_docker.SetInParent()
    rows: dict[str, Any] = {}
    if asked.rows:
        rows["examples"] = examples
        rows["request_spec"] = infra_validator_pb2.RequestSpec(
            tensorflow_serving=infra_validator_pb2.TensorFlowServingRequestSpec(),
            num_examples=asked.rows,
            split_name="eval",
        )
    return InfraValidator(
        model=model,
        serving_spec=serving,
        validation_spec=infra_validator_pb2.ValidationSpec(
            max_loading_time_seconds=asked.max_loading_seconds, num_tries=asked.tries
        ),
        **rows,
    )


def _probe(config: PipelineConfig) -> dict[str, Any] | None:
    """Whom the Pusher asks for the new version, if anybody."""
    if not config.serve.address:
        return None
    return Probe(
        config.serve.address, config.model_name, config.serve.probe_timeout_seconds
    ).to_custom_config()


def _transform_config(config: PipelineConfig) -> dict[str, Any]:
    """What the preprocessing function is given. Only that: a change elsewhere in the config must
    not cost a new Transform."""
    return {
        "transform": config.transform.model_dump(mode="json"),
        **_user_code(config, [config.features.preprocessing_fn], own_files.of_transform(config)),
    }


def _trainer_config(config: PipelineConfig) -> dict[str, Any]:
    """What `run_fn` is given."""
    return {
        "transform": config.transform.model_dump(mode="json"),
        "model": config.model.model_dump(mode="json"),
        "train": config.train.model_dump(mode="json"),
        **_user_code(
            config, [config.train.run_fn, config.model.builder], own_files.of_training(config)
        ),
    }


def _user_code(
    config: PipelineConfig, functions: Sequence[str | None], files: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Fingerprints of the user's own functions and `files`, and of Assay: a cached result must not
    outlive what made it. `folder` is where a `file.py:function`, and a file, starts from."""
    own = [path for path in functions if path and path not in _OUR_FUNCTIONS]
    code = {path: user_code.fingerprint(path, config.folder) for path in own}
    found: dict[str, Any] = {"code": {"tfx-assay": version("tfx-assay"), **code, **(files or {})}}
    if files or any(":" in path for path in own):
        found["folder"] = str(config.deployed_folder)
    return found


_OUR_FUNCTIONS = (
    FeaturesConfig.model_fields["preprocessing_fn"].default,
    TrainConfig.model_fields["run_fn"].default,
)
