"""deploy/k8s: what kustomize builds."""

import pytest
import yaml

import kubernetes as k8s
from parlor import DEPLOY, ROOT, metrics, version

K8S = DEPLOY / "k8s"


@pytest.mark.parametrize("folder", ["base", "overlays/dev", "overlays/prod"])
def test_what_is_applied_is_whole(folder):
    k8s.check(k8s.kustomize(K8S / folder))


def base_with(*components: str) -> list[dict]:
    folder = ROOT / "target" / "deploy" / "overlays" / "-".join(components)
    folder.mkdir(parents=True, exist_ok=True)
    up = "../" * 4
    overlay = {
        "resources": [f"{up}deploy/k8s/base"],
        "components": [f"{up}deploy/k8s/components/{component}" for component in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return k8s.kustomize(folder)


@pytest.mark.parametrize("component", sorted(folder.name for folder in (K8S / "components").iterdir()))
def test_each_component_fits_the_base(component):
    k8s.check(base_with(component))


@pytest.mark.parametrize("components", [("keys", "attachments"), ("attachments", "keys")], ids="-".join)
def test_keys_and_attachments_leave_each_other(components):
    objects = base_with(*components)
    k8s.check(objects)
    for deployment in k8s.tiers(objects).values():
        mounts = {each["name"]: each["mountPath"] for each in k8s.container(deployment)["volumeMounts"]}
        assert mounts == {"keys": "/run/parlor", "attachments": "/var/lib/parlor/attachments"}
        assert {each["name"] for each in deployment["spec"]["template"]["spec"]["volumes"]} == set(mounts)


def test_behind_sentinels_a_message_is_acknowledged_when_a_replica_has_it():
    objects = base_with("managed-redis", "sentinel")
    k8s.check(objects)
    asked = k8s.environment(k8s.tiers(objects)["room-service"])
    assert asked["PARLOR_ROOM_SERVICE_ACK"] == "replica"
    assert asked["PARLOR_ROOM_SERVICE_REDIS_URL"]["secretKeyRef"] == {"name": "parlor-sentinel", "key": "url"}
    ports = k8s.of_kind(objects, "NetworkPolicy")["parlor-room-service"]["spec"]["egress"][0]["ports"]
    assert {"port": 26379} in ports, "room services ask Sentinels"


def test_dev_needs_nothing_beside_it_and_prod_makes_no_secret():
    dev, prod = k8s.kustomize(K8S / "overlays/dev"), k8s.kustomize(K8S / "overlays/prod")
    (url,) = k8s.of_kind(dev, "Secret")
    asked = k8s.environment(k8s.tiers(dev)["room-service"])["PARLOR_ROOM_SERVICE_REDIS_URL"]
    assert asked["secretKeyRef"] == {"name": url, "key": "url"}
    assert not k8s.of_kind(prod, "Secret")
    assert min(k8s.at_least(prod, tier) for tier in k8s.PORTS) >= 2


def test_images_are_of_this_version():
    for tier, deployment in k8s.tiers(k8s.kustomize(K8S / "base")).items():
        assert k8s.container(deployment)["image"] == f"parlor/{tier}:{version()}"


def test_gateways_scale_by_a_metric_that_exists():
    gateway = k8s.of_kind(k8s.kustomize(K8S / "base"), "HorizontalPodAutoscaler")["parlor-gateway"]
    (pods,) = (each["pods"] for each in gateway["spec"]["metrics"] if each["type"] == "Pods")
    assert pods["metric"]["name"] in metrics()
