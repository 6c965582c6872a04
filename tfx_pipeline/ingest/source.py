"""`Source`: everything that decides which rows are read, how they are typed and split."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tfx_pipeline.config.data import DataConfig
from tfx_pipeline.ingest.numbers import NumberForm
from transform.config import Content, StorageType, contents, date_formats, storage_types

if TYPE_CHECKING:
    from tfx_pipeline.config.pipeline import PipelineConfig


@dataclass(frozen=True)
class Source:
    """What is read, and as what.

    Attributes:
        data: The config's `data` section.
        types: tf.Example kind of each column that is kept, by its name.
        paths: `data.path`, absolute.
        dates: Format of each column of dates that is text ("" for ISO 8601), by its name.
        contents: What columns of bytes hold, where it is fetched or checked.
    """

    data: DataConfig
    types: dict[str, StorageType]
    paths: list[str]
    dates: dict[str, str] = field(default_factory=dict)
    contents: dict[str, Content] = field(default_factory=dict)

    @property
    def numbers(self) -> NumberForm:
        """How text states numbers."""
        return NumberForm(self.data.decimal, self.data.thousands)

    @property
    def path_columns(self) -> list[str]:
        """Columns that name files, whose contents are the data."""
        return [name for name, content in self.contents.items() if content == "image_path"]

    @property
    def split_columns(self) -> list[str]:
        """Columns that the split reads, whether they are kept or not."""
        split = self.data.split
        return [split.column] if split.column else list(split.key)

    @property
    def hashes_whole_row(self) -> bool:
        """Whether every column of the data is read, because the split hashes all of them."""
        return self.data.split.method == "hash" and not self.data.split.key

    @property
    def needed_columns(self) -> list[str]:
        """Columns that must be in the data: the kept ones and those of the split."""
        return list(dict.fromkeys([*self.types, *self.split_columns]))

    def to_json(self) -> str:
        """The same text for the same source: it is part of the cache key of ExampleGen."""
        content = {
            "data": self.data.model_dump(mode="json"),
            "types": self.types,
            "paths": self.paths,
            "dates": self.dates,
            "contents": self.contents,
        }
        return json.dumps(content, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Source:
        """Reads what `to_json` wrote."""
        content = json.loads(text)
        return cls(
            DataConfig(**content["data"]),
            content["types"],
            content["paths"],
            content["dates"],
            content["contents"],
        )


def source_of(config: PipelineConfig) -> Source:
    """The source that a pipeline's config describes."""
    paths = [str(config.resolve(path)) for path in config.data.path]
    features = config.features
    types = storage_types(config.transform)
    return Source(config.data, types, paths, date_formats(features), contents(features))
