"""deploy/aws: what the stack says, and what moto, which plays AWS, makes of it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from cfnlint.decode import cfn_yaml
from moto import mock_aws

from parlor import DEPLOY, PORTS, SILENCE, default, seconds, secrets, settings, version

STACK = DEPLOY / "aws" / "stack.yaml"
#: What moto does not play. References to these become texts.
NOT_IN_MOTO = (
    "AWS::ElastiCache::", "AWS::ServiceDiscovery::", "AWS::ApplicationAutoScaling::", "AWS::SecretsManager::",
    "AWS::CloudWatch::",
)


def stack() -> dict:
    """The template, with `!Ref` and its like written out."""
    return json.loads(json.dumps(cfn_yaml.load(str(STACK))))


def resources(kind: str) -> dict[str, dict]:
    found = {name: each["Properties"] for name, each in stack()["Resources"].items() if each["Type"] == kind}
    assert found, kind
    return found


def containers() -> dict[str, dict]:
    tasks = resources("AWS::ECS::TaskDefinition").values()
    return {each["Name"]: each for task in tasks for each in task["ContainerDefinitions"]}


def environment(tier: str) -> dict[str, object]:
    return {each["Name"]: each["Value"] for each in containers()[tier]["Environment"]}


def attributes(listed: list[dict]) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in listed}


def test_cfn_lint_has_nothing_to_say():
    linted = subprocess.run([Path(sys.executable).parent / "cfn-lint", STACK], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize("tier", PORTS)
def test_containers_are_set_up(tier):
    container, env, (port, admin) = containers()[tier], environment(tier), PORTS[tier]
    prefix = "PARLOR_" + tier.upper().replace("-", "_")
    named = set(env) | {each["Name"] for each in container.get("Secrets", [])}
    assert named <= settings(tier), named - settings(tier)
    assert not set(env) & secrets(tier), "a secret is no text"
    assert env[f"{prefix}_LISTEN"] == f"0.0.0.0:{port}"
    assert env[f"{prefix}_ADMIN_LISTEN"] == f"0.0.0.0:{admin}"
    assert [each["ContainerPort"] for each in container["PortMappings"]] == [port]
    assert container["ReadonlyRootFilesystem"] is True and container["User"] == "65532"
    # Fargate allows at most two minutes, and the program gives the tasks that are left ten seconds.
    assert seconds(env[f"{prefix}_DRAIN"]) + 10 <= container["StopTimeout"] <= 120
    # Gateways are asked by the load balancer.
    asked = container.get("HealthCheck", {}).get("Command")
    assert asked == (["CMD", "/usr/bin/room-service", "healthcheck"] if tier == "room-service" else None)
    # A connection is a file, and some are open anyway.
    (files,) = container["Ulimits"]
    assert files["SoftLimit"] > int(default("PARLOR_GATEWAY_MAX_CONNECTIONS")) + 1000
    assert stack()["Parameters"][{"gateway": "GatewayImage", "room-service": "RoomServiceImage"}[tier]]["Default"] \
        == f"parlor/{tier}:{version()}"


def test_the_password_of_redis_is_nowhere_in_clear():
    assert [each["Name"] for each in containers()["room-service"]["Secrets"]] == ["PARLOR_ROOM_SERVICE_REDIS_URL"]
    assert "Secrets" not in containers()["gateway"] and "CacheUrl" not in json.dumps(containers()["gateway"])
    (cache,) = resources("AWS::ElastiCache::ReplicationGroup").values()
    secret = "{{resolve:secretsmanager:${CachePassword}}}"
    assert cache["AuthToken"] == {"Fn::Sub": secret}
    url = resources("AWS::SecretsManager::Secret")["CacheUrl"]["SecretString"]["Fn::Sub"]
    assert url == f"rediss-cluster://:{secret}@${{Cache.ConfigurationEndPoint.Address}}:6379"


def test_redis_is_encrypted_and_outlives_a_zone():
    (cache,) = resources("AWS::ElastiCache::ReplicationGroup").values()
    for promise in ("TransitEncryptionEnabled", "AtRestEncryptionEnabled", "MultiAZEnabled", "AutomaticFailoverEnabled"):
        assert cache[promise] is True, promise
    assert stack()["Parameters"]["CacheReplicas"]["MinValue"] >= 1
    (parameters,) = resources("AWS::ElastiCache::ParameterGroup").values()
    # The URL says that it is a cluster, and the README what a full Redis is to do.
    assert parameters["Properties"] == {"cluster-enabled": "yes", "maxmemory-policy": "noeviction"}


def test_groups_are_chained_by_id_alone():
    groups = resources("AWS::EC2::SecurityGroup")
    open_to = {name: group.get("SecurityGroupIngress") for name, group in groups.items()}
    assert {rule["FromPort"] for rule in open_to.pop("LoadBalancerGroup")} == {80, 443}
    assert set(open_to.values()) == {None}, "an inline rule may make two groups wait for each other"
    edges = {
        (rule["SourceSecurityGroupId"]["Fn::GetAtt"][0], rule["GroupId"]["Fn::GetAtt"][0], rule["FromPort"], rule["ToPort"])
        for rule in resources("AWS::EC2::SecurityGroupIngress").values()
    }
    assert edges == {
        ("LoadBalancerGroup", "GatewayGroup", 3000, 3000),
        ("GatewayGroup", "RoomServiceGroup", 50051, 50051),
        ("RoomServiceGroup", "CacheGroup", 6379, 6379),
    }


def test_the_load_balancer_is_patient_and_sticky_for_old_clients_alone():
    (balancer,) = resources("AWS::ElasticLoadBalancingV2::LoadBalancer").values()
    assert int(attributes(balancer["LoadBalancerAttributes"])["idle_timeout.timeout_seconds"]) >= 2 * SILENCE
    groups = resources("AWS::ElasticLoadBalancingV2::TargetGroup")
    for name, group in groups.items():
        assert (group["TargetType"], group["Port"], group["HealthCheckPath"]) == ("ip", PORTS["gateway"][0], "/readyz")
        told = attributes(group["TargetGroupAttributes"])
        assert int(told["deregistration_delay.timeout_seconds"]) <= 30
        assert ("stickiness.enabled" in told) == (name == "OldClientsGateways")
    # A connection by polling is many requests, and one gateway has it.
    (rule,) = resources("AWS::ElasticLoadBalancingV2::ListenerRule").values()
    assert rule["Conditions"][0]["PathPatternConfig"]["Values"] == ["/socket.io/*"]
    assert rule["Actions"][0]["TargetGroupArn"] == {"Ref": "OldClientsGateways"}
    registered = resources("AWS::ECS::Service")["GatewayService"]["LoadBalancers"]
    assert {each["TargetGroupArn"]["Ref"] for each in registered} == set(groups)
    assert environment("gateway")["PARLOR_GATEWAY_TRUSTED_HOPS"] == "1"


def test_gateways_ask_for_room_services_by_their_name():
    (namespace,) = resources("AWS::ServiceDiscovery::PrivateDnsNamespace").values()
    (service,) = resources("AWS::ServiceDiscovery::Service").values()
    domain = namespace["Name"]["Fn::Sub"]
    target = environment("gateway")["PARLOR_GATEWAY_ROOM_SERVICE"]["Fn::Sub"]
    assert target == f"http://{service['Name']}.{domain}:{PORTS['room-service'][0]}"
    assert service["DnsConfig"]["RoutingPolicy"] == "MULTIVALUE"


def test_both_tiers_scale_and_roll_back():
    services = resources("AWS::ECS::Service")
    scaled = [re.search(r"\$\{(\w+)\.Name\}", each["ResourceId"]["Fn::Sub"]).group(1)
              for each in resources("AWS::ApplicationAutoScaling::ScalableTarget").values()]
    assert sorted(scaled) == sorted(services)
    policies = resources("AWS::ApplicationAutoScaling::ScalingPolicy").values()
    assert {each["ScalingTargetId"]["Ref"] for each in policies} == {"GatewayCount", "RoomServiceCount"}
    for service in services.values():
        deployed = service["DeploymentConfiguration"]
        assert deployed["MinimumHealthyPercent"] == 100
        assert deployed["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
        assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "DISABLED"


def test_every_alarm_reaches_somebody():
    for name, alarm in resources("AWS::CloudWatch::Alarm").items():
        assert alarm["AlarmActions"]["Fn::If"][0] == "TellSomebody", name
        assert alarm["AlarmDescription"].count(" ") > 5, f"{name} does not say what to do"


@pytest.mark.parametrize("params", sorted((DEPLOY / "aws" / "params").iterdir()), ids=lambda file: file.stem)
def test_params_are_parameters(params):
    declared = stack()["Parameters"]
    given = dict(pair.split("=", 1) for pair in json.loads(params.read_text()))
    assert set(given) <= set(declared)
    assert {name for name, each in declared.items() if "Default" not in each} <= set(given)
    for name, value in given.items():
        assert re.fullmatch(declared[name].get("AllowedPattern", ".*"), value)
        assert value in declared[name].get("AllowedValues", [value])
        assert declared[name]["Type"] != "Number" or int(value) >= declared[name].get("MinValue", 0)


def for_moto() -> dict:
    """The stack without what moto does not play; what refers to that gets its name as a text."""
    template = stack()
    absent = {name for name, each in template["Resources"].items() if each["Type"].startswith(NOT_IN_MOTO)}
    template["Resources"] = {name: each for name, each in template["Resources"].items() if name not in absent}

    def mend(node):
        match node:
            case {"Ref": name} if name in absent:
                return f"arn:of:{name}"
            case {"Fn::GetAtt": [name, *_]} if name in absent:
                return f"arn:of:{name}"
            case dict():
                return {key: mend(value) for key, value in node.items()}
            case list():
                return [mend(value) for value in node]
        return node

    return mend(template)


@mock_aws
def test_moto_makes_it():
    region = "eu-central-1"
    ec2, cfn, ecs, elb, acm = (
        boto3.client(name, region, aws_access_key_id="none", aws_secret_access_key="none")
        for name in ("ec2", "cloudformation", "ecs", "elbv2", "acm")
    )
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{region}{zone}")["Subnet"]["SubnetId"]
        for n, zone in enumerate("abab")
    ]
    given = {
        "Vpc": vpc,
        "PublicSubnets": ",".join(subnets[:2]),
        "PrivateSubnets": ",".join(subnets[2:]),
        "Certificate": acm.request_certificate(DomainName="chat.example")["CertificateArn"],
    }
    cfn.create_stack(
        StackName="chat",
        TemplateBody=json.dumps(for_moto()),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    assert cfn.describe_stacks(StackName="chat")["Stacks"][0]["StackStatus"] == "CREATE_COMPLETE"
    made = {each["LogicalResourceId"]: each["PhysicalResourceId"]
            for each in cfn.list_stack_resources(StackName="chat")["StackResourceSummaries"]}
    assert set(made) == set(for_moto()["Resources"])

    # Who may reach whom, as it came to be.
    group = {name: made[name] for name in ("LoadBalancerGroup", "GatewayGroup", "RoomServiceGroup", "CacheGroup")}
    names = {}
    for each in ec2.describe_security_groups()["SecurityGroups"]:
        for name, physical in group.items():
            if physical in (each["GroupId"], each["GroupName"]):
                names[each["GroupId"]] = (name, each["IpPermissions"])
    edges = {
        (names[pair["GroupId"]][0], name, rule["FromPort"])
        for name, rules in names.values() for rule in rules for pair in rule["UserIdGroupPairs"]
    }
    assert edges == {
        ("LoadBalancerGroup", "GatewayGroup", 3000),
        ("GatewayGroup", "RoomServiceGroup", 50051),
        ("RoomServiceGroup", "CacheGroup", 6379),
    }

    (cluster,) = ecs.list_clusters()["clusterArns"]
    services = ecs.describe_services(cluster=cluster, services=ecs.list_services(cluster=cluster)["serviceArns"])["services"]
    assert sorted(each["desiredCount"] for each in services) == [2, 2]
    listeners = elb.describe_listeners(LoadBalancerArn=made["LoadBalancer"])["Listeners"]
    assert {each["Port"]: each["DefaultActions"][0]["Type"] for each in listeners} == {80: "redirect", 443: "forward"}
