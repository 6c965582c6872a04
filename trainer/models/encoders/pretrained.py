"""An encoder of text that has learned from other texts, as a part of the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tfx_pipeline.errors import ConfigError
from trainer import layer_rates
from trainer.adapters import inserted
from trainer.models.encoders.pretrained_files import EncoderFiles, find
from trainer.models.encoders.text_transformer import Parts, pooled, tokens
from trainer.models.encoders.transformer_config import PretrainedConfig
from transform.config import TextFeature, TransformConfig
from transform.layout import FeatureSpec
from transform.vocabulary_file import difference_of, read_words

if TYPE_CHECKING:
    import tensorflow_transform as tft
    import tf_keras

    from trainer.models.config import ModelConfig
    from trainer.models.encoders.registry import Encoding

_PATH = "model.text.pretrained.path"


def encode(feature: Encoding) -> tf_keras.KerasTensor:
    """The encoder's vector of each text, or the mean of its tokens' vectors: [N, d].

    Raises:
        ConfigError: There is no encoder, it is none, or it does not fit the column.
        EnvironmentMismatch: A TF-Hub model cannot be had.
    """
    given = feature.config.model.text.pretrained
    assert given is not None  # The config's own check.
    from transform.text import FIRST_TOKEN

    files = find(given.path, feature.config.folder)
    ids = files.sizes.ids if files.sizes else FIRST_TOKEN + len(read_words(files.vocabulary))
    if feature.spec.size != ids:
        raise _of_other_words(
            f"feature {feature.spec.name!r} has {feature.spec.size} ids, the encoder {ids}", files
        )
    if files.sizes is not None:
        x = _ours(feature, given, files)
    elif given.tune in ("adapters", "lora"):
        raise ConfigError(
            f"`tune: {given.tune}` puts layers into the blocks of an encoder, and {files.path} is "
            "none of `assay pretrain`",
            where="model.text.pretrained.tune",
            hint="Set `tune` to full or frozen.",
        )
    elif files.kind == "keras":
        x = _of_keras(feature, given, files)
    else:
        x = _of_saved_model(feature, given, files)
    return pooled(x, feature.tensor, feature.scope) if len(x.shape) == 3 else x


def check_words(
    model: ModelConfig, transform: TransformConfig, graph: tft.TFTransformOutput, folder: Path
) -> None:
    """Refuses a column whose ids stand for other words than the encoder has learned.

    Args:
        model: The `model` section.
        transform: The features; those of a user's own function are not looked at.
        graph: What Transform made of them.
        folder: Where a relative path of an encoder starts from.

    Raises:
        ConfigError: They do; or as `find`.
    """
    given = model.text.pretrained
    if model.builder or model.text.encoder != "pretrained" or given is None:
        return
    if transform.features.by_user:
        return
    from transform.categorical import vocabulary_name

    files = find(given.path, folder)
    theirs = read_words(files.vocabulary)
    for column, feature in transform.features.columns.items():
        if isinstance(feature, TextFeature) and feature.output == "sequence":
            ours = [word.decode() for word in graph.vocabulary_by_name(vocabulary_name(column))]
            if difference := difference_of(ours, theirs):
                raise _of_other_words(f"of column {column!r} {difference}", files)


def _ours(feature: Encoding, given: PretrainedConfig, files: EncoderFiles) -> tf_keras.KerasTensor:
    """The layers of `assay pretrain`'s encoder become layers of the model itself."""
    sizes = files.sizes
    assert sizes is not None
    _check_length(feature.spec, sizes.length, files, exactly=False)
    parts = Parts(
        feature.scope,
        dropout=0.0 if given.tune == "frozen" else given.dropout,
        trainable=given.tune == "full",
    )
    parts.call = inserted(given, parts)
    x = tokens(feature.tensor, sizes, parts)
    saved = _loaded(files)
    try:
        for name, layer in parts.layers.items():
            layer.set_weights(saved.get_layer(name).get_weights())
    except ValueError as error:
        raise _wrong(files, f"it is not what its config.json says: {error}") from error
    blocks = [
        [layer for name, layer in parts.layers.items() if name.startswith(f"block_{index}_")]
        for index in range(sizes.blocks)
    ]
    blocks[-1].append(parts.layers["last_norm"])
    first = [parts.layers["tokens"], parts.layers["positions"]]
    layer_rates.mark([first, *blocks], given.learning_rate_decay)
    return x


