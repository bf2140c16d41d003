"""The wire as proto/PROTOCOL.md describes it, on plain pyzmq and msgpack. No code of the project."""
import msgpack
import struct
import time

import zmq

HELLO, HEARTBEAT, BYE, BATCH, CHECK_TABLE, ASK_STATUS, RESULTS, PROGRESS, TABLE, ASK_DEAD = range(1, 11)
WELCOME, STORED, APPLIED, REFUSAL, LEASE, DELIVERY, ASK_PROGRESS, STATUS, DEAD = range(64, 73)
HELLO_FIRST, VERSION, MALFORMED, BUSY, FENCED, HOLE, OTHER_SOURCE, NOT_NOW = range(1, 9)
PRODUCER, CONSUMER, TOOL = 1, 2, 3
SILENCE_IS_DEATH = 6.0


def pack(value):
    return msgpack.packb(value, use_bin_type=True)


def unpack(frame):
    return msgpack.unpackb(frame, raw=False)


def wrapped(frames):
    return b"".join(b"\xc6" + struct.pack(">I", len(f)) + f for f in frames)


def unwrapped(message):
    frames, at = [], 0
    while at < len(message):
        (size,) = struct.unpack_from(">I", message, at + 1)
        frames.append(message[at + 5:at + 5 + size])
        at += 5 + size
    return frames


class Connection:
    """One connection, used once: closed and made again where something goes wrong."""

    def __init__(self, context, endpoint):
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.PROBE_ROUTER, 1)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, 10000)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        if endpoint.startswith("tcp://"):
            self.socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)
            self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 10000)
        self.socket.connect(endpoint)
        self.heard = self.said = time.monotonic()

    def send(self, header, *frames):
        try:
            self.socket.send(wrapped((pack(header),) + frames), zmq.DONTWAIT)
        except zmq.Again:
            return False
        self.said = time.monotonic()
        return True

    def receive(self, wait):
        """The next message as (header, further frames); None when none came in time."""
        if not self.socket.poll(int(wait * 1000)):
            return None
        self.heard = time.monotonic()
        frames = unwrapped(self.socket.recv())
        return (unpack(frames[0]), frames[1:]) if frames else ([HEARTBEAT], [])

    def is_dead(self):
        return time.monotonic() - self.heard > SILENCE_IS_DEATH

    def close(self):
        self.socket.close()


class Stop(Exception):
    """A final refusal: code, sequence, text."""


class Producer:
    """The recipe: greet, send, keep until acknowledged, reconnect and send again."""

    def __init__(self, endpoint, producer_id, named=False, source="", sure=False):
        self.context, self.endpoint = zmq.Context.instance(), endpoint
        self.id, self.named, self.source, self.sure = producer_id, named, source, sure
        self.epoch = self.known = self.stored = self.sent = 0
        self.begun = None       # `through` of the first WELCOME
        self.is_sure = False
        self.next = 1           # the number of the next row
        self.held = []          # (first, last, header without epoch, rows frame), not acknowledged
        self.dead = {}
        self.dead_count = 0
        self.reconnects = 0
        self.refusals = []
        self.connection = None
        self.pause = 0.1
        self.answers = {}

    # ---- rows
    def append(self, table, columns, rows, kind=1):
        first, last = self.next, self.next + len(rows) - 1
        self.held.append((first, last, (kind, table, columns), pack(rows)))
        self.next = last + 1

    # ---- the conversation
    def connect(self):
        if self.connection is not None:
            self.connection.close()
            self.reconnects += 1
            time.sleep(self.pause)
        self.connection = Connection(self.context, self.endpoint)
        self.state = "connecting"
        self.unsent = 0         # index in held of the next batch to send

    def hello(self):
        header = [HELLO, 1, PRODUCER, self.id, self.named, self.epoch, self.known, self.source,
                  self.stored, self.sent if self.epoch else self.stored]
        self.connection.send(header + [True] if self.sure and not self.epoch else header)
        self.state = "greeting"

    def acknowledged(self, through):
        self.stored = max(self.stored, min(through, self.sent))
        while self.held and self.held[0][1] <= self.stored:
            self.held.pop(0)
            self.unsent = max(0, self.unsent - 1)

    def handle(self, header, frames):
        kind = header[0]
        if kind == REFUSAL:
            code, sequence, text = header[1:4]
            self.refusals.append(code)
            if code == HELLO_FIRST and self.state == "connecting":
                self.hello()
            elif code in (HELLO_FIRST, BUSY):
                self.pause = min(2.0, self.pause * 2) if code == BUSY else 0.1
                self.connect()
            elif code != NOT_NOW:
                raise Stop(code, sequence, text)
        elif kind == WELCOME:
            _, self.epoch, through, self.is_sure, _, self.credit, _ = header[2:9]
            if self.begun is None:
                self.begun = self.sent = through
                self.next = through + 1
            self.state, self.unsent = "welcomed", 0
            self.acknowledged(through)
        elif kind == STORED:
            self.pause = 0.1
            self.acknowledged(header[1])
        elif kind == APPLIED:
            self.pause = 0.1
            through, count, dead = header[1:4]
            if through > self.known:
                self.dead_count += count
                self.dead.update(dict(dead))
                self.known = max(self.known, min(through, self.sent))
            self.acknowledged(through)
        elif kind in (TABLE, DEAD, STATUS):
            self.answers[header[1]] = (header, frames)

    def send_due(self):
        if self.state == "welcomed":
            ahead = sum(len(batch[3]) for batch in self.held[:self.unsent])
            while self.unsent < len(self.held):
                first, last, (kind, table, columns), rows = self.held[self.unsent]
                if self.unsent > 0 and ahead + len(rows) > self.credit:
                    break
                header = [BATCH, self.id, self.epoch, first, last - first + 1, kind, table, columns,
                          0, self.source]
                if not self.connection.send(header, rows):
                    break
                ahead += len(rows)
                self.sent = max(self.sent, last)
                self.unsent += 1
        if self.state != "connecting" and time.monotonic() - self.connection.said > 2:
            self.connection.send([HEARTBEAT])

    def serve(self, wait=0.02):
        if self.connection is None:
            self.connect()
        self.send_due()
        message = self.connection.receive(wait)
        while message:
            self.handle(*message)
            message = self.connection.receive(0)
        if self.connection.is_dead():
            self.connect()

    def until(self, done, seconds):
        end = time.monotonic() + seconds
        while not done():
            self.serve()
            if time.monotonic() > end:
                raise TimeoutError(f"{self.id}: stored {self.stored}, applied {self.known}, "
                                   f"sent {self.sent}, refusals {self.refusals[-5:]}")

    def start(self, seconds=20):
        self.until(lambda: self.begun is not None, seconds)

    def finish(self, seconds=60):
        self.until(lambda: self.known >= self.next - 1, seconds)
        self.connection.send([BYE])
        time.sleep(0.02)
        self.connection.close()
        self.connection = None

    def ask(self, request, header, seconds=10):
        end = time.monotonic() + seconds
        while request not in self.answers and time.monotonic() < end:
            self.connection.send(header)
            asked = time.monotonic()
            while request not in self.answers and time.monotonic() - asked < 1.5:
                self.serve()
        return self.answers.pop(request)
