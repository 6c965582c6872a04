r"""Backslashes in ML Metadata on PostgreSQL, which MLMD 1.17 cannot write.

libpq escapes a text that holds a backslash as ` E'...'`, and MLMD takes its first and last
character for the quotes: the statement is then no SQL any more (`syntax error at or near "{"`), and
for a text of somebody else's an open door. JSON within JSON, as in TFX's execution properties,
always holds some. So they are stored as a character of Unicode's private use area and turned back
where they are read: who reads the database without Assay sees U+E05C in their place.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from google.protobuf.message import Message
from ml_metadata.metadata_store import metadata_store

STAND_IN = "\ue05c"


def guard(store: metadata_store.MetadataStore) -> None:
    """Makes a connected store carry backslashes; calling it twice does no harm."""
    if getattr(store._call, "carries_backslashes", False):
        return
    call = store._call

    def carrying(name: str, request: Message, response: Message, *more: Any) -> Any:
        sent = type(request)()
        sent.CopyFrom(request)
        replace(sent, "\\", STAND_IN)
        result = call(name, sent, response, *more)
        replace(response, STAND_IN, "\\")
        return result

    carrying.carries_backslashes = True  # type: ignore[attr-defined]
    store._call = carrying


def replace(message: Message, old: str, new: str) -> None:
    """Replaces a character in all texts of a message, in place; keys of maps are names."""
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _replace_in_map(value, old, new)
        elif field.is_repeated:
            for index, item in enumerate(value):
                if isinstance(item, Message):
                    replace(item, old, new)
                elif isinstance(item, str) and old in item:
                    value[index] = item.replace(old, new)
        elif isinstance(value, Message):
            replace(value, old, new)
        elif isinstance(value, str) and old in value:
            setattr(message, field.name, value.replace(old, new))


def _replace_in_map(values: MutableMapping[Any, Any], old: str, new: str) -> None:
    for key, value in values.items():
        if isinstance(value, Message):
            replace(value, old, new)
        elif isinstance(value, str) and old in value:
            values[key] = value.replace(old, new)
