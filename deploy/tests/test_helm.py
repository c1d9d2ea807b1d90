"""deploy/helm: what the chart renders, with its defaults and with the values in ci/."""

import json

import pytest
import yaml
from helm_python import chart as sdk
from helm_python.errors import HelmError

import kubernetes as k8s
from parlor import DEPLOY, secrets, version

VALUES = sorted((k8s.CHART / "ci").glob("*-values.yaml"))


def comparable(item: dict) -> dict:
    """Without Helm's own labels, and without the order of variables, which a patch of kustomize changes."""
    item = json.loads(json.dumps(item))
    if item["kind"] == "Deployment":
        k8s.container(item)["env"].sort(key=lambda each: each["name"])
    for label in ("app.kubernetes.io/managed-by", "helm.sh/chart"):
        item["metadata"].get("labels", {}).pop(label, None)
    return item


def by_name(objects: list[dict]) -> dict[tuple[str, str], dict]:
    return {(item["kind"], item["metadata"]["name"]): comparable(item) for item in objects}


def test_helm_and_kustomize_agree():
    assert by_name(k8s.helm()) == by_name(k8s.kustomize(DEPLOY / "k8s" / "base"))


def test_they_agree_about_the_way_in_too():
    prod = by_name(k8s.kustomize(DEPLOY / "k8s" / "overlays" / "prod"))
    del prod["Namespace", "parlor"]
    for item in prod.values():
        assert item["metadata"].pop("namespace") == "parlor"
    values = {"ingress": {"enabled": True}, "serviceMonitor": {"enabled": True}, "redis": {"cidrs": ["10.0.0.0/16"]}}
    assert by_name(k8s.helm(values)) == prod


@pytest.mark.parametrize("values", [None, *VALUES], ids=lambda file: file.stem if file else "defaults")
def test_what_is_rendered_is_whole(values):
    k8s.check(k8s.helm(yaml.safe_load(values.read_text()) if values else None))


def test_every_value_in_ci_arrives():
    objects = k8s.helm(yaml.safe_load((k8s.CHART / "ci/ingress-values.yaml").read_text()))
    tiers = k8s.tiers(objects)
    gateway, room_service = (k8s.environment(tiers[tier]) for tier in ("gateway", "room-service"))
    assert gateway["PARLOR_GATEWAY_TRUSTED_HOPS"] == "2"
    assert (gateway["PARLOR_GATEWAY_HEARTBEAT"], gateway["PARLOR_GATEWAY_SOCKETIO"]) == ("20s", "false")
    # Not 1e+06, which is how Helm writes it if it is let.
    assert room_service["PARLOR_ROOM_SERVICE_HISTORY_MAX"] == "1000000"
    assert room_service["PARLOR_ROOM_SERVICE_TOKEN_SECRET"]["secretKeyRef"]["name"] == "parlor-token"
    assert room_service["PARLOR_ROOM_SERVICE_ADMIN_TOKEN"]["secretKeyRef"] == {"name": "operators", "key": "token"}
    assert k8s.container(tiers["gateway"])["image"] == "registry.example/team/parlor/gateway:0.1.0-rc.1"
    for deployment in tiers.values():
        keys, attachments = deployment["spec"]["template"]["spec"]["volumes"]
        assert keys["secret"]["secretName"] == "parlor-keys"
        assert attachments["persistentVolumeClaim"]["claimName"] == "parlor-attachments"
        assert [each["name"] for each in k8s.container(deployment)["volumeMounts"]] == [keys["name"], attachments["name"]]
    egress = k8s.of_kind(objects, "NetworkPolicy")["parlor-room-service"]["spec"]["egress"]
    assert egress == [{"to": [{"ipBlock": {"cidr": "10.1.0.0/24"}}], "ports": [{"port": 6380}, {"port": 26380}]}]


@pytest.mark.parametrize("values", [
    {"gateway": {"replicas": 0}},
    {"gateway": {"setings": {}}},
    {"gateway": {"settings": {"heartbeat": "25s"}}},
    {"gateway": {"settings": {"LISTEN": "127.0.0.1:1"}}},
    {"roomService": {"settings": {"TOKEN_SECRET": "in the values"}}},
    {"roomService": {"secrets": {"TOKEN_SECRET": "in the values"}}},
    {"redis": {"url": "http://redis"}},
    {"redis": {"ports": []}},
], ids=json.dumps)
def test_the_schema_refuses_what_would_not_do(values):
    with pytest.raises(HelmError):
        k8s.helm(values)


@pytest.mark.parametrize("tier, key", [("gateway", "gateway"), ("room-service", "roomService")])
def test_the_schema_knows_the_secrets(tier, key):
    values = json.loads((k8s.CHART / "values.schema.json").read_text())["properties"][key]["properties"]
    prefix = "PARLOR_" + tier.upper().replace("-", "_") + "_"
    all_of_them = {name.removeprefix(prefix) for name in secrets(tier)}
    assert all_of_them <= set(values["settings"]["propertyNames"]["not"]["enum"])
    by_reference = set(values["secrets"]["propertyNames"]["enum"]) if "secrets" in values else set()
    assert by_reference == all_of_them - {"REDIS_URL"}


def test_the_chart_is_of_this_version_and_lints():
    chart = yaml.safe_load((k8s.CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == version()
    assert chart["kubeVersion"] == f">={k8s.VERSIONS[0]}.0-0"
    report = sdk.lint(k8s.CHART, strict=True, kube_version=f"v{k8s.VERSIONS[0]}.0")
    told = [each for each in report["messages"] if each["severity"] >= 2]
    assert report["total_charts_linted"] == 1 and not told and not report["errors"], report
