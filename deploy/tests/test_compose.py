"""deploy/docker, compose, haproxy and nginx: what can be said of them without starting them. `run` starts them."""

import re
import subprocess

import pytest
import yaml

from parlor import DEPLOY, PORTS, SILENCE, seconds, secrets, settings, tool

COMPOSE = DEPLOY / "compose"
FILES = sorted(COMPOSE.glob("compose*.yaml"))
BASE = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text()
BALANCERS = ["haproxy/haproxy.cfg", "nginx/shared.conf", "nginx/nginx.conf"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_container_is_hardened_on_known_networks_and_back_after_a_reboot(file):
    overlay = yaml.safe_load(file.read_text())
    for name, service in overlay["services"].items():
        whole = BASE["services"].get(name, {}) | service
        assert whole["read_only"] and whole["cap_drop"] == ["ALL"], name
        assert whole["security_opt"] == ["no-new-privileges:true"], name
        assert set(whole["networks"]) <= set(BASE["networks"]), name
        assert whole["restart"] == "unless-stopped", name
        assert all(re.match(r"\$\{\w+_?BIND:-127\.0\.0\.1}:", port) for port in whole.get("ports", [])), name


@pytest.mark.parametrize("tier", PORTS)
def test_a_tier_has_known_settings_and_longer_to_end_than_it_takes(tier):
    service, prefix = BASE["services"][tier], "PARLOR_" + tier.upper().replace("-", "_")
    assert set(service["environment"]) <= settings(tier), set(service["environment"]) - settings(tier)
    for overlay in FILES:
        environment = yaml.safe_load(overlay.read_text())["services"].get(tier, {}).get("environment", {})
        assert set(environment) <= settings(tier), overlay
    drain = seconds(service["environment"][f"{prefix}_DRAIN"])
    assert seconds(service["stop_grace_period"]) >= drain + 10
    assert service["deploy"]["replicas"] == 2
    # Only Redis' URL is there, since it is put together; other secrets come by file.
    assert secrets(tier) & set(service["environment"]) <= {"PARLOR_ROOM_SERVICE_REDIS_URL"}


def test_only_room_services_and_redis_share_the_back_and_only_the_front_has_a_way_out():
    on = lambda network: {name for name, each in BASE["services"].items() if network in each["networks"]}
    assert on("back") == {"room-service", "redis"}
    assert on("front") == {"balancer", "gateway"}
    assert {name for name, network in BASE["networks"].items() if not (network or {}).get("internal")} == {"front"}


def test_every_variable_has_a_default_and_is_in_the_example():
    example = set(re.findall(r"^(\w+)=", (COMPOSE / ".env.example").read_text(), re.M))
    for file in FILES:
        text = file.read_text()
        used = set(re.findall(r"\$\{(\w+)", text))
        assert used == set(re.findall(r"\$\{(\w+):-", text)), "one has no default"
        assert used <= example, used - example


@pytest.mark.parametrize("tier", [*PORTS, "parlor"])
def test_an_image_asks_itself_and_is_nobodys_root(tier):
    stage = DOCKERFILE.split(f"FROM runtime AS {tier}\n")[1].split("\nFROM ")[0]
    assert f'CMD ["/usr/bin/{tier}", "healthcheck"]' in stage and f'ENTRYPOINT ["/usr/bin/{tier}"]' in stage
    known = settings(tier) if tier in PORTS else settings("gateway") | settings("room-service")
    told = dict(re.findall(r"(PARLOR_\w+)=(\S+)", stage))
    assert set(told) <= known
    exposed = set(map(int, re.search(r"EXPOSE (.+)", stage).group(1).split()))
    assert exposed == {int(address.split(":")[1]) for address in told.values()}
    assert "USER 65532:65532" in DOCKERFILE and not DOCKERFILE.startswith("# syntax")


def test_both_tiers_have_attachments_in_one_volume_that_is_theirs_to_write():
    (shared,) = set.intersection(*({volume for volume in BASE["services"][tier]["volumes"] if not volume.endswith(":ro")}
                                   for tier in PORTS))
    name, folder = shared.split(":")
    assert name in BASE["volumes"]
    for tier in PORTS:
        variable = "PARLOR_" + tier.upper().replace("-", "_") + "_ATTACHMENTS"
        assert BASE["services"][tier]["environment"][variable] == f"file://{folder}"
    # A new volume becomes what is at its place in the image.
    assert f"--chown=65532:65532 / {folder}\n" in DOCKERFILE


@pytest.mark.parametrize("file", BALANCERS)
def test_a_balancer_is_more_patient_than_a_session_may_be_silent(file):
    text = (DEPLOY / file).read_text()
    patience = r"(?:timeout (?:client|server|tunnel) |(?:proxy|grpc)_(?:read|send)_timeout )(\d+s)"
    told = [seconds(value) for value in re.findall(patience, text)]
    # HAProxy's patience with a handshake ends where its patience with a tunnel begins.
    if "haproxy" in file:
        told.remove(2)
    assert told and min(told) >= 2 * SILENCE, told


def test_haproxy_takes_its_configuration():
    told = subprocess.run([tool("haproxy"), "-c", "-f", DEPLOY / "haproxy/haproxy.cfg"], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


def test_an_old_nginx_takes_the_configuration_for_it():
    told = subprocess.run([tool("nginx"), "-t", "-c", DEPLOY / "nginx/nginx-legacy.conf"], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


def test_prometheus_takes_its_configuration(tmp_path):
    for file in (COMPOSE / "observability/prometheus.yml", DEPLOY / "observability/alerts.yaml"):
        (tmp_path / file.name).write_text(file.read_text())
    told = subprocess.run([tool("promtool"), "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
