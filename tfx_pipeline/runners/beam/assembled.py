"""Job servers put together from Beam's libraries on Maven Central, each pinned by its sha256.

For repositories that do not serve Beam's own job-server jar, and for the tests: what they ran is
exactly what `assembled.json` (written by tools/pin_beam_jars.py) lists.
"""

from __future__ import annotations

import functools
import json
import os
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_SERVICES = "META-INF/services/"
_DROPPED = (".SF", ".RSA", ".DSA", ".EC", "module-info.class")
# Log4j's list of its own parts. Each of its jars has one, and only the core's is needed.
_PLUGINS = "Log4j2Plugins.dat"
# A merged file's time: the zip format has none before.
_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Recipe:
    """What a job server is made of.

    Attributes:
        engine: `flink` or `spark`.
        engine_version: Release of the engine, for instance "1.20.5".
        beam: Release of Beam's libraries. The installed Beam's Python talks to it by protocols
            that change compatibly.
        main: Its main class.
        parts: Path in a Maven repository to the file's sha256, in the order of the class path.
        without_services: Parts whose service files are left out: what they register needs
            libraries that are not there.
    """

    engine: str
    engine_version: str
    beam: str
    main: str
    parts: dict[str, str]
    without_services: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """The jar's name."""
        return f"assay-{self.engine}-{self.engine_version}-job-server-{self.beam}.jar"


@functools.cache
def recipes() -> tuple[Recipe, ...]:
    """All recipes of this package."""
    content = json.loads(Path(__file__).with_name("assembled.json").read_text())
    return tuple(
        Recipe(**{**entry, "without_services": tuple(entry["without_services"])})
        for entry in content
    )


def recipe(engine: str, version: str) -> Recipe | None:
    """The recipe for Spark, or a Flink minor version; None if there is none."""
    for found in recipes():
        same = engine == "spark" or found.engine_version.rpartition(".")[0] == version
        if found.engine == engine and same:
            return found
    return None


def build(
    recipe: Recipe, jar: Path, part: Callable[[str, str], Path], say: Callable[[str], None]
) -> None:
    """Merges a recipe's parts into one executable jar.

    Args:
        recipe: What to merge.
        jar: Written whole or not at all.
        part: Gives the file for a path in a Maven repository and a sha256.
        say: Called with one line for each step.
    """
    total = len(recipe.parts)
    files: list[Path] = []
    with ThreadPoolExecutor(8) as pool:
        for file in pool.map(part, recipe.parts, recipe.parts.values()):
            files.append(file)
            if len(files) % 25 == 0 or len(files) == total:
                say(f"{recipe.file}: {len(files)} of {total} libraries")
    unfinished = jar.with_name(f".{jar.name}.{os.getpid()}.part")
    try:
        merge(files, unfinished, recipe.main, recipe.without_services)
        unfinished.replace(jar)
    finally:
        unfinished.unlink(missing_ok=True)


def merge(
    files: list[Path], target: Path, main: str, without_services: tuple[str, ...] = ()
) -> None:
    """Writes one jar with the content of many. The first file of a name wins; service files, by
    which Java libraries find each other, are joined.

    Args:
        files: The jars.
        target: The jar to write.
        main: Its main class.
        without_services: Starts of names of jars whose service files are left out.
    """
    seen = {"META-INF/MANIFEST.MF"}
    services: dict[str, list[str]] = {}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as merged:
        manifest = f"Manifest-Version: 1.0\r\nMain-Class: {main}\r\nMulti-Release: true\r\n\r\n"
        merged.writestr(zipfile.ZipInfo("META-INF/MANIFEST.MF", _TIME), manifest)
        for file in files:
            silent = file.name.startswith(without_services) if without_services else False
            with zipfile.ZipFile(file) as source:
                for entry in source.infolist():
                    name = entry.filename
                    if name.startswith(_SERVICES) and not entry.is_dir():
                        if not silent:
                            services.setdefault(name, []).append(source.read(entry).decode())
                    elif name.endswith(_PLUGINS) and not file.name.startswith("log4j-core-"):
                        continue
                    elif not (name in seen or name.endswith(_DROPPED)):
                        # Folders too: Spark asks for some by name.
                        seen.add(name)
                        info = zipfile.ZipInfo(name, _TIME)
                        info.compress_type = zipfile.ZIP_DEFLATED
                        merged.writestr(info, source.read(entry))
        for name, texts in sorted(services.items()):
            joined = "\n".join(text.strip() for text in texts) + "\n"
            merged.writestr(zipfile.ZipInfo(name, _TIME), joined)
