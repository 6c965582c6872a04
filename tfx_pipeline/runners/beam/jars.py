"""Job-server jars: where they are kept, how they get there, and whether they are still whole.

A jar is only ever fetched when it is asked for (`assay doctor --beam flink --fetch`). Beside each
lies `<jar>.sha256`, written when it was fetched and found to be what its source says it is.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path

from tfx_pipeline.errors import EnvironmentMismatch
from tfx_pipeline.runners.beam import assembled, matrix

CENTRAL = "https://repo.maven.apache.org/maven2"
_CHUNK = 1 << 20

Say = Callable[[str], None]


def folder() -> Path:
    """Where jars are kept: `ASSAY_JARS`, else the user's cache."""
    if named := os.environ.get("ASSAY_JARS"):
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "assay" / "jars"


def repository() -> str:
    """URL of the Maven repository: `ASSAY_MAVEN_URL`, a mirror of central in the user's
    ~/.m2/settings.xml, or Maven Central."""
    if named := os.environ.get("ASSAY_MAVEN_URL"):
        return named.rstrip("/")
    return mirror(Path("~/.m2/settings.xml").expanduser()) or CENTRAL


def mirror(settings: Path) -> str:
    """The mirror of Maven Central that a settings.xml names; "" if it names none."""
    try:
        root = ET.parse(settings).getroot()
    except (OSError, ET.ParseError):
        return ""
    for entry in root.iter():
        if entry.tag.rpartition("}")[2] != "mirror":
            continue
        said = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in entry}
        of = {part.strip() for part in said.get("mirrorOf", "").split(",")}
        blocked = said.get("blocked", "") == "true"
        if of & {"central", "*", "external:*"} and said.get("url") and not blocked:
            return said["url"].rstrip("/")
    return ""


def candidates(engine: str, version: str) -> list[str]:
    """Names of the jars that can serve an engine, the better first."""
    published = matrix.job_server(engine, version)
    names = [published.file] if published else []
    recipe = assembled.recipe(engine, version)
    return [*names, recipe.file] if recipe else names


def find(engine: str, version: str, where: Path | None = None) -> Path | None:
    """The job-server jar in the cache, or None.

    Args:
        engine: `flink` or `spark`.
        version: Flink's minor version, for instance "1.20".
        where: The cache; `folder()` by default.
    """
    kept = where or folder()
    # Without its checksum a download was cut short.
    found = (kept / name for name in candidates(engine, version))
    return next((path for path in found if path.exists() and sidecar(path).exists()), None)


def require(engine: str, version: str) -> Path:
    """The job-server jar in the cache.

    Raises:
        EnvironmentMismatch: It is not there; says how to fetch it.
    """
    found = find(engine, version)
    if found is None:
        name = engine if engine == "spark" else f"{engine} {version}"
        raise EnvironmentMismatch(
            f"no job-server jar for {name} in {folder()}",
            where="run.beam.runner",
            hint=f"Fetch it with `{fetch_command(engine, version)}`, or name one in "
            "run.beam.job_server.jar.",
        )
    return found


def fetch_command(engine: str, version: str) -> str:
    """The command that fetches a jar."""
    chosen = "" if engine == "spark" or version == "1.20" else f" --flink-version {version}"
    return f"assay doctor --beam {engine}{chosen} --fetch"


def sidecar(jar: Path) -> Path:
    """The file that holds a jar's checksum."""
    return jar.with_name(jar.name + ".sha256")


