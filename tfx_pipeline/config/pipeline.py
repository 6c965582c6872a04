"""`PipelineConfig`: the whole of `pipeline.yaml` as one checked model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from tfx_pipeline.config.data import DataConfig
from tfx_pipeline.config.gates import GatesConfig
from tfx_pipeline.config.run import RunConfig, ServeConfig
from trainer.compression.config import CompressConfig
from trainer.config import ModelConfig, TrainConfig
from trainer.tuning.config import TuneConfig
from transform.config import FeaturesConfig, Section, TransformConfig


def _off(value: Any) -> Any:
    """`off` is `false` to YAML."""
    return None if value in ("off", False) else value


Compress = Annotated[
    CompressConfig | None,
    BeforeValidator(
        _off, json_schema_input_type=CompressConfig | Literal["auto", "off", False] | None
    ),
]


class PipelineConfig(Section):
    """One pipeline. Every field but `name`, `data` and `features` has a default for a first run."""

    name: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$", description="The pipeline's name, in MLMD too."
    )
    data: DataConfig = Field(description="Where the rows come from.")
    features: FeaturesConfig = Field(description="Which columns become features, and how.")
    model: ModelConfig = Field(ModelConfig(), description="The network.")
    train: TrainConfig = Field(TrainConfig(), description="How it is trained.")
    tune: TuneConfig | None = Field(
        None,
        description="A search for better values of `model` and `train` before training; empty: "
        "none.",
    )
    compress: Compress = Field(
        None,
        description="The compression ladder: `auto`, which candidates to make, or `off` (as when "
        "it is left out).",
    )
    gates: GatesConfig = Field(GatesConfig(), description="What stops a run or a push.")
    serve: ServeConfig = Field(ServeConfig(), description="The pushed model.")
    run: RunConfig = Field(RunConfig(), description="How the pipeline is run.")

    _folder: Path = PrivateAttr(default_factory=Path.cwd)
    _source: Path | None = PrivateAttr(default=None)
    _lines: dict[str, int] = PrivateAttr(default_factory=dict)
    _secrets_deferred: bool = PrivateAttr(default=False)
    _deployed_folder: Path | None = PrivateAttr(default=None)

    @classmethod
    def from_resolved(cls, values: dict[str, Any], folder: Path, source: str) -> PipelineConfig:
        """The config of a compiled pipeline, on a machine that may not have its file.

        Args:
            values: As `model_dump(mode="json")` of the config gave.
            folder: Where relative paths start from.
            source: The config file's path where it was compiled; empty: none.
        """
        config = cls.model_validate(values)
        config._folder, config._source = folder, Path(source) if source else None
        return config

    @property
    def folder(self) -> Path:
        """Folder that relative paths start from: the config file's."""
        return self._folder

    @property
    def source(self) -> Path | None:
        """The config file, if it was read from one."""
        return self._source

    def place(self, field: str) -> str:
        """Where a field (`gates.quality.thresholds[0].metric`) stands: file and line.

        A field that the file leaves out stands where its section does.
        """
        source = str(self._source or "pipeline.yaml")
        while field and field not in self._lines:
            field = field[: max(field.rfind("."), field.rfind("["), 0)]
        return f"{source}:{self._lines[field]}" if field else source

    @property
    def transform(self) -> TransformConfig:
        """What the preprocessing function needs to know."""
        return TransformConfig(
            features=self.features.with_files(lambda path: str(self.resolve(path))),
            label=self.data.label,
            missing_values=[text for text in self.data.missing_values if text],
        )

    @property
    def root(self) -> Path:
        """Folder of artifacts, metadata and reports."""
        return self.resolve(self.run.root)

    @property
    def model_name(self) -> str:
        """Name under which the pushed model is served."""
        return self.serve.model_name or self.name

    @property
    def push_dir(self) -> Path:
        """`model_base_path`: the folder of version folders."""
        return (
            self.resolve(self.serve.push_dir)
            if self.serve.push_dir
            else self.root / "serving" / self.model_name
        )

    @property
    def has_serving_gate(self) -> bool:
        """Whether candidates are judged through the model server before the push."""
        return self.compress is not None or self.gates.judge_serving

    def resolve(self, path: str) -> Path:
        """A path of the config, absolute, where the nodes run."""
        return (self.deployed_folder / Path(path).expanduser()).resolve()

    @property
    def deployed_folder(self) -> Path:
        """The config file's folder where the nodes run: `folder`, or its copy in an image."""
        return self._deployed_folder or self._folder

    def deployed_to(self, folder: Path) -> PipelineConfig:
        """A copy for nodes that have the config file's folder elsewhere, in an image."""
        copy = self.with_run()
        copy._deployed_folder = folder
        return copy

    @property
    def secrets_deferred(self) -> bool:
        """Whether what is made of this config names secrets instead of holding them."""
        return self._secrets_deferred

    def deferring_secrets(self) -> PipelineConfig:
        """A copy for pipelines that are written to a file: no password is read or stored."""
        copy = self.with_run()
        copy._secrets_deferred = True
        return copy

    def with_run(self, **changes: object) -> PipelineConfig:
        """A copy whose `run` section has other values."""
        return self._with(run=self.run.model_copy(update=changes))

    def with_train(self, **changes: object) -> PipelineConfig:
        """A copy whose `train` section has other values."""
        return self._with(train=self.train.model_copy(update=changes))

    def _with(self, **sections: Section) -> PipelineConfig:
        copy = self.model_copy(update=sections)
        copy._folder, copy._source, copy._lines = self._folder, self._source, self._lines
        copy._secrets_deferred = self._secrets_deferred
        copy._deployed_folder = self._deployed_folder
        return copy
