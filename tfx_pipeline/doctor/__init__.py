"""`assay doctor`: what is missing, mismatched or slow on this machine, and what to do about it."""

from __future__ import annotations

from tfx_pipeline.doctor.checks import CHECKS
from tfx_pipeline.doctor.finding import Finding
from tfx_pipeline.doctor.machine import Machine, look

__all__ = ["Finding", "Machine", "run_checks"]


def run_checks(machine: Machine | None = None, *, beam: str = "") -> list[Finding]:
    """Judges a machine by every registered check.

    Args:
        machine: What to judge; this machine by default, which takes a few seconds to look at.
        beam: The Beam runner that the user means to use; only for this machine.
    """
    seen = machine if machine is not None else look(beam)
    return [check(seen) for check in CHECKS]