def damage(jar: Path) -> str:
    """Why a jar is not the one that was fetched, or ""."""
    try:
        wanted = sidecar(jar).read_text().split()[0]
    except (OSError, IndexError):
        return "it has no checksum beside it: its download did not end"
    found = sha256(jar)
    return "" if found == wanted else f"its sha256 is {found[:12]}…, and was {wanted[:12]}…"


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(engine: str, version: str, say: Say = print, *, assemble: bool = False) -> Path:
    """Brings the job-server jar into the cache, unless it is there and whole.

    Args:
        engine: `flink` or `spark`.
        version: Flink's minor version.
        say: Called with one line for each step.
        assemble: Build it from Beam's libraries, pinned in this package, instead of taking the one
            that the installed Beam's release publishes.

    Raises:
        EnvironmentMismatch: There is no such jar, it cannot be had, or it is not what it should be.
    """
    recipe = assembled.recipe(engine, version)
    published = matrix.job_server(engine, version)
    if (recipe if assemble else published) is None:
        known = matrix.flink_versions() if engine == "flink" else matrix.spark_versions()
        raise EnvironmentMismatch(
            f"there is no {'recipe' if assemble else 'job server'} for {engine} {version}",
            hint=f"The installed Beam has {engine} {', '.join(known)}.",
        )
    name = recipe.file if assemble and recipe else published.file if published else ""
    jar = folder() / name
    if jar.exists() and not damage(jar):
        say(f"{name} is in {folder()} already")
        return jar
    jar.parent.mkdir(parents=True, exist_ok=True)
    if assemble and recipe:
        assembled.build(recipe, jar, _part, say)
    elif published:
        say(f"fetching {name} from {repository()}")
        _fetch_published(published.path, jar, assembled=recipe is not None)
    sidecar(jar).write_text(f"{sha256(jar)}  {jar.name}\n")
    say(f"{name}: {jar.stat().st_size / 1e6:.0f} MB in {folder()}")
    return jar


def _fetch_published(path: str, jar: Path, assembled: bool) -> None:
    """Downloads a published jar and compares it with the repository's own checksum."""
    try:
        download(f"{repository()}/{path}", jar)
        algorithm, wanted = _published_checksum(f"{repository()}/{path}")
    except urllib.error.HTTPError as error:
        other = " Or build one of pinned libraries: add --assemble." if assembled else ""
        raise EnvironmentMismatch(
            f"{error.url} answers {error.code}",
            hint="Name another repository in ASSAY_MAVEN_URL, or copy the jar from a machine that "
            f"has it (BeamRunner.md, Offline).{other}",
        ) from error
    with jar.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != wanted:
        jar.unlink()
        raise EnvironmentMismatch(
            f"{jar.name} has {algorithm} {found}, its repository says {wanted}",
            hint="Fetch it again; if that repeats, the repository or something between is at "
            "fault.",
        )


def _published_checksum(url: str) -> tuple[str, str]:
    """The strongest checksum that the repository has of a file. It has SHA-1 of every one."""
    for algorithm in ("sha512", "sha256"):
        try:
            return algorithm, _text(f"{url}.{algorithm}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
    return "sha1", _text(f"{url}.sha1")


def _text(url: str) -> str:
    with _open(url) as answer:
        return str(answer.read(1024).decode().split()[0])


def _part(path: str, wanted: str) -> Path:
    """A library of an assembled job server, from the cache or the repository."""
    kept = folder() / "parts" / path.rpartition("/")[2]
    if kept.exists() and sha256(kept) == wanted:
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        download(f"{repository()}/{path}", kept)
    except urllib.error.HTTPError as error:
        raise EnvironmentMismatch(
            f"{error.url} answers {error.code}", hint="Name another one in ASSAY_MAVEN_URL."
        ) from error
    found = sha256(kept)
    if found != wanted:
        kept.unlink()
        raise EnvironmentMismatch(
            f"{path} has sha256 {found}, pinned is {wanted}",
            hint="The repository serves another file than the one that was tested.",
        )
    return kept


def download(url: str, target: Path) -> None:
    """Downloads to a file that appears whole or not at all.

    Raises:
        HTTPError: The server has no such file.
        EnvironmentMismatch: The server cannot be reached.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with _open(url) as answer, part.open("wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _open(url: str) -> HTTPResponse:
    last: Exception | None = None
    for _ in range(3):
        try:
            return urllib.request.urlopen(url, timeout=120)  # type: ignore[no-any-return]
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise
            last = error
        except OSError as error:
            last = error
    raise EnvironmentMismatch(
        f"{url} cannot be reached: {last}",
        hint="Without a network: BeamRunner.md, Offline. Behind a mirror: set ASSAY_MAVEN_URL.",
    ) from last
