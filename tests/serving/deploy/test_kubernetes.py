"""The manifests: valid for Kubernetes, true to each other, and written for both servers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.wrappers_pb2 import DESCRIPTOR as WRAPPERS
from kubernetes_validate import utils
from packaging.version import Version

from serving.server.options import parse_flags

OVERLAYS = ["assay", "tensorflow-serving"]
# From the first with gRPC probes that need no switch.
VERSIONS = [version for version in utils.all_versions() if Version(version) >= Version("1.27")]

Manifest = dict[str, Any]


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def manifests(deploy: Path, overlay: str) -> dict[str, Manifest]:
    """What the overlay builds, by kind and name without the hash of the content."""
    text = (deploy / "kubernetes" / "rendered" / f"{overlay}.yaml").read_text()
    found = list(yaml.safe_load_all(text))
    named = {f"{one['kind']}/{one['metadata']['name']}": one for one in found}
    assert len(named) == len(found)
    return named


def only(manifests: dict[str, Manifest], kind: str) -> Manifest:
    (found,) = [one for one in manifests.values() if one["kind"] == kind]
    return found


@pytest.fixture(scope="module")
def pod(manifests: dict[str, Manifest]) -> Manifest:
    return only(manifests, "Deployment")["spec"]["template"]


@pytest.fixture(scope="module")
def container(pod: Manifest) -> Manifest:
    (found,) = pod["spec"]["containers"]
    return found


@pytest.fixture(scope="module")
def config_files(
    manifests: dict[str, Manifest], container: Manifest, pod: Manifest
) -> dict[str, str]:
    """The files of the ConfigMaps as the container sees them: path -> content."""
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    files = {}
    for volume in pod["spec"]["volumes"]:
        if "configMap" in volume:
            data = manifests[f"ConfigMap/{volume['configMap']['name']}"]["data"]
            files.update({f"{mounted[volume['name']]}/{name}": text for name, text in data.items()})
    return files


@pytest.fixture(scope="module")
def flags(container: Manifest) -> dict[str, str]:
    assert all(argument.startswith("--") for argument in container["args"])
    return dict(argument.removeprefix("--").split("=", 1) for argument in container["args"])


@pytest.mark.parametrize("version", VERSIONS)
def test_valid_for_kubernetes(manifests: dict[str, Manifest], version: str) -> None:
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_validator_would_notice(manifests: dict[str, Manifest]) -> None:
    service = only(manifests, "Service")
    wrong = {**service, "spec": {**service["spec"], "prots": []}}
    with pytest.raises(kubernetes_validate.ValidationError, match="prots"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl builds the overlays")
def test_the_rendered_manifests_are_fresh(deploy: Path, overlay: str) -> None:
    built = kustomize(deploy / "kubernetes" / "overlays" / overlay)
    rendered = (deploy / "kubernetes" / "rendered" / f"{overlay}.yaml").read_text()
    assert built == list(yaml.safe_load_all(rendered)), (
        f"stale: kubectl kustomize serving/deploy/kubernetes/overlays/{overlay} "
        f"> serving/deploy/kubernetes/rendered/{overlay}.yaml"
    )


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl builds the overlays")
def test_the_canary_replaces_the_models_alone(deploy: Path, overlay: str, tmp_path: Path) -> None:
    copy = tmp_path / "deploy"
    for part in ("config", "kubernetes"):
        shutil.copytree(deploy / part, copy / part)
    folder = copy / "kubernetes" / "overlays" / overlay
    plain = kustomize(folder)
    with (folder / "kustomization.yaml").open("a") as kustomization:
        kustomization.write("components: [../../components/canary]\n")
    changed = [one for one in kustomize(folder) if one not in plain]
    (models,) = changed
    assert models["metadata"]["name"] == "model-server-models"
    canary = (copy / "kubernetes" / "components" / "canary" / "models.config").read_text()
    assert models["data"] == {"models.config": canary}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl builds the overlays")
def test_monitoring_builds(deploy: Path) -> None:
    kinds = [one["kind"] for one in kustomize(deploy / "monitoring")]
    assert sorted(kinds) == ["ConfigMap", "PrometheusRule", "ServiceMonitor"]


def kustomize(folder: Path) -> list[Manifest]:
    command = ["kubectl", "kustomize", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return list(yaml.safe_load_all(run.stdout))


def test_every_selector_finds_the_pods(manifests: dict[str, Manifest], pod: Manifest) -> None:
    labels = pod["metadata"]["labels"]
    deployment = only(manifests, "Deployment")["spec"]
    selectors = [
        only(manifests, "Service")["spec"]["selector"],
        deployment["selector"]["matchLabels"],
        only(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        only(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(
            spread["labelSelector"]["matchLabels"]
            for spread in pod["spec"]["topologySpreadConstraints"]
        ),
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()


def test_every_reference_finds_its_object(manifests: dict[str, Manifest], pod: Manifest) -> None:
    target = only(manifests, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert manifests[f"{target['kind']}/{target['name']}"]["apiVersion"] == target["apiVersion"]
    assert f"ServiceAccount/{pod['spec']['serviceAccountName']}" in manifests
    for volume in pod["spec"]["volumes"]:
        if "configMap" in volume:
            assert f"ConfigMap/{volume['configMap']['name']}" in manifests
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            assert f"PersistentVolumeClaim/{claim}" in manifests
    mounted = {mount["name"] for mount in pod["spec"]["containers"][0]["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}


def test_every_port_is_one_that_the_server_opens(
    manifests: dict[str, Manifest], container: Manifest, flags: dict[str, str], pod: Manifest
) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": int(flags["port"]), "http": int(flags["rest_api_port"])}
    for port in only(manifests, "Service")["spec"]["ports"]:
        assert ports[port["targetPort"]] == port["port"]
    for rule in only(manifests, "NetworkPolicy")["spec"]["ingress"]:
        assert {port["port"] for port in rule["ports"]} <= set(ports)
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container[name]
        if "httpGet" in probe:
            assert probe["httpGet"]["port"] == "http"
        else:
            assert probe["grpc"]["port"] == ports["grpc"]
            assert flags["enable_grpc_healthcheck_service"] == "true"
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(ports["http"])


def test_the_probes_are_the_servers_own(
    overlay: str, container: Manifest, config_files: dict[str, str], flags: dict[str, str]
) -> None:
    paths = {
        name: container[name].get("httpGet", {}).get("path")
        for name in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    if overlay == "assay":
        assert container["command"] == ["assay-model-server"]
        assert list(paths.values()) == ["/readyz", "/readyz", "/healthz"]
    else:
        assert container["command"] == ["tensorflow_model_server"]
        names = {model.name for model in models(config_files[flags["model_config_file"]])}
        assert paths["startupProbe"] == paths["readinessProbe"]
        assert paths["readinessProbe"].removeprefix("/v1/models/") in names


def test_the_flags_exist_and_their_files_are_mounted(
    flags: dict[str, str], server_flags: frozenset[str], config_files: dict[str, str]
) -> None:
    assert set(flags) <= server_flags
    _, warnings = parse_flags([f"--{name}={value}" for name, value in flags.items()])
    assert warnings == []
    named = {value for value in flags.values() if value.startswith("/")}
    assert named == set(config_files)  # nothing missing, and nothing that nobody reads


def models(text: str) -> list[Any]:
    from tensorflow_serving.config import model_server_config_pb2

    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return list(config.model_config_list.config)


def test_models_config_is_a_model_server_config(
    config_files: dict[str, str],
    flags: dict[str, str],
    container: Manifest,
) -> None:
    folders = [mount["mountPath"] for mount in container["volumeMounts"]]
    for model in models(config_files[flags["model_config_file"]]):
        assert model.model_platform == "tensorflow"
        assert model.base_path == f"/models/{model.name}"
        assert "/models" in folders


def test_the_canarys_labels_are_versions_that_it_serves(deploy: Path) -> None:
    text = (deploy / "kubernetes" / "components" / "canary" / "models.config").read_text()
    (model,) = models(text)
    assert set(model.version_labels) == {"stable", "canary"}
    served = set(model.model_version_policy.specific.versions)
    assert set(model.version_labels.values()) == served


def batching_parameters() -> Any:
    """BatchingParameters' numbers (servables/tensorflow/session_bundle_config.proto)."""
    file = descriptor_pb2.FileDescriptorProto(name="deploy_test_batching.proto", syntax="proto3")
    file.dependency.append(WRAPPERS.name)
    message = file.message_type.add(name="BatchingParameters")
    names = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    for number, name in enumerate(names, 1):
        message.field.add(
            name=name, number=number, label=1, type=11, type_name=".google.protobuf.Int64Value"
        )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(WRAPPERS.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("BatchingParameters"))()


