"""A bot that answers `!ping`: each one once, whatever is killed in between.

It stands on chat.proto alone. How it keeps its promise is three things: it writes down who it is and how far it has
read, only after it has answered; it joins with that, and is given what it missed; and an answer's client_id is made
from the message that it answers, so that one sent twice is one message.

    python3 ping_bot.py 127.0.0.1:50051 state.json lobby ...
"""

import json
import os
import queue
import sys
import time

import grpc
from chat.v1 import chat_pb2 as chat
from chat.v1 import chat_pb2_grpc

# A peer that vanished without a word is noticed after 15 s.
OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]
TRY_AGAIN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}


def answer_id(message):
    """The same for the same message, so that an answer that is sent again is not a second one."""
    return f"pong-{message.id}"


class Bot:
    def __init__(self, stub, file, rooms):
        self.stub, self.file, self.rooms, self.me = stub, file, rooms, ""
        self.state = {"token": "", "read": {}}
        if os.path.exists(file):
            with open(file, encoding="utf-8") as kept:
                self.state = json.load(kept)

    def serve(self):
        """One session, until it ends."""
        asks = queue.SimpleQueue()
        asks.put(chat.ClientFrame(id=1, hello=chat.HelloRequest(token=self.state["token"], bot=True)))
        for number, room in enumerate(self.rooms, start=2):
            since = self.state["read"].get(room)
            since = chat.Position(**since) if since else None
            asks.put(chat.ClientFrame(id=number, join=chat.JoinRequest(room=room, since=since)))
        # The call ends our half of the stream when it ends itself, by the None.
        call = self.stub.Connect(iter(asks.get, None))
        try:
            for frame in call:
                match frame.WhichOneof("body"):
                    case "welcome":
                        self.me, self.state["token"] = frame.welcome.member.id, frame.welcome.token
                    case "joined":
                        self.joined(frame.joined)
                    case "message":
                        self.read(frame.message)
                    case "error":
                        raise RuntimeError(frame.error.message)
                    case "move":
                        return
        finally:
            asks.put(None)
            call.cancel()

    def joined(self, joined):
        # An answer comes after what it answers, so it is in here too.
        answered = {message.client_id for message in joined.messages if message.member.id == self.me}
        # Where we never were, what was said before is none of ours.
        is_new = joined.room not in self.state["read"]
        for message in joined.messages:
            self.read(message, done=is_new or answer_id(message) in answered)
        # Nothing was said yet: from now on it is ours to answer.
        self.state["read"].setdefault(joined.room, {"epoch": joined.epoch, "seq": joined.head, "id": ""})
        self.save()

    def read(self, message, done=False):
        """Answers a message, unless that is done, and then writes down that it was read."""
        # An edit is a message with the new text: what was said and then made a ping is none.
        if message.text == "!ping" and not message.edits and not done and message.member.id != self.me:
            self.send(chat.SendRequest(room=message.room, client_id=answer_id(message), text="pong"))
        self.state["read"][message.room] = {"epoch": message.epoch, "seq": message.seq, "id": message.id}
        self.save()

    def send(self, answer):
        """Sends until it is acknowledged."""
        bearer = [("authorization", f"Bearer {self.state['token']}")]
        while True:
            try:
                return self.stub.Send(answer, timeout=5, metadata=bearer)
            except grpc.RpcError as error:
                if error.code() not in TRY_AGAIN:
                    raise
                time.sleep(0.2)

    def save(self):
        """The file is the old one or the new one, never half of it."""
        with open(self.file + ".new", "w", encoding="utf-8") as half:
            json.dump(self.state, half)
        os.replace(self.file + ".new", self.file)


def main():
    address, file, *rooms = sys.argv[1:]
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        bot = Bot(chat_pb2_grpc.ChatServiceStub(channel), file, rooms)
        while True:
            try:
                bot.serve()
            except (grpc.RpcError, RuntimeError) as error:
                why = error.details() if isinstance(error, grpc.Call) else error
                print(f"coming back: {why}", file=sys.stderr)
            time.sleep(0.2)


if __name__ == "__main__":
    main()
