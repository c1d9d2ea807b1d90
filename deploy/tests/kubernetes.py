"""How the checks get at Kubernetes objects, by kustomize and by Helm, and what they ask of any set of them."""

import subprocess
from pathlib import Path

import kubernetes_validate
from helm_python.chart import Chart

from parlor import DEPLOY, PORTS, SILENCE, documents, seconds, secrets, settings, tool

#: The oldest with `preStop.sleep`, and the newest whose schema we have.
VERSIONS = ("1.30", "1.33", "1.37")
#: Kinds of others, whose schemas we do not have.
FOREIGN = {"ServiceMonitor", "HTTPRoute"}
CHART = DEPLOY / "helm" / "parlor"


def kustomize(folder: Path) -> list[dict]:
    built = subprocess.run([tool("kubectl"), "kustomize", folder], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return documents(built.stdout)


def helm(values: dict | None = None) -> list[dict]:
    chart = Chart.load(CHART)
    chart.validate_schema(values or {})
    rendered = chart.render(values or {}, name="parlor", namespace="parlor")
    return [document for text in rendered.values() for document in documents(text)]


def of_kind(objects: list[dict], kind: str) -> dict[str, dict]:
    return {item["metadata"]["name"]: item for item in objects if item["kind"] == kind}


def container(deployment: dict) -> dict:
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    return only


def environment(deployment: dict) -> dict[str, object]:
    """Each variable, with its text or with where it comes from."""
    pairs = [(each["name"], each.get("value", each.get("valueFrom"))) for each in container(deployment)["env"]]
    assert len(dict(pairs)) == len(pairs), "a variable is given twice"
    return dict(pairs)


def tiers(objects: list[dict]) -> dict[str, dict]:
    """The Deployments of both tiers."""
    deployments = of_kind(objects, "Deployment")
    return {tier: deployments[f"parlor-{tier}"] for tier in PORTS}


def selects(selector: dict, labels: dict) -> bool:
    return selector.items() <= labels.items()


def check(objects: list[dict]) -> None:
    """All that has to hold in every cluster."""
    is_what_kubernetes_reads(objects)
    for tier, deployment in tiers(objects).items():
        is_set_up(tier, deployment)
        ends_in_time(tier, deployment)
        is_probed(deployment)
        is_confined(deployment)
        secrets_are_no_texts(tier, deployment)
    services_lead_somewhere(objects)
    one_pod_can_always_go(objects)
    scaling_has_a_target(objects)
    only_known_edges(objects)
    ways_in_are_patient_and_trusted(objects)
    files_have_one_place(objects)


def is_what_kubernetes_reads(objects):
    assert objects
    for item in objects:
        if item["kind"] not in FOREIGN:
            for version in VERSIONS:
                kubernetes_validate.validate(item, version, strict=True)


def is_set_up(tier, deployment):
    env, (port, admin) = environment(deployment), PORTS[tier]
    prefix = "PARLOR_" + tier.upper().replace("-", "_")
    assert set(env) <= settings(tier), set(env) - settings(tier)
    # Loopback is the default, and nobody would reach it there.
    assert env[f"{prefix}_LISTEN"] == f"0.0.0.0:{port}"
    assert env[f"{prefix}_ADMIN_LISTEN"] == f"0.0.0.0:{admin}"
    assert {each["containerPort"] for each in container(deployment)["ports"]} == {port, admin}
    # Kubernetes' own variables about a Service parlor-… would look like settings.
    assert deployment["spec"]["template"]["spec"]["enableServiceLinks"] is False


def ends_in_time(tier, deployment):
    prefix = "PARLOR_" + tier.upper().replace("-", "_")
    before = container(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = seconds(environment(deployment)[f"{prefix}_DRAIN"])
    # Ten seconds are what the program itself gives the tasks that are left.
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= before + drain + 10
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def is_probed(deployment):
    asked = {name: container(deployment)[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    # One that waits for Redis must not be killed for it.
    assert {name: each["path"] for name, each in asked.items()} == {
        "startup": "/livez", "liveness": "/livez", "readiness": "/readyz",
    }
    assert {each["port"] for each in asked.values()} == {"admin"}


def is_confined(deployment):
    pod, own = deployment["spec"]["template"]["spec"], container(deployment)["securityContext"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert own["readOnlyRootFilesystem"] is True and own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert {"cpu", "memory"} <= set(container(deployment)["resources"]["requests"])
    assert "memory" in container(deployment)["resources"]["limits"]
    spread = {each["topologyKey"] for each in pod["topologySpreadConstraints"]}
    assert spread == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for constraint in pod["topologySpreadConstraints"]:
        assert selects(constraint["labelSelector"]["matchLabels"], labels)


def secrets_are_no_texts(tier, deployment):
    for name, value in environment(deployment).items():
        assert (name in secrets(tier)) == isinstance(value, dict), name
        if isinstance(value, dict):
            assert set(value) == {"secretKeyRef"}, name


def files_have_one_place(objects):
    """Attachments are in one volume, where both tiers may write, or nowhere."""
    places, claims = set(), set()
    for tier, deployment in tiers(objects).items():
        place = environment(deployment).get("PARLOR_" + tier.upper().replace("-", "_") + "_ATTACHMENTS")
        places.add(place)
        if place:
            pod = deployment["spec"]["template"]["spec"]
            (mount,) = (each for each in container(deployment)["volumeMounts"] if place == f"file://{each['mountPath']}")
            (volume,) = (each for each in pod["volumes"] if each["name"] == mount["name"])
            assert not mount.get("readOnly") and pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]
            claims.add(volume["persistentVolumeClaim"]["claimName"])
    assert len(places) == 1 and len(claims) <= 1, (places, claims)


def services_lead_somewhere(objects):
    deployments = of_kind(objects, "Deployment")
    for service in of_kind(objects, "Service").values():
        (deployment,) = (
            each for each in deployments.values()
            if selects(service["spec"]["selector"], each["spec"]["template"]["metadata"]["labels"])
        )
        assert selects(deployment["spec"]["selector"]["matchLabels"], deployment["spec"]["template"]["metadata"]["labels"])
        ports = {each["name"]: each["containerPort"] for each in container(deployment)["ports"]}
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in ports
            if service["spec"].get("clusterIP") == "None":
                # Its name gives the pods' own addresses, so that it must be their own port.
                assert port["port"] == ports[port["targetPort"]]
    services = of_kind(objects, "Service")
    target = environment(tiers(objects)["gateway"])["PARLOR_GATEWAY_ROOM_SERVICE"]
    name, port = target.removeprefix("http://").split(":")
    assert services[name]["spec"]["clusterIP"] == "None"
    assert int(port) in {each["port"] for each in services[name]["spec"]["ports"]}


def at_least(objects, tier) -> int:
    scaler = of_kind(objects, "HorizontalPodAutoscaler").get(f"parlor-{tier}")
    return scaler["spec"]["minReplicas"] if scaler else tiers(objects)[tier]["spec"]["replicas"]


def one_pod_can_always_go(objects):
    budgets = of_kind(objects, "PodDisruptionBudget")
    for tier, deployment in tiers(objects).items():
        several = at_least(objects, tier) >= 2
        assert (f"parlor-{tier}" in budgets) == several, "one pod that may not go keeps its node from being drained"
        if several:
            budget = budgets[f"parlor-{tier}"]["spec"]
            assert budget["maxUnavailable"] == 1 and "minAvailable" not in budget
            assert budget["selector"] == deployment["spec"]["selector"]


def scaling_has_a_target(objects):
    scalers, deployments = of_kind(objects, "HorizontalPodAutoscaler"), of_kind(objects, "Deployment")
    for scaler in scalers.values():
        target = scaler["spec"]["scaleTargetRef"]
        assert target["kind"] == "Deployment" and "replicas" not in deployments[target["name"]]["spec"]
        assert scaler["spec"]["minReplicas"] <= scaler["spec"]["maxReplicas"]
        assert scaler["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 600


def only_known_edges(objects):
    policies = of_kind(objects, "NetworkPolicy")
    if not policies:
        return
    denied = policies["parlor-default-deny"]["spec"]
    assert set(denied["policyTypes"]) == {"Ingress", "Egress"} and "ingress" not in denied
    for tier, deployment in tiers(objects).items():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert selects(denied["podSelector"]["matchLabels"], labels)
        policy = policies[f"parlor-{tier}"]["spec"]
        assert policy["podSelector"]["matchLabels"] == deployment["spec"]["selector"]["matchLabels"]
        names = {each["name"] for each in container(deployment)["ports"]}
        assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == names
        for rule in policy["ingress"] + policy["egress"]:
            assert rule.get("from") or rule.get("to"), "a rule without a peer lets in everybody"
    (up,) = policies["parlor-gateway"]["spec"]["egress"]
    room_service = tiers(objects)["room-service"]["spec"]["template"]["metadata"]["labels"]
    assert [each["podSelector"]["matchLabels"] for each in up["to"]] == [room_service]
    assert up["ports"] == [{"port": PORTS["room-service"][0]}], "a gateway knows nothing of Redis"
    assert len(policies["parlor-room-service"]["spec"]["egress"]) == 1


def ways_in_are_patient_and_trusted(objects):
    gateway = tiers(objects)["gateway"]
    ways = list(of_kind(objects, "Ingress").values()) + list(of_kind(objects, "HTTPRoute").values())
    hops = int(environment(gateway)["PARLOR_GATEWAY_TRUSTED_HOPS"])
    assert (hops > 0) == bool(ways), "behind a proxy that is not trusted, all browsers share one address' limits"
    assert len(of_kind(objects, "Ingress")) in (0, 2)
    for way in ways:
        if way["kind"] == "Ingress":
            told = way["metadata"]["annotations"]
            for direction in ("read", "send"):
                assert int(told[f"nginx.ingress.kubernetes.io/proxy-{direction}-timeout"]) >= 2 * SILENCE
            (path,) = way["spec"]["rules"][0]["http"]["paths"]
            if path["path"] == "/":
                # By itself it lets through 1 MB.
                assert told["nginx.ingress.kubernetes.io/proxy-body-size"] == "0"
            # A connection by polling is many requests, and one gateway has it.
            assert ("nginx.ingress.kubernetes.io/affinity" in told) == (path["path"] == "/socket.io/")
            service, port = path["backend"]["service"]["name"], path["backend"]["service"]["port"]["name"]
            assert port in {each["name"] for each in of_kind(objects, "Service")[service]["spec"]["ports"]}
        else:
            (rule,) = way["spec"]["rules"]
            assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
            (backend,) = rule["backendRefs"]
            assert backend["port"] in {each["port"] for each in of_kind(objects, "Service")[backend["name"]]["spec"]["ports"]}
    for monitor in of_kind(objects, "ServiceMonitor").values():
        (endpoint,) = monitor["spec"]["endpoints"]
        scraped = [
            service for service in of_kind(objects, "Service").values()
            if selects(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])
            and endpoint["port"] in {each["name"] for each in service["spec"]["ports"]}
        ]
        # Each pod once, with a job that the alert rules know.
        assert sorted(each["metadata"]["labels"][monitor["spec"]["jobLabel"]] for each in scraped) == sorted(PORTS)
