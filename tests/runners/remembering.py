"""A display that remembers."""

from __future__ import annotations

from dataclasses import dataclass, field

from tfx_pipeline.report.record import NodeRecord


@dataclass
class Remembering:
    """A display that keeps what it is told."""

    nodes: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def nodes_known(self, node_ids: list[str]) -> None:
        self.nodes = node_ids

    def node_started(self, node_id: str) -> None:
        self.started.append(node_id)

    def node_progress(self, node_id: str, done: int, total: int, note: str) -> None:
        pass

    def node_ended(self, node_id: str, record: NodeRecord) -> None:
        self.ended[node_id] = record.state

    def node_said(self, node_id: str, text: str) -> None:
        self.said.append(f"{node_id}: {text}")
