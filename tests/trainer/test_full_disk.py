"""A disk that is full at a checkpoint: the one before is whole, and the run goes on from it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.rows import compiled, fitted, split
from tfx_pipeline.errors import StorageError
from trainer.config import TrainConfig

pytestmark = pytest.mark.slow  # Trains three times.


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def test_goes_on_from_the_checkpoint_before(disk: Path, tmp_path: Path) -> None:
    import tf_keras

    from trainer.fit import fit

    train = TrainConfig.model_validate(
        {"steps": 9, "steps_per_epoch": 3, "batch_size": 48, "tensorboard": False, "ema": 0.9}
    )
    filler = disk / "filler"

    class Fill(tf_keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))

    model = compiled(train)
    with pytest.raises(StorageError, match=r"cannot be written|disk is full") as caught:
        fit(model, train, split(), None, str(disk / "run"), {}, extra=[Fill()])
    assert str(disk) in caught.value.where
    assert "assay run --resume" in caught.value.hint

    filler.unlink()
    rest: list[int] = []
    told = tf_keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: rest.append(epoch))
    model = compiled(train)
    fit(model, train, split(), None, str(disk / "run"), {}, extra=[told])
    assert rest == [1, 2]
    undisturbed = fitted(train, tmp_path / "undisturbed")
    for one, other in zip(model.get_weights(), undisturbed.get_weights(), strict=True):
        assert one.tobytes() == other.tobytes()
