"""The cache of job-server jars, with a real HTTP server as the Maven repository."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfx_pipeline.errors import EnvironmentMismatch
from tfx_pipeline.runners.beam import assembled, jars, matrix

FLINK = matrix.job_server("flink", "1.20")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Maven repository on loopback, empty; and an empty cache."""
    root = tmp_path / "repository"
    root.mkdir()
    handler = functools.partial(Quiet, directory=str(root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("ASSAY_MAVEN_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("ASSAY_JARS", str(tmp_path / "cache"))
    yield root
    server.shutdown()
    server.server_close()


def publish(root: Path, content: bytes, checksum: str | None = None) -> None:
    assert FLINK is not None
    path = root / FLINK.path
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    told = checksum or hashlib.sha1(content).hexdigest()
    path.with_name(path.name + ".sha1").write_text(told)


def test_a_published_jar_is_fetched_once_and_found(repository: Path, tmp_path: Path) -> None:
    publish(repository, b"a jar")
    assert jars.find("flink", "1.20") is None
    said: list[str] = []
    jar = jars.fetch("flink", "1.20", said.append)
    assert jar.read_bytes() == b"a jar"
    assert jar == jars.find("flink", "1.20") == jars.require("flink", "1.20")
    assert jars.damage(jar) == ""
    (repository / FLINK.path).unlink()  # type: ignore[union-attr]
    jars.fetch("flink", "1.20", said.append)
    assert "already" in said[-1]


def test_a_jar_that_is_not_what_its_repository_says_is_not_kept(repository: Path) -> None:
    publish(repository, b"tampered", checksum="0" * 40)
    with pytest.raises(EnvironmentMismatch, match="its repository says 0000"):
        jars.fetch("flink", "1.20", lambda _: None)
    assert jars.find("flink", "1.20") is None


def test_a_jar_that_changed_in_the_cache_is_seen_and_mended(repository: Path) -> None:
    publish(repository, b"a jar")
    jar = jars.fetch("flink", "1.20", lambda _: None)
    jar.write_bytes(b"half a j")
    assert "sha256" in jars.damage(jar)
    assert jars.fetch("flink", "1.20", lambda _: None).read_bytes() == b"a jar"


def test_without_a_jar_the_error_says_how_to_get_one(repository: Path) -> None:
    with pytest.raises(EnvironmentMismatch) as caught:
        jars.require("flink", "1.20")
    assert "assay doctor --beam flink --fetch" in caught.value.hint
    with pytest.raises(EnvironmentMismatch, match="404") as caught:
        jars.fetch("flink", "1.20", lambda _: None)
    assert "--assemble" in caught.value.hint
    with pytest.raises(EnvironmentMismatch, match=r"no job server for flink 1\.11"):
        jars.fetch("flink", "1.11", lambda _: None)


def make_jar(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as jar:
        for name, text in files.items():
            jar.writestr(name, text)
    return path


def test_libraries_are_pinned_and_their_services_joined(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = "META-INF/services/a.Service"
    first = make_jar(repository / "b.jar", {"x": "first", service: "b.Impl", "META-INF/A.SF": ""})
    second = make_jar(repository / "c.jar", {"x": "second", "y": "y", service: "c.Impl"})
    silent = make_jar(repository / "d.jar", {"z": "z", service: "d.Impl"})
    parts = {path.name: jars.sha256(path) for path in (first, second, silent)}
    recipe = assembled.Recipe("flink", "1.20.5", "2.0", "a.Main", parts, ("d",))
    monkeypatch.setattr(assembled, "recipes", lambda: (recipe,))
    jar = jars.fetch("flink", "1.20", lambda _: None, assemble=True)
    with zipfile.ZipFile(jar) as made:
        assert made.read("x") == b"first"
        assert made.read("y") + made.read("z") == b"yz"
        assert made.read(service).split() == [b"b.Impl", b"c.Impl"]
        assert b"Main-Class: a.Main" in made.read("META-INF/MANIFEST.MF")
        assert "META-INF/A.SF" not in made.namelist()
    assert jars.find("flink", "1.20") == jar
    jar.unlink()
    (jars.folder() / "parts" / "c.jar").unlink()
    make_jar(repository / "c.jar", {"x": "another file than the one that was tested"})
    with pytest.raises(EnvironmentMismatch, match="pinned is"):
        jars.fetch("flink", "1.20", lambda _: None, assemble=True)


def test_a_mirror_of_central_is_read_from_mavens_settings(tmp_path: Path) -> None:
    settings = tmp_path / "settings.xml"
    assert jars.mirror(settings) == ""
    settings.write_text(
        '<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0"><mirrors>'
        "<mirror><mirrorOf>jcenter</mirrorOf><url>https://no.example/</url></mirror>"
        "<mirror><mirrorOf>central</mirrorOf><url>https://mirror.example/m2/</url></mirror>"
        "</mirrors></settings>"
    )
    assert jars.mirror(settings) == "https://mirror.example/m2"


def test_every_recipe_is_whole() -> None:
    for recipe in assembled.recipes():
        assert len(recipe.parts) > 50
        assert all(len(sha) == 64 and path.endswith(".jar") for path, sha in recipe.parts.items())
    assert {r.engine for r in assembled.recipes()} == {"flink", "spark"}


def test_the_matrix_is_the_installed_beams() -> None:
    assert "1.20" in matrix.flink_versions()
    assert FLINK is not None
    assert FLINK.path.endswith(f"/{FLINK.beam}/beam-runners-flink-1.20-job-server-{FLINK.beam}.jar")
    assert matrix.job_server("flink", "1.10") is None
    assert matrix.job_server("spark", "") is not None
