"""A push is cached only while the newest version is that very push; real runs of a pipeline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    """Two models, `a` and `b`, as the Trainer lays them out; the Pusher only copies the bytes."""
    folders = {name: tmp_path / name for name in "ab"}
    for name, folder in folders.items():
        (folder / "Format-Serving" / "variables").mkdir(parents=True)
        (folder / "Format-Serving" / "saved_model.pb").write_text(name)
    return folders


class Pushes:
    """Runs of a pipeline whose one real node is the Pusher."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = root / "serving"

    def run(self, model: Path, *, blessed: int = 1) -> tuple[str, dict[str, Any]]:
        """Runs it; gives `COMPLETE` or `CACHED`, and the PushedModel's custom properties."""
        import tfx.v1 as tfx
        from tfx.types import standard_artifacts as kinds
        from tfx.v1.orchestration import LocalDagRunner

        from tfx_pipeline.components.pusher import Pusher

        trained = tfx.dsl.Importer(source_uri=str(model), artifact_type=kinds.Model)
        judged = tfx.dsl.Importer(
            source_uri=str(self.root / f"blessing-{blessed}"),
            artifact_type=kinds.ModelBlessing,
            custom_properties={"blessed": blessed},
        )
        pusher = Pusher(
            model=trained.outputs["result"],
            model_blessing=judged.outputs["result"],
            push_destination=tfx.proto.PushDestination(
                filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(self.base))
            ),
        )
        connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(self.root / "metadata.db")
        )
        LocalDagRunner().run(
            tfx.dsl.Pipeline(
                pipeline_name="pushes",
                pipeline_root=str(self.root / "artifacts"),
                components=[trained.with_id("Model"), judged.with_id("Blessing"), pusher],
                enable_cache=True,
                metadata_connection_config=connection,
            )
        )
        return _latest(connection)

    def pushed(self, model: Path) -> str:
        """Runs it; the number of the version that was pushed."""
        state, properties = self.run(model)
        assert state == "COMPLETE"
        return str(properties["pushed_version"])

    @property
    def versions(self) -> list[str]:
        """What the version folders hold, oldest first."""
        folders = sorted(self.base.iterdir(), key=lambda folder: int(folder.name))
        return [(folder / "saved_model.pb").read_text() for folder in folders]


def _latest(connection: Any) -> tuple[str, dict[str, Any]]:
    from ml_metadata.proto import metadata_store_pb2 as pb
    from tfx.orchestration import metadata

    with metadata.Metadata(connection) as handle:
        store = handle.store
        kind = "tfx_pipeline.components.pusher.component.Pusher"
        execution = max(store.get_executions_by_type(kind), key=lambda found: found.id)
        outputs = [
            event.artifact_id
            for event in store.get_events_by_execution_ids([execution.id])
            if event.type == pb.Event.OUTPUT
        ]
        [artifact] = store.get_artifacts_by_id(outputs)
        properties = {
            name: getattr(value, value.WhichOneof("value"))
            for name, value in artifact.custom_properties.items()
        }
        return pb.Execution.State.Name(execution.last_known_state), properties


@pytest.fixture
def pushes(tmp_path: Path) -> Pushes:
    return Pushes(tmp_path)


def test_the_newest_version_is_the_model_of_the_last_run(
    pushes: Pushes, models: dict[str, Path]
) -> None:
    first = pushes.pushed(models["a"])
    state, properties = pushes.run(models["a"])
    assert (state, properties["pushed_version"]) == ("CACHED", first)
    pushes.pushed(models["b"])
    third = pushes.pushed(models["a"])
    assert pushes.versions == ["a", "b", "a"]
    state, properties = pushes.run(models["a"])
    assert (state, properties["pushed_version"]) == ("CACHED", third)
    assert Path(properties["pushed_destination"]).name == third


def test_a_deleted_folder_is_filled_again(pushes: Pushes, models: dict[str, Path]) -> None:
    pushes.pushed(models["a"])
    shutil.rmtree(pushes.base)
    pushes.pushed(models["a"])
    assert pushes.versions == ["a"]
    assert pushes.run(models["a"])[0] == "CACHED"


def test_a_version_of_somebody_else_is_pushed_over(pushes: Pushes, models: dict[str, Path]) -> None:
    number = pushes.pushed(models["a"])
    (pushes.base / str(int(number) + 5)).mkdir()
    (pushes.base / str(int(number) + 5) / "saved_model.pb").write_text("foreign")
    pushes.pushed(models["a"])
    assert pushes.versions == ["a", "foreign", "a"]


def test_lost_metadata_make_no_second_push_of_the_newest_model(
    pushes: Pushes, models: dict[str, Path]
) -> None:
    number = pushes.pushed(models["a"])
    (pushes.root / "metadata.db").unlink()
    assert pushes.pushed(models["a"]) == number
    # Execution ids start anew, and with them the artifacts' paths: another model under the path
    # of the first is another model.
    (pushes.root / "metadata.db").unlink()
    (models["a"] / "Format-Serving" / "saved_model.pb").write_text("c")
    assert pushes.pushed(models["a"]) != number
    assert pushes.versions == ["a", "c"]


def test_a_refused_model_is_not_pushed_and_that_is_cached(
    pushes: Pushes, models: dict[str, Path]
) -> None:
    state, properties = pushes.run(models["a"], blessed=0)
    assert (state, properties["pushed"]) == ("COMPLETE", 0)
    assert pushes.run(models["a"], blessed=0)[0] == "CACHED"
    assert not pushes.base.exists()


def test_a_destination_that_cannot_be_read_fails_in_the_executor(
    pushes: Pushes, models: dict[str, Path]
) -> None:
    """A driver that raised would leave an execution RUNNING for ever."""
    from tfx_pipeline.errors import StorageError

    pushes.base.write_text("a file")
    with pytest.raises(StorageError, match="not a folder"):
        pushes.run(models["a"])


def test_a_broken_marker_is_no_push_of_ours(pushes: Pushes, models: dict[str, Path]) -> None:
    number = pushes.pushed(models["a"])
    marker = pushes.base / number / "assets.extra" / "assay_push.json"
    assert set(json.loads(marker.read_text())) == {"push_id", "model_sha256", "settled"}
    marker.write_text("[]")
    pushes.pushed(models["a"])
    assert pushes.versions == ["a", "a"]
