"""Dashboard, alerts, scrape and autoscaling rule: names that TensorFlow Serving really exports."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

# Metric -> its labels; Prometheus adds its own. A histogram also has _bucket, _sum and _count.
# The names are those of the source with "/" as ":" (util/prometheus_exporter.cc).
COUNTERS = {
    # servables/tensorflow/util.cc
    ":tensorflow:serving:request_count": {"model_name", "status"},
    # batching/batching_session.cc
    ":tensorflow:serving:batching_session:wrapped_run_count": set(),
    # TensorFlow's cc/saved_model/loader.cc
    ":tensorflow:cc:saved_model:load_attempt_count": {"model_path", "status"},
    ":tensorflow:cc:saved_model:load_latency": {"model_path"},
}
HISTOGRAMS = {
    # servables/tensorflow/util.cc
    ":tensorflow:serving:request_latency": {"model_name", "API", "entrypoint"},
    ":tensorflow:serving:runtime_latency": {"model_name", "API", "runtime"},
    # batching/batching_session.cc
    ":tensorflow:serving:batching_session:queuing_latency": {"thread_pool_name"},
    # servables/tensorflow/saved_model_warmup_util.cc
    ":tensorflow:serving:model_warmup_latency": {"model_path", "status"},
}
SERIES = COUNTERS | {
    f"{name}_{end}": labels
    for name, labels in HISTOGRAMS.items()
    for end in ("bucket", "sum", "count")
}
OF_PROMETHEUS = {"instance", "job", "namespace", "pod"}
METRICS_PATH = "/monitoring/prometheus/metrics"

_METRIC = re.compile(r"(:tensorflow:[\w:]+)(?:\{([^}]*)\})?")
_GROUPING = re.compile(r"\b(?:by|on) \(([^)]*)\)")


def check_query(query: str) -> None:
    """Metrics and the labels asked of them exist; histograms are read by their series."""
    metrics = _METRIC.findall(query)
    assert metrics or re.search(r"\bup\b", query), query
    labels = set(OF_PROMETHEUS)
    for name, matchers in metrics:
        assert name in SERIES, f"{name} is no series of TensorFlow Serving"
        own = SERIES[name]
        for label in re.findall(r"(\w+)(?:=~|!=|!~|=)", matchers):
            assert label in own | OF_PROMETHEUS, f"{name} has no label {label}"
        labels |= own | ({"le"} if name.endswith("_bucket") else set())
    for grouping in _GROUPING.findall(query):
        assert set(grouping.split(", ")) <= labels, f"{grouping} in {query}"


@pytest.fixture(scope="module")
def dashboard(deploy: Path) -> dict[str, Any]:
    return json.loads((deploy / "monitoring" / "grafana" / "model-server.json").read_text())


def test_the_dashboards_queries(dashboard: dict[str, Any]) -> None:
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    for query in queries:
        check_query(query)
    for name in (*COUNTERS, *HISTOGRAMS):
        assert any(name in query for query in queries), f"{name} is not shown"


def test_the_dashboards_legends_name_labels_of_their_query(dashboard: dict[str, Any]) -> None:
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert re.search(rf"by \([^)]*\b{label}\b", target["expr"])


def test_the_dashboards_variables(dashboard: dict[str, Any]) -> None:
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard["panels"])))
    assert used - {"__rate_interval"} <= variables
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            check_query(variable["definition"])


def test_the_dashboards_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        own = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & own, panel["title"]
        cells |= own
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_alerts(deploy: Path) -> None:
    groups = yaml.safe_load((deploy / "monitoring" / "alerts.yaml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        check_query(rule["expr"])
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]


def test_the_operators_rules_are_the_same(deploy: Path) -> None:
    plain = yaml.safe_load((deploy / "monitoring" / "alerts.yaml").read_text())
    rule = yaml.safe_load((deploy / "monitoring" / "prometheus-rule.yaml").read_text())
    assert rule["kind"] == "PrometheusRule"
    assert rule["spec"] == plain


def test_everyone_scrapes_the_path_that_the_server_is_told(deploy: Path) -> None:
    config = (deploy / "config" / "monitoring.config").read_text()
    assert re.search(r'path: "([^"]+)"', config)[1] == METRICS_PATH  # type: ignore[index]
    assert "enable: true" in config
    prometheus = yaml.safe_load((deploy / "monitoring" / "prometheus.yaml").read_text())
    assert prometheus["scrape_configs"][0]["metrics_path"] == METRICS_PATH
    monitor = yaml.safe_load((deploy / "monitoring" / "service-monitor.yaml").read_text())
    assert monitor["spec"]["endpoints"][0]["path"] == METRICS_PATH
    base = deploy / "kubernetes" / "base"
    deployment = yaml.safe_load((base / "deployment.yaml").read_text())
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == METRICS_PATH


def test_the_monitor_finds_the_service(deploy: Path) -> None:
    monitor = yaml.safe_load((deploy / "monitoring" / "service-monitor.yaml").read_text())
    rendered = (deploy / "kubernetes" / "rendered" / "assay.yaml").read_text()
    (service,) = [d for d in yaml.safe_load_all(rendered) if d["kind"] == "Service"]
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= service["metadata"]["labels"].items()
    ports = {port["name"] for port in service["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


def test_the_autoscalers_metric_is_the_adapters(deploy: Path) -> None:
    values = yaml.safe_load((deploy / "monitoring" / "prometheus-adapter-values.yaml").read_text())
    (rule,) = values["rules"]["custom"]
    assert '__name__=":tensorflow:serving:request_count"' in rule["seriesQuery"]
    assert set(rule["resources"]["overrides"]) == {"namespace", "pod"}
    scaler = yaml.safe_load((deploy / "kubernetes" / "base" / "autoscaler.yaml").read_text())
    served = [m["pods"]["metric"]["name"] for m in scaler["spec"]["metrics"] if m["type"] == "Pods"]
    assert served == [rule["name"]["as"]]
