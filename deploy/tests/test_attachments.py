"""Files in a bucket: a gateway and a room service as real processes, and moto, which plays S3 and checks who signs."""

import json
import subprocess
import urllib.error
import urllib.request

import boto3
import pytest
from moto.server import ThreadedMotoServer

from fleet import PATIENCE, ask, built, eventually, free_port, running, text

BUCKET = "chat-files"
REGION = "eu-central-1"
#: Everything in the bucket, and the bucket itself.
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


class Bucket:
    """The bucket, who may use it, and how they reach it."""

    def __init__(self, endpoint: str):
        self.endpoint = endpoint
        iam = self._client("iam", "anyone", "anything")
        iam.create_user(UserName="parlor")
        iam.put_user_policy(UserName="parlor", PolicyName="files", PolicyDocument=json.dumps(POLICY))
        key = iam.create_access_key(UserName="parlor")["AccessKey"]
        self.key, self.secret = key["AccessKeyId"], key["SecretAccessKey"]
        self.s3 = self._client("s3", self.key, self.secret)
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        # From now on only who signs as they should gets anything.
        let_in(endpoint, 0)

    def _client(self, service: str, key: str, secret: str):
        return boto3.client(
            service, REGION, endpoint_url=self.endpoint, aws_access_key_id=key, aws_secret_access_key=secret
        )

    def names(self) -> list[str]:
        """The names of what is in it."""
        return [found["Key"] for found in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def environment(self, secret: str) -> dict[str, str]:
        """What a program is told that reaches it."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }


def let_in(endpoint: str, n: int):
    """Whose request is among the next `n` is let in, whoever that is."""
    url, plain = f"{endpoint}/moto-api/reset-auth", {"content-type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(url, str(n).encode(), plain)).close()


@pytest.fixture
def bucket():
    server = ThreadedMotoServer("127.0.0.1", free_port(), verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    try:
        yield Bucket(endpoint)
    finally:
        let_in(endpoint, 1_000_000)
        urllib.request.urlopen(f"{endpoint}/moto-api/reset", b"").close()
        server.stop()


@pytest.fixture
def door(bucket, tmp_path):
    """Where a gateway answers that has its files in the bucket, as its room service does; a second one has another's secret."""
    grpc, web, forged = (free_port() for _ in range(3))

    def program(name: str, port: int, secret: str, *flags: str):
        command = [
            built(name),
            f"--listen=127.0.0.1:{port}",
            f"--admin-listen=127.0.0.1:{free_port()}",
            f"--attachments=s3://{BUCKET}/parlor/files",
            "--drain=100ms",
            *flags,
        ]
        return running(command, tmp_path / f"{name}-{port}.log", bucket.environment(secret))

    link = f"--room-service=http://127.0.0.1:{grpc}"
    with (
        program("room-service", grpc, bucket.secret),
        program("gateway", web, bucket.secret, link),
        program("gateway", forged, "another secret", link),
    ):
        doors = [f"http://127.0.0.1:{port}" for port in (web, forged)]
        for door in doors:
            eventually(f"{door} is ready", lambda: text(f"{door}/readyz"))
        yield doors


def call(method: str, url: str, token: str, body: bytes | None = None, **headers: str):
    """The status and the body of the answer."""
    headers["authorization"] = f"Bearer {token}"
    try:
        request = urllib.request.Request(url, body, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()


def test_a_file_is_in_the_bucket_as_long_as_its_message(bucket, door):
    here, _ = door
    with ask(f"{here}/v1/tokens", {}) as answer:
        token = json.load(answer)["token"]
    room = f"{here}/v1/rooms/lobby"
    file = bytes(range(256)) * 4096
    status, brought = call("POST", f"{room}/attachments?name=a.bin", token, file)
    assert status == 200, brought
    id = json.loads(brought)["id"]
    assert bucket.names() == [f"parlor/files/{id}"]
    with ask(f"{room}/messages", {"attachments": [id], "text": ""}, token) as answer:
        message = json.load(answer)
    assert call("GET", f"{room}/attachments/{id}", token) == (200, file)
    assert call("GET", f"{room}/attachments/{id}", token, range="bytes=255-257") == (206, b"\xff\x00\x01")
    status, told = call("DELETE", f"{room}/messages/{message['seq']}?id={message['id']}", token)
    assert status == 200, told
    assert call("GET", f"{room}/attachments/{id}", token)[0] == 404
    eventually("the file is removed", lambda: not bucket.names())


def test_who_is_not_let_in_by_the_bucket_says_so_and_messages_go_on(bucket, door, tmp_path):
    _, forged = door
    with ask(f"{forged}/v1/tokens", {}) as answer:
        token = json.load(answer)["token"]
    status, refused = call("POST", f"{forged}/v1/rooms/lobby/attachments?name=a", token, b"a")
    assert (status, json.loads(refused)["error"]["code"]) == (503, "UNAVAILABLE")
    assert bucket.names() == []
    with ask(f"{forged}/v1/rooms/lobby/messages", {"text": "hello"}, token) as answer:
        assert json.load(answer)["seq"] == 1
    log = "".join(file.read_text() for file in tmp_path.glob("gateway-*.log"))
    assert "access is denied" in log and bucket.key not in log, log


@pytest.mark.parametrize("program", ["gateway", "room-service"])
def test_what_is_no_bucket_ends_the_start(program):
    told = subprocess.run(
        [built(program), "--attachments=s3://Not_A_Bucket"], env={}, capture_output=True, text=True, timeout=PATIENCE
    )
    assert told.returncode == 64 and "attachments" in told.stderr, told
