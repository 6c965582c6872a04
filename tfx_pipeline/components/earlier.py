"""What earlier executions of a node left, for an executor that need not do all of it again.

No metadata store is asked: what is taken from there must be known by its content.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

KNOWN_PROPERTY = "known"  # Of the run that made an artifact, not of those that find it cached.
_MOST = 20  # Each has what it took from those before; more are for configs that take turns.


def earlier_outputs(uri: str) -> list[Path]:
    """Folders of the same output of earlier executions, the newest first.

    Args:
        uri: The output's own, `<root>/<node>/<output>/<execution>`. Of one that is not on a disk
            of this machine nothing is known.
    """
    own = Path(uri)
    if "://" in uri or not own.name.isdecimal() or not own.parent.is_dir():
        return []
    others = [path for path in own.parent.iterdir() if path.name.isdecimal() and path != own]
    return sorted(others, key=lambda path: int(path.name), reverse=True)[:_MOST]


def may_reuse(context: Any) -> bool:
    """Whether the cache of an executor's node is on (`run.cache`)."""
    node = getattr(context, "pipeline_node", None)
    return node is None or node.execution_options.caching_options.enable_cache
