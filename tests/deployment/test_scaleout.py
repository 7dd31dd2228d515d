"""The files for Ray Serve and for KubeRay agree with the service; no cluster is needed to see that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from service.scaleout.environment import environment
from service.scaleout.options import Scale
from service.settings import ENV_PREFIX, Settings

DOCKER = Path(__file__).parents[2] / "docker"
SERVE: dict[str, Any] = yaml.safe_load((DOCKER / "serve.yaml").read_text())
SERVICE, POLICY = yaml.safe_load_all((DOCKER / "kubernetes" / "rayservice.yml").read_text())
ON_KUBERNETES: dict[str, Any] = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])
PODS: list[dict[str, Any]] = [
    group["template"]["spec"]
    for group in (
        SERVICE["spec"]["rayClusterConfig"]["headGroupSpec"],
        *SERVICE["spec"]["rayClusterConfig"]["workerGroupSpecs"],
    )
]


def test_ray_takes_both_configurations() -> None:
    for content in (SERVE, ON_KUBERNETES):
        (application,) = content["applications"]
        assert application["import_path"] == "service.scaleout.replicas:application"
        Scale(**application["args"])
        assert content["http_options"]["keep_alive_timeout_s"] == Settings().keep_alive_s


def test_the_service_is_told_where_it_listens() -> None:
    (application,) = SERVE["applications"]
    assert application["runtime_env"]["env_vars"]["PURIFIER_HOST"] == SERVE["http_options"]["host"] == "127.0.0.1"
    assert ON_KUBERNETES["http_options"]["host"] == "0.0.0.0"
    assert all(_variables(pod)["PURIFIER_HOST"] == "0.0.0.0" for pod in PODS)


def test_every_pod_has_the_environment_that_its_settings_ask_for() -> None:
    for pod in PODS:
        variables = _variables(pod)
        ours = {name: value for name, value in variables.items() if name.startswith(ENV_PREFIX)}
        fields: dict[str, Any] = {name.removeprefix(ENV_PREFIX).lower(): value for name, value in ours.items()}
        settings = Settings(**fields)
        wanted = environment(settings)
        # From `authOptions`.
        assert wanted.pop("RAY_AUTH_MODE") == SERVICE["spec"]["rayClusterConfig"]["authOptions"]["mode"]
        assert {name: value for name, value in variables.items() if name not in ours} == wanted


def _variables(pod: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}


def test_each_pod_can_become_nothing() -> None:
    for pod in PODS:
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert _variables(pod)["PURIFIER_API_KEYS_FILE"].startswith(mounted["keys"])


def test_only_the_service_is_reached_from_outside_of_the_cluster() -> None:
    open_to_all, ours = POLICY["spec"]["ingress"]
    assert open_to_all == {"ports": [{"port": ON_KUBERNETES["http_options"]["port"]}]}
    assert all(source["podSelector"]["matchLabels"] for source in ours["from"])
