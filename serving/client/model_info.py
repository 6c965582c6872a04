"""What an exported model says of its raw columns, read from the folder it was pushed to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tfx_pipeline.errors import DataError

FILE = Path("assets.extra") / "assay_signature.json"
KINDS = ("int", "float", "bytes")


@dataclass(frozen=True)
class ModelInfo:
    """The raw columns that a model's `examples` signature parses.

    Attributes:
        kinds: Column name to `int`, `float` or `bytes`, the list its feature is parsed from.
        label: The label's column, or "" where the export does not name one.
        missing_values: Texts that meant missing in the training data.
    """

    kinds: dict[str, str]
    label: str = ""
    missing_values: tuple[str, ...] = ()


def load_model_info(model_dir: str | Path) -> ModelInfo:
    """Reads `assets.extra/assay_signature.json` of a version folder, or of the newest version
    under a base path.

    Raises:
        DataError: There is no such file, or it is not what an export writes.
    """
    path = _find(Path(model_dir))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kinds = {str(name): str(kind) for name, kind in content["columns"].items()}
        wrong = {name: kind for name, kind in kinds.items() if kind not in KINDS}
        if wrong:
            raise ValueError(f"kinds must be one of {', '.join(KINDS)}; found {wrong}")
        marks = tuple(str(text) for text in content.get("missing_values") or ())
        return ModelInfo(kinds, str(content.get("label") or ""), marks)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(
            f"cannot read the columns of the model: {error}",
            where=str(path),
            hint="Export the model again, or name the columns with --kinds column=float.",
        ) from error


def load_kinds(model_dir: str | Path) -> dict[str, str]:
    """Column name to kind: `load_model_info(model_dir).kinds`."""
    return load_model_info(model_dir).kinds


def _find(model_dir: Path) -> Path:
    if (model_dir / FILE).is_file():
        return model_dir / FILE
    try:
        versions = [int(entry.name) for entry in model_dir.iterdir() if entry.name.isdigit()]
    except OSError as error:
        raise DataError(
            f"cannot read the model folder: {error.strerror}",
            where=str(model_dir),
            hint="Name the folder the model was pushed to.",
        ) from error
    if not versions or not (model_dir / str(max(versions)) / FILE).is_file():
        raise DataError(
            f"no {FILE} in the newest version" if versions else "no version of a model",
            where=str(model_dir),
            hint="Name a folder that Assay pushed to, or the columns with --kinds column=float.",
        )
    return model_dir / str(max(versions)) / FILE
