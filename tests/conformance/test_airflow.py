"""Airflow 3."""

from __future__ import annotations

import pytest

from tests.conformance.airflow_suite import AirflowConformance
from tests.conformance.suite import reference

__all__ = ["reference"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class TestAirflow3(AirflowConformance):
    version = 3
