"""Which nodes stand behind a gate: read from the conditions of the compiled pipeline."""

from __future__ import annotations

from tfx.proto.orchestration import pipeline_pb2


def gates(node: pipeline_pb2.PipelineNode) -> list[str]:
    """Ids of the nodes whose outputs decide whether a node runs.

    TFX adds what a condition looks at to the node's inputs, under a name with an underscore, unless
    it is an input already: so the condition itself is asked for the names.
    """
    found: set[str] = set()
    for condition in node.inputs.conditionals.values():
        for key in _keys(condition.placeholder_expression):
            for channel in node.inputs.inputs[key].channels:
                found.add(channel.producer_node_query.id)
    return sorted(found)


def behind(ir: pipeline_pb2.Pipeline, gate: str) -> list[str]:
    """Ids of the nodes that do not run once a gate has refused."""
    return [
        node.pipeline_node.node_info.id for node in ir.nodes if gate in gates(node.pipeline_node)
    ]


def _keys(message: object) -> set[str]:
    """Keys of the input artifacts that a placeholder's expression reads, however it is built."""
    from google.protobuf.message import Message

    found: set[str] = set()
    if not isinstance(message, Message):
        return found
    for field, value in message.ListFields():
        if field.name == "placeholder" and field.message_type.name == "Placeholder":
            found.add(value.key)
        elif field.message_type is not None:
            several = field.is_repeated and not isinstance(value, Message)
            for part in value if several else [value]:
                found |= _keys(part)
    return found
