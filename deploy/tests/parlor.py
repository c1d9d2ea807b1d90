"""What the checks know of Parlor: its settings, read from where `--help` comes from, its metrics, and the folders."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parent.parent
ROOT = DEPLOY.parent
TOOLS = Path(__file__).parent

#: The ports that the tiers listen at in containers, as every way of deploying them says.
PORTS = {"gateway": (3000, 9464), "room-service": (50051, 9465)}


def source(program: str) -> str:
    """Where the settings of `program` are declared: clap makes its `--help` from these lines."""
    files = sorted((ROOT / program / "src").rglob("*.rs"))
    return "\n".join(file.read_text() for file in files)


def settings(program: str) -> set[str]:
    """The environment variables of `program`."""
    names = set(re.findall(r'env = "(PARLOR_[A-Z_]+)"', source(program)))
    assert len(names) > 10, f"{program}: its settings are no longer where this looks"
    return names


def secrets(program: str) -> set[str]:
    """Those whose values `--help` does not show."""
    return set(re.findall(r'env = "(PARLOR_[A-Z_]+)"[^\]]*hide_env_values = true', source(program)))


def seconds(duration: str) -> float:
    """A duration as settings have it, like `20s` or `2500ms`."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", duration).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def default(setting: str) -> str:
    """The default of a setting, as a text."""
    program = "gateway" if setting.startswith("PARLOR_GATEWAY") else "room-service"
    found = re.search(rf'env = "{setting}", default_value(?:_t)? = "?([^",)]+)', source(program))
    assert found, f"{setting} has no default here"
    return found.group(1).replace("_", "")


#: How long a session may be silent, in seconds: no proxy may be less patient.
SILENCE = seconds(default("PARLOR_GATEWAY_HEARTBEAT")) + seconds(default("PARLOR_GATEWAY_HEARTBEAT_GRACE"))


def metrics() -> set[str]:
    """The names of all metrics that the programs count."""
    names = set()
    for crate in ("gateway", "room-service", "runtime"):
        for file in (ROOT / crate / "src").rglob("*.rs"):
            names |= set(re.findall(r'(?:counter|gauge|histogram)!\(\s*"(parlor_[a-z_]+)"', file.read_text()))
    assert len(names) > 10, "metrics are no longer where this looks"
    return names


def version() -> str:
    """The version of the workspace."""
    return re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.M).group(1)


def tool(name: str) -> str:
    """A program that `deploy/tests/tools` brought. Skips the test, visibly, where it could not."""
    path = ROOT / "target" / "deploy" / "bin" / name
    found = str(path) if path.exists() else shutil.which(name)
    if not found:
        pytest.skip(f"{name} could not be had: what it proves is NOT checked here")
    return found


def documents(text: str) -> list[dict]:
    """The objects of a file with several."""
    return [document for document in yaml.safe_load_all(text) if document]
