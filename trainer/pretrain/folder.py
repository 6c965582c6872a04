"""The folder of an encoder: unfinished with its checkpoints at first, then whole at once."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_pipeline.errors import ConfigError
from trainer.export import save_keras
from trainer.models.encoders.pretrained_files import CONFIG, ENCODER, VOCABULARY, described
from trainer.models.encoders.text_transformer import Sizes
from trainer.pretrain.settings import Result, Settings

if TYPE_CHECKING:
    import numpy as np
    import tf_keras


def check(output: Path) -> None:
    """Refuses a folder that must not be replaced.

    Raises:
        ConfigError: It holds something else than an encoder.
    """
    is_free = not output.exists() or (output.is_dir() and not any(output.iterdir()))
    if not is_free and not (output / ENCODER).is_file():
        raise ConfigError(
            f"{output} is there already, and no encoder",
            hint="Name another folder: this one would be replaced.",
        )


def digest(settings: Settings, words: Sequence[str], rows: np.ndarray) -> str:
    """SHA-256 of what an encoder follows from."""
    content = json.dumps([_plain(settings), list(words)]).encode()
    return hashlib.sha256(content + rows.tobytes()).hexdigest()


def unfinished(output: Path, made_by: str) -> Path:
    """The folder for checkpoints, beside `output`; those of other texts or settings are removed."""
    folder = _unfinished(output)
    mark = folder / "made_by.txt"
    if not mark.is_file() or mark.read_text() != made_by:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        mark.write_text(made_by)
    return folder


def write(
    encoder: tf_keras.Model,
    words: Sequence[str],
    sizes: Sizes,
    settings: Settings,
    result: Result,
) -> None:
    """Writes the encoder, its words and its sizes beside the checkpoints, and then renames the
    folder to `result.folder`."""
    output, folder = result.folder, _unfinished(result.folder)
    save_keras(encoder, str(folder / ENCODER))
    (folder / VOCABULARY).write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    found = {key: value for key, value in vars(result).items() if key != "folder"}
    more = {"pretraining": {"task": "masked tokens", **_plain(settings)}, "held_out": found}
    (folder / CONFIG).write_text(described(sizes, more), encoding="utf-8")
    old = output.with_name(f".{output.name}.old")
    if old.exists() and not output.exists():  # A call that was killed right here.
        old.rename(output)
    shutil.rmtree(old, ignore_errors=True)
    if output.exists():
        output.rename(old)
    folder.rename(output)
    for file in output.iterdir():
        if file.name not in (ENCODER, VOCABULARY, CONFIG):
            file.unlink()
    shutil.rmtree(old, ignore_errors=True)


def _unfinished(output: Path) -> Path:
    return output.with_name(f".{output.name}.unfinished")


def _plain(settings: Settings) -> dict[str, Any]:
    return {**vars(settings), "shape": settings.shape.model_dump()}
