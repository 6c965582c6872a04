"""The metrics' text, read by Prometheus' own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from serving.server.calls import Call
from serving.server.metrics import Metrics
from serving.server.observe import recorder
from serving.server.status import Code, RequestError


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_requests_are_counted_by_status_and_timed_when_answered() -> None:
    metrics = Metrics()
    metrics.request("taxi", "OK", "Predict", "GRPC", 15.0)
    metrics.request("taxi", "OK", "Predict", "GRPC", 1e12)
    metrics.request('a "name"\\', "NOT_FOUND", "Predict", "REST", 3.0)
    found = samples(metrics)
    # The parser adds OpenMetrics' ending.
    count, latency = (
        ":tensorflow:serving:request_count_total",
        ":tensorflow:serving:request_latency",
    )
    taxi = {("model_name", "taxi")}
    assert found[count, frozenset({("status", "OK"), *taxi})] == 2
    named = {("model_name", 'a "name"\\'), ("status", "NOT_FOUND")}
    assert found[count, frozenset(named)] == 1
    labels = {("API", "Predict"), ("entrypoint", "GRPC"), *taxi}
    bucket = f"{latency}_bucket"
    assert found[bucket, frozenset({("le", "10"), *labels})] == 0
    assert found[bucket, frozenset({("le", "18"), *labels})] == 1
    assert found[bucket, frozenset({("le", "+Inf"), *labels})] == 2
    assert found[f"{latency}_count", frozenset(labels)] == 2
    assert not any(name == bucket and ("entrypoint", "REST") in key for name, key in found)


def test_the_names_dashboards_ask_for() -> None:
    metrics = Metrics()
    metrics.request("taxi", "OK", "Predict", "GRPC", 15.0)
    metrics.runtime("taxi", "Predict", 9.0)
    metrics.load("/models/taxi/1", "success", 1e6)
    metrics.warm_up("/models/taxi/1", "OK", 1e5)
    metrics.batch("taxi", "batch_threads", 8, [1.0, 2.0])
    types = [line.split()[2:] for line in metrics.text().decode().splitlines() if "TYPE" in line]
    assert [":tensorflow:serving:request_count", "counter"] in types
    assert [":tensorflow:serving:request_latency", "histogram"] in types
    assert [":tensorflow:serving:runtime_latency", "histogram"] in types
    assert [":tensorflow:serving:batching_session:queuing_latency", "histogram"] in types
    assert [":tensorflow:serving:model_warmup_latency", "histogram"] in types


def test_names_that_clients_make_up_are_bounded() -> None:
    """Those of models that answer are counted all the same."""
    metrics = Metrics()
    record = recorder(metrics)
    unknown = RequestError(Code.NOT_FOUND, "no such model")
    record(Call(model_name="x" * 100_000), "Predict", 0.0, unknown)
    for number in range(5000):
        record(Call(model_name=f"made-up-{number}"), "Predict", 0.0, unknown)
    record(Call(model_name="real"), "Predict", 0.0, None)
    record(Call(model_name="real"), "Predict", 0.0, unknown)
    text = metrics.text().decode()
    assert len(text) < 200_000
    assert 'request_count{model_name="made-up-0",status="NOT_FOUND"} 1\n' in text
    assert 'request_count{model_name="(other)",status="NOT_FOUND"} 4001\n' in text
    assert 'request_count{model_name="real",status="OK"} 1\n' in text
    assert 'request_count{model_name="real",status="NOT_FOUND"} 1\n' in text
