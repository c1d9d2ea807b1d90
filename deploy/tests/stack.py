"""A Parlor of containers and a crowd that talks through it: what the stories in `run` are told with."""

import json
import os
import re
import resource
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
DEPLOY = HERE.parent
ROOT = DEPLOY.parent
COMPOSE = DEPLOY / "compose"
PROJECT = "parlor-test"


def run(*words, **options) -> str:
    """What a program prints. Its errors are ours."""
    ended = subprocess.run([str(word) for word in words], capture_output=True, text=True, **options)
    if ended.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, words))}: {(ended.stderr or ended.stdout).strip()[-600:]}")
    return ended.stdout


def eventually(what: str, within: float, ask):
    """Asks until the answer is true, and for at most so many seconds. Gives the answer and how long it took."""
    began = time.monotonic()
    while True:
        answer = ask()
        taken = time.monotonic() - began
        if answer:
            return answer, taken
        assert taken < within, f"not within {within} s: {what}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Stack:
    """The containers of compose.yaml, with overlays."""

    def __init__(self, *overlays: str, heartbeat: str = "3s"):
        self.files = [COMPOSE / "compose.yaml", *(COMPOSE / overlay for overlay in overlays), HERE / "compose.test.yaml"]
        nofile = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.ports = {name: free_port() for name in ("PARLOR_PORT", "PARLOR_GRPC_PORT", "NGINX_PORT", "NGINX_GRPC_PORT",
                                                    "NGINX_LEGACY_PORT")}
        self.environment = os.environ | {
            "COMPOSE_PROJECT_NAME": PROJECT,
            "COMPOSE_FILE": ":".join(map(str, self.files)),
            "DEPLOY": str(DEPLOY),
            "HEARTBEAT": heartbeat,
            "PARLOR_TAG": "test",
            "HAPROXY_IMAGE": "parlor-test/haproxy",
            "REDIS_IMAGE": "parlor-test/redis",
            "NOFILE": str(min(nofile if nofile > 0 else 65536, 65536)),
        } | {name: str(port) for name, port in self.ports.items()}

    def at(self, balancer: str) -> str:
        """Where browsers reach a balancer."""
        return f"127.0.0.1:{self.ports[{'haproxy': 'PARLOR_PORT', 'nginx': 'NGINX_PORT', 'nginx-legacy': 'NGINX_LEGACY_PORT'}[balancer]]}"

    def compose(self, *words) -> str:
        return run("docker", "compose", "--project-directory", COMPOSE, *words, env=self.environment)

    def up(self) -> float:
        """Starts it. The seconds that it took until all of it was healthy."""
        began = time.monotonic()
        self.compose("up", "--detach", "--wait", "--no-build")
        return time.monotonic() - began

    def down(self):
        self.compose("down", "--volumes", "--timeout", "2", "--remove-orphans")

    def logs(self) -> str:
        return self.compose("logs", "--no-color", "--tail", "40")

    def roll(self, service: str):
        run(COMPOSE / "roll", service, env=self.environment | {"COMPOSE_PROJECT_NAME": PROJECT})

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "--quiet", service).split()

    def wait_healthy(self, container: str, within: float = 30):
        ask = lambda: inspect(container)["State"].get("Health", {}).get("Status") == "healthy"
        return eventually(f"{container[:12]} is healthy", within, ask)[1]


def inspect(container: str) -> dict:
    return json.loads(run("docker", "inspect", container))[0]


def address(container: str, network: str) -> str:
    return inspect(container)["NetworkSettings"]["Networks"][f"{PROJECT}_{network}"]["IPAddress"]


def sessions(gateway: str) -> int:
    """How many sessions a gateway has, by its own metrics."""
    metrics = get(f"{address(gateway, 'front')}:9464", "/metrics")[1]
    found = re.search(r"^parlor_gateway_sessions (\d+)", metrics, re.M)
    return int(found.group(1)) if found else 0


def get(host: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{host}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def ask(host: str, method: str, path: str, headers: dict[str, str] = {}, body: bytes | None = None) -> bytes:
    """The body of an answer that is good."""
    request = urllib.request.Request(f"http://{host}{path}", body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method} {host}{path.split('?')[0]}: {error.code} {error.read().decode()[:300]}") from error


def open_session(host: str) -> socket.socket | None:
    """A WebSocket that was opened and says nothing; nothing if it was refused."""
    name, port = host.split(":")
    connection = socket.create_connection((name, int(port)), timeout=5)
    connection.sendall(
        f"GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    try:
        if connection.recv(4096).startswith(b"HTTP/1.1 101"):
            return connection
    except TimeoutError:
        pass
    connection.close()
    return None


class Crowd:
    """`chaos crowd`: members who talk while something is broken, and judge what they saw."""

    runs = 0

    def __init__(self, programs: Path, at: str, *words):
        Crowd.runs += 1
        #: What its rooms are called, before their number.
        self.prefix = f"crowd-{Crowd.runs}"
        self.process = subprocess.Popen(
            [str(programs / "chaos"), "crowd", "--at", at, "--prefix", self.prefix, *map(str, words)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        line = self.process.stdout.readline()
        assert line.startswith("in "), f"the crowd did not get in: {line}"
        self.came_within = float(line.split()[1])

    def struck(self):
        self.say("struck")

    def say(self, word: str):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def end(self) -> dict:
        """What they saw."""
        self.say("end")
        line = self.process.stdout.readline()
        self.process.wait(60)
        assert line, "the crowd ended without a word"
        return json.loads(line)
