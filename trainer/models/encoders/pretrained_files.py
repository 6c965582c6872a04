"""Where a pretrained encoder lies on disk, and what lies beside it. No TensorFlow.

A folder of `assay pretrain` has `encoder.h5` (a Keras model), `vocabulary.txt` (a word a line, from
id 2 on) and `config.json` (its sizes). Other encoders have a vocabulary as well, and no config.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tfx_pipeline.errors import ConfigError, EnvironmentMismatch
from trainer.models.encoders.text_transformer import Sizes

ENCODER = "encoder.h5"
VOCABULARY = "vocabulary.txt"
CONFIG = "config.json"
_FORMAT = "assay text encoder 1"
_KERAS = (".h5", ".keras")
_FIELD = "model.text.pretrained.path"
_DOWNLOAD_SECONDS = 20.0  # Of silence; a firewall that drops packets would let it wait for ever.


@dataclass(frozen=True)
class EncoderFiles:
    """An encoder on disk.

    Attributes:
        kind: A Keras file, or a folder with a SavedModel.
        path: Either.
        vocabulary: The words of ids 2 and on.
        sizes: Those of an encoder that `assay pretrain` wrote; None of any other.
    """

    kind: Literal["keras", "saved_model"]
    path: Path
    vocabulary: Path
    sizes: Sizes | None


def is_handle(path: str) -> bool:
    """Whether it is the address of a model on TF-Hub, and not a path."""
    return "://" in path and not path.startswith(("file://", "gs://", "s3://"))


def find(path: str, folder: Path) -> EncoderFiles:
    """The encoder at a path, or in the cache of TF-Hub.

    Args:
        path: File or folder, or an `https://` address.
        folder: Where a relative path starts from.

    Raises:
        ConfigError: There is no file, it is none of an encoder, or its vocabulary is not beside it.
        EnvironmentMismatch: A TF-Hub model is not in the cache, and cannot be fetched.
    """
    place = _fetched(path) if is_handle(path) else folder / Path(path).expanduser()
    if not place.exists():
        beside = sorted(p.name for p in place.parent.glob("*")) if place.parent.is_dir() else []
        raise ConfigError(
            f"there is no encoder {str(place)!r}",
            where=_FIELD,
            hint="Make one with `assay pretrain`, or name a .h5 or .keras file or the folder of a "
            f"SavedModel. {place.parent} has: {', '.join(beside[:20]) or 'nothing'}.",
        )
    if place.is_dir():
        return _in_folder(place)
    if place.suffix not in _KERAS:
        raise _wrong(place, "it is neither .h5 nor .keras")
    return EncoderFiles("keras", place, _vocabulary(place.parent), _sizes(place))


def digest(path: str, folder: Path) -> str:
    """SHA-256 of all that makes the encoder at a path; of a TF-Hub model, of its address.

    Raises:
        ConfigError: As `find`.
    """
    if is_handle(path):
        return hashlib.sha256(path.encode()).hexdigest()
    total = hashlib.sha256()
    for file in _all_files(find(path, folder)):
        total.update(file.name.encode() + b"\0")
        with file.open("rb") as stream:
            while part := stream.read(2**20):
                total.update(part)
    return total.hexdigest()


def described(sizes: Sizes, more: dict[str, Any]) -> str:
    """The content of `config.json`."""
    return json.dumps({"format": _FORMAT, "sizes": asdict(sizes), **more}, indent=2) + "\n"


def _all_files(files: EncoderFiles) -> Iterator[Path]:
    if files.kind == "keras":
        yield files.path
    else:
        yield from sorted(p for p in files.path.rglob("*") if p.is_file())
    yield files.vocabulary
    if files.sizes:
        yield files.path.with_name(CONFIG)


def _in_folder(folder: Path) -> EncoderFiles:
    if (folder / "saved_model.pb").is_file():
        # `assets` is where a SavedModel keeps its own files.
        inside = folder / "assets" / VOCABULARY
        vocabulary = inside if inside.is_file() else _vocabulary(folder)
        return EncoderFiles("saved_model", folder, vocabulary, None)
    keras = [p for p in sorted(folder.iterdir()) if p.suffix in _KERAS]
    if len(keras) != 1:
        has = f"{len(keras)} Keras files" if keras else "neither a Keras file nor saved_model.pb"
        raise _wrong(folder, f"it has {has}")
    return EncoderFiles("keras", keras[0], _vocabulary(folder), _sizes(keras[0]))


def _vocabulary(folder: Path) -> Path:
    if not (folder / VOCABULARY).is_file():
        raise ConfigError(
            f"the vocabulary of the encoder in {folder} is missing",
            where=_FIELD,
            hint=f"Put it there as {VOCABULARY}: a word a line, the first one that of id 2 (0 is "
            "padding, 1 a word that is not known).",
        )
    return folder / VOCABULARY


def _sizes(encoder: Path) -> Sizes | None:
    config = encoder.with_name(CONFIG)
    if not config.is_file():
        return None
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        return Sizes(**content["sizes"]) if content.get("format") == _FORMAT else None
    except (UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _wrong(config, f"it does not read: {error}") from error


def _wrong(place: Path, what: str) -> ConfigError:
    return ConfigError(
        f"{place} is no encoder: {what}",
        where=_FIELD,
        hint="Name the folder that `assay pretrain` wrote, a .h5 or .keras file, or the folder of "
        "a SavedModel.",
    )


def _fetched(handle: str) -> Path:
    """The folder of a TF-Hub model: in the cache, or fetched into it."""
    # Where and how TF-Hub itself keeps them.
    root = os.environ.get("TFHUB_CACHE_DIR") or os.path.join(tempfile.gettempdir(), "tfhub_modules")
    cached = Path(root) / hashlib.sha1(handle.encode()).hexdigest()
    if cached.is_dir():
        return cached
    import socket

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_SECONDS)
    try:
        import tensorflow_hub  # type: ignore[import-untyped]

        return Path(tensorflow_hub.resolve(handle))
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise EnvironmentMismatch(
            f"the model {handle} is not in the cache of TF-Hub, and cannot be fetched: {said[0]}",
            where=_FIELD,
            hint=f"The cache is {root} (TFHUB_CACHE_DIR names another), the model's folder in it "
            f"{cached.name}. Unpack the model there on this machine, or give the path of a folder.",
        ) from error
    finally:
        socket.setdefaulttimeout(before)
