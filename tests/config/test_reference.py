"""docs/config.md: every field of pipeline.yaml stands in it, with what it means."""

from __future__ import annotations

from tfx_pipeline.config.messages import models_in
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.config.reference import reference


def test_every_field_has_a_row() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert all(line.replace("\\|", "").count("|") == 5 for line in rows)
    assert not [line for line in rows if line.endswith("|  |")]
    pending, fields = [PipelineConfig], 0
    while pending:
        model = pending.pop()
        fields += len(model.model_fields)
        for field in model.model_fields.values():
            pending += models_in(field.annotation)
    assert len(rows) == fields


def test_sections_are_named_as_in_the_file() -> None:
    text = reference()
    for title in (
        "## `data.split`",
        "## `features.columns.<column>` with `kind: date`",
        "## `features.crosses[]`",
        "## `gates.data.drift.<column>`",
        "## `gates.quality.thresholds[]`",
    ):
        assert title in text
    assert '| `decimal` | `"."`, `","` | `"."` | CSV: between' in text
    assert "| `steps` | whole number at least 1 | `1000` | Optimizer steps" in text
    assert "| `name` | text | (required) | The pipeline's name" in text