def test_batching_config_has_batching_parameters(
    config_files: dict[str, str], flags: dict[str, str], container: Manifest
) -> None:
    text = config_files[flags["batching_parameters_file"]]
    parameters = text_format.Parse(text, batching_parameters())
    assert parameters.max_batch_size.value > 1
    limit = int(container["resources"]["limits"]["cpu"])
    assert parameters.num_batch_threads.value == limit
    assert int(flags["tensorflow_session_parallelism"]) == limit


def test_a_pod_has_time_to_drain(overlay: str, pod: Manifest, container: Manifest) -> None:
    _, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    drain = 0  # TensorFlow Serving ends at once on SIGTERM
    if overlay == "assay":
        options, _ = parse_flags(container["args"])
        drain = options.drain_seconds
    assert pod["spec"]["terminationGracePeriodSeconds"] >= int(seconds) + drain + 10


def test_a_pod_is_confined(pod: Manifest, container: Manifest) -> None:
    """The "restricted" Pod Security Standard, and a read-only root."""
    outer, inner = pod["spec"]["securityContext"], container["securityContext"]
    assert outer["runAsNonRoot"] is True
    assert outer["runAsUser"] > 0
    assert outer["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inner["allowPrivilegeEscalation"] is False
    assert inner["readOnlyRootFilesystem"] is True
    assert inner["capabilities"] == {"drop": ["ALL"]}
    assert pod["spec"]["automountServiceAccountToken"] is False
    for resource in ("cpu", "memory"):
        assert container["resources"]["requests"][resource]
        assert container["resources"]["limits"][resource]


def test_a_disruption_leaves_a_replica(manifests: dict[str, Manifest]) -> None:
    scaler = only(manifests, "HorizontalPodAutoscaler")["spec"]
    budget = only(manifests, "PodDisruptionBudget")["spec"]
    assert scaler["minReplicas"] > budget["maxUnavailable"]
    assert "replicas" not in only(manifests, "Deployment")["spec"]
