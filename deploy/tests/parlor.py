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


def settings(program: str) -> set[str]:
    """The environment variables of `program`: clap makes its `--help` from these lines."""
    source = (ROOT / program / "src" / "config.rs").read_text()
    names = set(re.findall(r'env = "(PARLOR_[A-Z_]+)"', source))
    assert len(names) > 10, f"{program}: its settings are no longer where this looks"
    return names


def seconds(duration: str) -> float:
    """A duration as settings have it, like `20s` or `2500ms`."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", duration).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def default(setting: str) -> str:
    """The default of a setting, as a text."""
    program = "gateway" if setting.startswith("PARLOR_GATEWAY") else "room-service"
    source = (ROOT / program / "src" / "config.rs").read_text()
    found = re.search(rf'env = "{setting}", default_value(?:_t)? = "?([^",)]+)', source)
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
