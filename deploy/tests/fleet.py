"""A gateway, a room service, Redis and Prometheus as real processes, and somebody who talks: for what can only be seen
while it runs. The programs are those that `make deploy-check` has built."""

import json
import os
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from parlor import ROOT, tool

#: How long anything here may take, in seconds.
PATIENCE = 60


def built(program: str) -> str:
    """One of our programs. Skips the test, visibly, where it was not built."""
    path = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "debug" / program
    if not path.exists():
        pytest.skip(f"{program} is not built (cargo build): what it proves is NOT checked here")
    return str(path)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has now."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def ask(url: str, body: dict | None = None, token: str = "", timeout: float = PATIENCE):
    """The answer to a GET, or to a POST of `body`: a stream."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    return urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=timeout)


def text(url: str) -> str:
    """The body of the answer to a GET."""
    with ask(url) as answer:
        return answer.read().decode()


def eventually(what, holds):
    """What `holds` gives as soon as it gives something. Fails with `what` it waited for."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            if found := holds():
                return found
        except OSError:
            pass
        time.sleep(0.1)
    pytest.fail(f"in {PATIENCE} s, not: {what}")


class Fleet:
    """Where each of its processes answers."""

    def __init__(self):
        self.redis, self.grpc, self.web, self.prometheus = (free_port() for _ in range(4))
        self.admin = {"gateway": free_port(), "room-service": free_port()}

    def metrics(self, program: str) -> str:
        """What Prometheus would read there."""
        return text(f"http://127.0.0.1:{self.admin[program]}/metrics")

    def is_ready(self, program: str) -> bool:
        """Whether it can deliver."""
        return "ready" in text(f"http://127.0.0.1:{self.admin[program]}/readyz")

    def query(self, expression: str) -> list:
        """The series that Prometheus has for it now."""
        question = urllib.parse.urlencode({"query": expression})
        answer = json.loads(text(f"http://127.0.0.1:{self.prometheus}/api/v1/query?{question}"))
        return answer["data"]["result"]

    def talk(self):
        """A guest listens to a room; another says something in it, which is heard, and something that is refused."""
        door = f"http://127.0.0.1:{self.web}/v1"
        with ask(f"{door}/tokens", {}) as answer:
            token = json.load(answer)["token"]
        with ask(f"{door}/rooms/lobby/events", token=token) as events:
            for line in events:
                if b"joined" in line:
                    break
            with ask(f"{door}/rooms/lobby/messages", {"text": "hello"}, token) as answer:
                message = json.load(answer)["id"].encode()
            assert any(message in line for line in events)
        with pytest.raises(urllib.error.HTTPError):
            ask(f"{door}/rooms/lobby/messages", {"text": " "}, token)


@contextmanager
def running(command: list[str], log: Path, environment: dict[str, str] = {}):
    """A process of `command` alone, which is ended at the end."""
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=log.parent)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE)


@contextmanager
def fleet(folder: Path):
    """All of it, ready, and scraped every second."""
    programs = {name: built(name) for name in ("gateway", "room-service")}
    prometheus, redis = tool("prometheus"), tool("redis-server")
    it = Fleet()
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in it.admin.items()
    ]
    settings = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
    (folder / "prometheus.yml").write_text(json.dumps(settings))
    with ExitStack() as processes:

        def start(name, *command, **environment):
            processes.enter_context(running(list(command), folder / f"{name}.log", environment))

        start("redis", redis, "--port", str(it.redis), "--bind", "127.0.0.1", "--save", "")
        start(
            "room-service",
            programs["room-service"],
            f"--listen=127.0.0.1:{it.grpc}",
            f"--admin-listen=127.0.0.1:{it.admin['room-service']}",
            f"--redis-url=redis://127.0.0.1:{it.redis}",
            "--drain=100ms",
        )
        start(
            "gateway",
            programs["gateway"],
            f"--listen=127.0.0.1:{it.web}",
            f"--admin-listen=127.0.0.1:{it.admin['gateway']}",
            f"--room-service=http://127.0.0.1:{it.grpc}",
            "--drain=100ms",
        )
        start(
            "prometheus",
            prometheus,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{it.prometheus}",
        )
        for program in programs:
            eventually(f"{program} is ready", lambda: it.is_ready(program))
        yield it
