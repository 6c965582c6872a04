"""Fingerprints the input by its content: the cache hits exactly when the data is the same."""

from __future__ import annotations

import time
from typing import Any

from tfx.components.example_gen import driver, utils

from tfx_pipeline.components.example_gen.executor import source_from
from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest.contents import named_files_digest
from tfx_pipeline.ingest.files import content_digest, find_files


class Driver(driver.Driver):
    """The driver of TFX's ExampleGen with SHA-256 of the files in place of their times and sizes.

    Touching the files, or writing the same data in their place again, is a cache hit; one changed
    byte is not. Nor is another path: the executor reads from it, so it is among the properties and
    in the key. (A project that was moved finds nothing in the cache anyway: MLMD has the absolute
    URIs of artifacts, and TFX takes none that is not there.)
    """

    def resolve_exec_properties(
        self, exec_properties: dict[str, Any], pipeline_info: Any, component_info: Any
    ) -> dict[str, Any]:
        """Adds the fingerprint, and span 0, to the execution's properties."""
        del pipeline_info, component_info
        exec_properties[utils.SPAN_PROPERTY_NAME] = 0
        exec_properties[utils.VERSION_PROPERTY_NAME] = None
        exec_properties[utils.FINGERPRINT_PROPERTY_NAME] = _fingerprint(exec_properties)
        return exec_properties


def _fingerprint(exec_properties: dict[str, Any]) -> str:
    try:
        source = source_from(exec_properties)
        files = find_files(source)
        named = f"+{named_files_digest(files, source)}" if source.path_columns else ""
        return f"sha256:{content_digest(files)}{named}"
    except DataError:
        # The launcher marks an execution as failed only when the *executor* raises; after a driver
        # that raises it stays RUNNING for ever. The executor will meet the same error. The time
        # makes sure that nothing is ever cached under this fingerprint.
        return f"unreadable:{time.time_ns()}"