def _of_keras(
    feature: Encoding, given: PretrainedConfig, files: EncoderFiles
) -> tf_keras.KerasTensor:
    """A Keras model of somebody else's, as a model inside the model."""
    encoder = _loaded(files)
    if len(encoder.inputs or []) != 1 or len(encoder.outputs or []) != 1:
        raise _wrong(files, "it has not one input and one output")
    taken, given_back = encoder.inputs[0].shape, encoder.outputs[0].shape
    if len(taken) != 2 or len(given_back) not in (2, 3):
        raise _wrong(files, f"it maps {tuple(taken)} to {tuple(given_back)}")
    if taken[1] is not None:
        _check_length(feature.spec, taken[1], files, exactly=True)
    encoder._name = f"{feature.scope}_encoder"  # There may be two columns of text.
    encoder.trainable = given.tune == "full"
    levels = [[layer] for layer in encoder.layers if layer.weights]
    layer_rates.mark(levels, given.learning_rate_decay)
    return encoder(feature.tensor, training=False if given.tune == "frozen" else None)


def _of_saved_model(
    feature: Encoding, given: PretrainedConfig, files: EncoderFiles
) -> tf_keras.KerasTensor:
    from trainer.models.encoders.pretrained_saved import SavedEncoder

    encoder = SavedEncoder(
        str(files.path.resolve()), trainable=given.tune == "full", name=f"{feature.scope}_encoder"
    )
    layer_rates.mark([[encoder]], given.learning_rate_decay)
    try:
        x = encoder(feature.tensor)
    except (TypeError, ValueError) as error:
        said = str(error).strip().splitlines()[0][:200]
        raise _wrong(files, f"it does not take ids [N, {feature.spec.shape[0]}]: {said}") from error
    if len(x.shape) not in (2, 3):
        raise _wrong(files, f"it gives {tuple(x.shape)}")
    return x


def _loaded(files: EncoderFiles) -> tf_keras.Model:
    import tf_keras

    import trainer.models.encoders.tokens
    import trainer.models.encoders.transformer_layers  # noqa: F401  # They register their layers.

    try:
        return tf_keras.models.load_model(files.path, compile=False)
    except Exception as error:
        said = str(error).strip().splitlines() or [""]
        raise _wrong(files, f"it does not load: {type(error).__name__}: {said[0][:200]}") from error


def _check_length(spec: FeatureSpec, length: int, files: EncoderFiles, *, exactly: bool) -> None:
    has = spec.shape[0] or 0
    if has > length or (exactly and has != length):
        raise ConfigError(
            f"feature {spec.name!r} has {has} tokens a row, the encoder in {files.path} takes "
            f"{length}{'' if exactly else ' at most'}",
            where=_PATH,
            hint=f"Set `max_length: {length}` of the text column.",
        )


def _wrong(files: EncoderFiles, what: str) -> ConfigError:
    return ConfigError(
        f"{files.path} is no encoder of texts: {what}",
        where=_PATH,
        hint="It must map ids [N, L], int32 or int64, to floats [N, L, d] or [N, d].",
    )


def _of_other_words(what: str, files: EncoderFiles) -> ConfigError:
    return ConfigError(
        f"the column's words are not the encoder's: {what}",
        where=_PATH,
        hint=f"Set `vocabulary: {files.vocabulary}` of the text column, so that an id stands for "
        "the word that the encoder has learned.",
    )
