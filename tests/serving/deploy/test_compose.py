"""compose.yaml: what it mounts exists, and its flags are flags of both servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

SERVERS = ["assay", "tensorflow-serving"]


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_builds_its_image(
    compose: dict[str, Any], repository: Path, deploy: Path, name: str
) -> None:
    build = compose["services"][name]["build"]
    context = (deploy / build["context"]).resolve()
    assert context == repository
    assert (context / build["dockerfile"]) == deploy / "docker" / f"{name}.Dockerfile"


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_runs_confined(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["profiles"] == [name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["healthcheck"]["test"] == ["CMD", "/usr/local/bin/healthcheck.sh"]
    assert all(volume["read_only"] for volume in service["volumes"])


@pytest.mark.parametrize("name", SERVERS)
def test_the_flags_exist_and_name_files_that_are_mounted(
    compose: dict[str, Any], deploy: Path, server_flags: frozenset[str], name: str
) -> None:
    service = compose["services"][name]
    mounts = {volume["target"]: volume["source"] for volume in service["volumes"]}
    for argument in service["command"]:
        flag, _, value = argument.removeprefix("--").partition("=")
        assert flag in server_flags
        if value.startswith("/config/"):
            assert (deploy / mounts["/config"] / Path(value).name).is_file()


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_what_monitoring_mounts_exists(compose: dict[str, Any], deploy: Path, name: str) -> None:
    service = compose["services"][name]
    assert service["profiles"] == ["monitoring"]
    sources = [volume.split(":")[0] for volume in service["volumes"]]
    for source in sources:
        assert (deploy / source).is_file() or source in compose["volumes"]


def test_prometheus_scrapes_the_server_by_its_alias(compose: dict[str, Any], deploy: Path) -> None:
    config = yaml.safe_load((deploy / "monitoring" / "prometheus.yaml").read_text())
    (job,) = config["scrape_configs"]
    host, port = job["static_configs"][0]["targets"][0].split(":")
    assert port == "8501"
    for name in SERVERS:
        assert host in compose["services"][name]["networks"]["default"]["aliases"]
    (rules,) = config["rule_files"]
    mounted = [volume.split(":")[1] for volume in compose["services"]["prometheus"]["volumes"]]
    assert rules in mounted
