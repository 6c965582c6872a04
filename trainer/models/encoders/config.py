"""The parts of the `model` section that say how images and text become vectors."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from transform.section import Section


class ImageEncoderConfig(Section):
    """How an image column becomes a vector."""

    encoder: Literal["cnn"] = Field("cnn", description="The network over the pixels.")
