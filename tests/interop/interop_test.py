#!/usr/bin/python3
"""A producer and a consumer in Python, written from proto/PROTOCOL.md alone, against the program.

    interop_test.py TURNSTILE [TEST...]

Debian's python3-zmq and python3-msgpack are all that it needs. TURNSTILE_SEED plays a run again."""
import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import zmq  # noqa: E402

import wire  # noqa: E402
from wire import Producer, Stop  # noqa: E402

PROGRAM = os.path.abspath(sys.argv[1])
SEED = int(os.environ.get("TURNSTILE_SEED", random.SystemRandom().randrange(1 << 32)))
RANDOM = random.Random(SEED)
SECONDS = 20


def random_id():
    return "%032x" % RANDOM.getrandbits(128)


def until(what, seconds=SECONDS):
    end = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > end:
            raise TimeoutError("it did not come so far")
        time.sleep(0.01)
    return found


class Process:
    def __init__(self, folder, name, command):
        self.log = os.path.join(folder, name + ".log")
        with open(self.log, "ab") as log:
            self.begun = log.tell()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            cwd=folder)

    def text(self):
        with open(self.log, errors="replace") as log:
            log.seek(self.begun)
            return log.read()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        return self.process.wait(SECONDS)


class System:
    """A folder with a broker and, in one process with it or in its own, a consumer."""

    def __init__(self, transport="ipc"):
        self.folder = tempfile.mkdtemp(prefix="turnstile-interop-")
        self.db = os.path.join(self.folder, "shared.db")
        self.endpoint = f"ipc://{self.folder}/b.sock"
        if transport == "tcp":
            # The system chooses the port and gives it to nobody else while this socket has it.
            self.port = socket.socket()
            self.port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.port.bind(("127.0.0.1", 0))
            self.endpoint = "tcp://127.0.0.1:%d" % self.port.getsockname()[1]
        self.running = {}

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is not None:
            for process in self.running.values():
                print(process.text()[-2000:])
        for process in self.running.values():
            process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, role, *more):
        command = [PROGRAM, role, "--broker", self.endpoint]
        if role in ("serve", "broker"):
            command += ["--journal-file", "journal.db"]
        if role in ("serve", "consumer"):
            command += ["--db", "shared.db"]
        process = self.running[role] = Process(self.folder, role, command + list(more))
        if role in ("serve", "broker"):
            until(lambda: self.listens(process))
        return process

    @staticmethod
    def listens(process):
        if process.process.poll() is not None:
            raise RuntimeError(process.text())
        return "listens on" in process.text()

    def kill(self, role):
        self.running.pop(role).kill()

    def stop(self, role):
        return self.running.pop(role).stop()

    def run(self, *arguments):
        done = subprocess.run([PROGRAM, *arguments, "--broker", self.endpoint], capture_output=True,
                              text=True, cwd=self.folder, timeout=SECONDS)
        return done.returncode, done.stdout + done.stderr

    def query(self, sql, path=None):
        with sqlite3.connect(path or self.db, timeout=SECONDS) as db:
            return db.execute(sql).fetchall()

    def execute(self, sql):
        with sqlite3.connect(self.db, timeout=SECONDS) as db:
            db.executescript(sql)


def raw(system, role=wire.PRODUCER, producer=None, named=False, epoch=0, known=0, stored=0, more=()):
    """A connection that said HELLO, and the answer."""
    connection = wire.Connection(zmq.Context.instance(), system.endpoint)
    assert expect(connection, wire.REFUSAL)[1] == wire.HELLO_FIRST
    connection.send([wire.HELLO, 1, role, producer or random_id(), named, epoch, known, "", stored, *more])
    return connection, expect(connection, wire.WELCOME, wire.REFUSAL, wire.LEASE)


def expect(connection, *kinds, seconds=SECONDS):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        message = connection.receive(0.1)
        if message and message[0][0] in kinds:
            return message[0] + message[1]
    raise TimeoutError(f"none of {kinds} came")


def batch(producer, first, rows, table="t", columns=("a",), source="", epoch=1, kind=1):
    return [wire.BATCH, producer, epoch, first, len(rows), kind, table, list(columns), 0,
            source], wire.pack(rows)


# ---- exactly once

def send_through_kills(system, kill_and_restart, rows=1500, kills=5):
    """An unnamed producer that lives on, and a name whose processes die too."""
    lasting = Producer(system.endpoint, random_id())
    name, source = "name-%d" % RANDOM.randrange(1000), "source"
    mortal = Producer(system.endpoint, name, named=True, source=source)
    producers = {"lasting": lasting, "mortal": mortal}
    next_kill = time.monotonic() + RANDOM.uniform(0.05, 0.3)
    per_kill = rows // (kills + 1)      # so that each kill finds rows on their way
    while kills > 0 or any(p.known < rows for p in producers.values()):
        for key, producer in list(producers.items()):
            allowed = rows - kills * per_kill
            if producer.begun is not None and producer.next <= allowed and len(producer.held) < 40:
                size = min(RANDOM.randint(1, 30), allowed + 1 - producer.next)
                producer.append("rows", ["producer", "n"],
                                [[key, producer.next + i] for i in range(size)])
            producer.serve(0.002)
        if kills > 0 and time.monotonic() >= next_kill:
            kills -= 1
            next_kill = time.monotonic() + RANDOM.uniform(0.1, 0.5)
            kill_and_restart()
            if RANDOM.random() < 0.5:
                mortal = producers["mortal"]
                if mortal.connection:
                    mortal.connection.close()
                producers["mortal"] = Producer(system.endpoint, name, named=True, source=source)
        assert time.monotonic() - BEGUN < 240, [vars(p) for p in producers.values()]
    for producer in producers.values():
        assert not producer.dead_count, producer.dead
        producer.finish()


def expect_exactly_once(found, rows=1500):
    assert found == [("lasting", rows, rows), ("mortal", rows, rows)], found


COUNTS = "SELECT producer, count(*), count(DISTINCT n) FROM rows GROUP BY producer ORDER BY producer"


def each_row_arrives_once_through_kills_of_serve(transport):
    with System(transport) as system:
        system.execute("CREATE TABLE rows(producer, n)")
        system.start("serve")

        def kill_and_restart():
            system.kill("serve")
            system.start("serve")
        send_through_kills(system, kill_and_restart)
        assert system.stop("serve") == 0
        expect_exactly_once(system.query(COUNTS))
        code, text = system_check(system)
        assert code == 0, text


def system_check(system):
    done = subprocess.run([PROGRAM, "check", "--db", "shared.db", "--journal-file", "journal.db"],
                          capture_output=True, text=True, cwd=system.folder, timeout=SECONDS)
    return done.returncode, done.stdout + done.stderr


def test_each_row_arrives_once_through_kills_of_serve_over_ipc():
    each_row_arrives_once_through_kills_of_serve("ipc")


def test_each_row_arrives_once_through_kills_of_serve_over_tcp():
    each_row_arrives_once_through_kills_of_serve("tcp")


def foreign_consumer_applies_once(transport):
    with System(transport) as system:
        own = os.path.join(system.folder, "own.db")

        def consume():
            system.running["foreign"] = Process(
                system.folder, "foreign",
                ["/usr/bin/python3", os.path.join(HERE, "consumer.py"), system.endpoint, own])
        system.start("broker")
        consume()

        def kill_and_restart():
            victim = RANDOM.choice(["broker", "foreign", "both"])
            if victim in ("foreign", "both"):
                system.kill("foreign")
            if victim in ("broker", "both"):
                system.kill("broker")
                system.start("broker")
            if victim in ("foreign", "both"):
                consume()
        send_through_kills(system, kill_and_restart, rows=800, kills=4)
        system.stop("foreign")
        expect_exactly_once(system.query(COUNTS, own), rows=800)
        assert system.query("SELECT count(*) FROM dead", own) == [(0,)]


def test_a_foreign_consumer_applies_each_row_once_through_kills_over_ipc():
    foreign_consumer_applies_once("ipc")


def test_a_foreign_consumer_applies_each_row_once_through_kills_over_tcp():
    foreign_consumer_applies_once("tcp")


# ---- what the page says, one by one

def test_a_name_that_waits_to_be_sure_loses_no_new_row_after_a_restart_without_consumer():
    with System() as system:
        system.execute("CREATE TABLE rows(producer, n)")
        system.start("serve")
        first = Producer(system.endpoint, "sensor", named=True, sure=True)
        first.start()
        first.append("rows", ["producer", "n"], [["sensor", n] for n in range(1, 6)])
        first.finish()
        system.stop("serve")
        system.start("broker")
        second = Producer(system.endpoint, "sensor", named=True, sure=True)
        second.until(lambda: wire.NOT_NOW in second.refusals, SECONDS)
        assert second.begun is None
        system.start("consumer")
        second.start()
        assert second.begun == 5 and second.is_sure
        second.append("rows", ["producer", "n"], [["sensor", n] for n in range(6, 11)])
        second.finish()
        assert system.query("SELECT n FROM rows ORDER BY n") == [(n,) for n in range(1, 11)]


def test_a_skipped_number_is_a_hole_and_final():
    with System() as system:
        system.start("broker")
        one = random_id()
        connection, welcome = raw(system, producer=one)
        assert welcome[0] == wire.WELCOME
        connection.send(*batch(one, 1, [["x"]]))
        connection.send(*batch(one, 3, [["x"]]))
        refusal = expect(connection, wire.REFUSAL)
        assert refusal[1:3] == [wire.HOLE, 3], refusal
        connection.send(*batch(one, 2, [["x"]]))
        assert expect(connection, wire.REFUSAL)[1] == wire.HELLO_FIRST
        connection.close()
        two = random_id()
        connection, _ = raw(system, producer=two)
        connection.send(*batch(two, 5, [["x"]]))
        refusal = expect(connection, wire.REFUSAL)
        assert refusal[1:3] == [wire.BUSY, 1], refusal
        connection.send(*batch(two, 5, [["x"]]))
        assert expect(connection, wire.REFUSAL)[1] == wire.HOLE
        connection.close()


def await_consumer(system, table):
    """One row is applied, so a consumer is there: it named the target, and can be asked."""
    first = Producer(system.endpoint, random_id())
    first.start()
    first.append(table, ["a"], [[1]])
    first.finish()


def test_what_nobody_can_have_given_is_malformed():
    with System() as system:
        system.execute("CREATE TABLE t(a); CREATE TABLE u(a)")
        system.start("serve")
        await_consumer(system, "u")
        for what in (dict(producer="myapp"), dict(producer="0123456789abcdef" * 2, epoch=2),
                     dict(known=3), dict(stored=3), dict(epoch=1, known=7, more=[3]),
                     dict(epoch=1, known=7, stored=7, more=[7]),
                     dict(producer="cron", named=True, epoch=1 << 62),
                     dict(producer="cron", named=True, known=4)):
            connection, answer = raw(system, **what)
            assert answer[:2] == [wire.REFUSAL, wire.MALFORMED], (what, answer)
            connection.close()
        producer = random_id()
        connection, _ = raw(system, producer=producer)
        connection.send(*batch(producer, 1, [["x"]], source="another"))
        assert expect(connection, wire.REFUSAL)[1] == wire.MALFORMED
        connection.close()
        # The claim of one process is nothing that another hears.
        liar, _ = raw(system, producer="cron", named=True)
        liar.close()
        true = Producer(system.endpoint, "cron", named=True)
        true.start()
        true.append("t", ["a"], [[1], [2]])
        true.finish()
        assert true.begun == 0 and system.query("SELECT count(*) FROM t") == [(2,)]


def test_a_message_that_is_too_large_is_answered_before_the_connection_is_closed():
    for transport in ("ipc", "tcp"):
        with System(transport) as system:
            system.start("broker")
            producer = random_id()
            connection, _ = raw(system, producer=producer)
            header = batch(producer, 1, [["x"]])[0]
            connection.send(header, b"\0" * 8_000_000)
            refusal = expect(connection, wire.REFUSAL)
            assert refusal[1] == wire.MALFORMED and "above the limit" in refusal[3], refusal
            connection.close()


def test_tens_of_thousands_of_batches_before_hello_do_not_close_the_connection():
    with System() as system:
        system.start("broker")
        dealer = zmq.Context.instance().socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.SNDHWM, 0)
        dealer.setsockopt(zmq.RCVHWM, 0)
        monitor = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        dealer.connect(system.endpoint)
        producer = random_id()
        header, rows = batch(producer, 1, [["x"]])
        for _ in range(30_000):
            dealer.send(wire.wrapped((wire.pack(header), rows)))
        dealer.send(wire.wrapped([wire.pack([wire.HELLO, 1, 1, producer, False, 0, 0, "", 0])]))
        kinds = []
        while wire.WELCOME not in kinds:
            assert dealer.poll(SECONDS * 1000)
            kinds.append(wire.unpack(wire.unwrapped(dealer.recv())[0])[0])
        assert not monitor.poll(0), "the connection was closed"
        assert len(kinds) < 1000, len(kinds)
        dealer.disable_monitor()
        dealer.close()


def test_all_dead_letters_can_be_asked_for():
    with System() as system:
        system.execute("CREATE TABLE u(a INT CHECK (a > 0))")
        system.start("serve")
        producer = Producer(system.endpoint, random_id())
        producer.start()
        producer.append("u", ["a"], [[n % 2] for n in range(700)])
        producer.until(lambda: producer.known == 700, SECONDS)
        assert producer.dead_count == 350 and len(producer.dead) == 100
        found, since = {}, 0
        for request in range(1, 10):
            header, _ = producer.ask(request, [wire.ASK_DEAD, request, since])
            if not header[2]:
                break
            found.update(dict(header[2]))
            since = max(found)
        assert sorted(found) == list(range(1, 700, 2)), len(found)
        assert all("CHECK" in reason for reason in found.values())
        producer.finish()


def test_small_things_are_as_the_page_says():
    with System() as system:
        system.execute("CREATE TABLE t(a REAL); CREATE VIEW v AS SELECT 1")
        system.start("serve")
        producer = Producer(system.endpoint, random_id())
        producer.start()
        # NaN is refused: it would become NULL.
        producer.append("t", ["a"], [[float("nan")], [1.5]])
        producer.until(lambda: producer.known == 2, SECONDS)
        assert list(producer.dead) == [1] and "NaN" in producer.dead[1], producer.dead
        assert system.query("SELECT a FROM t") == [(1.5,)]
        # CHECK_TABLE without columns: is the table there?
        for request, (table, state) in enumerate([("t", 0), ("no", 2), ("v", 4)], 1):
            header, _ = producer.ask(request, [wire.CHECK_TABLE, request, table, []])
            assert header[2] == state, header
        # An empty message counts as a heartbeat; one who answers heartbeats is harmless.
        producer.connection.socket.send(b"")
        count, end = 0, time.monotonic() + 0.55
        while time.monotonic() < end:
            message = producer.connection.receive(0.05)
            if message and message[0][0] == wire.HEARTBEAT:
                count += 1
                producer.connection.send([wire.HEARTBEAT])
                producer.connection.send([wire.HEARTBEAT])
        assert 1 <= count <= 7, count
        producer.finish()


def test_rows_go_to_no_other_target_unless_it_is_asked_for():
    with System() as system:
        system.execute("CREATE TABLE t(a)")
        system.start("serve")
        await_consumer(system, "t")
        connection, answer = raw(system, role=wire.CONSUMER, producer="/srv/data/shared.db")
        assert answer[:2] == [wire.REFUSAL, wire.MALFORMED] and "for the target" in answer[3], answer
        connection.close()
        system.stop("serve")
        system.start("broker")
        code, text = system.run("consumer", "--db", "other.db")
        assert code == 1 and "--new-target" in text and system.folder in text, (code, text)
        other = Process(system.folder, "other", [PROGRAM, "consumer", "--broker", system.endpoint,
                                                 "--db", "other.db", "--new-target"])
        system.running["other"] = other
        producer = Producer(system.endpoint, random_id())
        producer.start()
        producer.append("made", ["a"], [["INTEGER"]], kind=2)
        producer.append("made", ["a"], [[7]])
        producer.finish()
        assert system.query("SELECT a FROM made", os.path.join(system.folder, "other.db")) == [(7,)]
        system.stop("other")
        code, text = system.run("consumer", "--db", "shared.db")
        assert code == 1 and "other.db" in text, (code, text)


def test_status_hides_the_ids_that_are_secrets():
    with System() as system:
        system.start("broker")
        hidden = Producer(system.endpoint, random_id())
        hidden.start()
        named = Producer(system.endpoint, "cron", named=True)
        named.start()
        code, text = system.run("status", "--json")
        assert code in (0, 1), text
        shown = {p["producer"] for p in json.loads(text[text.index("{"):])["producers"]}
        assert shown == {"cron", hidden.id[:8] + "0" * 24}, shown
        hidden.connection.close()
        named.connection.close()


def as_another_user(what):
    """What `what` gives in a process of another user."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            zmq.Context._instance = None
            result = what()
        except BaseException:
            result = traceback.format_exc()
        os.write(write, json.dumps(result).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        result = json.loads(pipe.read())
    os.waitpid(child, 0)
    return result


def test_another_user_may_send_rows_and_nothing_else():
    if os.geteuid() != 0:
        print("    needs root: passed over")
        return
    with System() as system:
        system.execute("CREATE TABLE u(a UNIQUE)")
        system.start("serve")
        os.chmod(system.folder, 0o711)
        os.chmod(system.endpoint[len("ipc://"):], 0o777)
        owner = Producer(system.endpoint, "cron", named=True)
        owner.start()
        owner.append("u", ["a"], [[1], [1]])
        owner.finish()
        letter = system.query("SELECT id FROM turnstile_dead_letters")[0][0]

        def intrude():
            out = {}
            for key, what in (("consumer", dict(role=wire.CONSUMER, producer="/tmp/x.db")),
                              ("name", dict(producer="cron", named=True))):
                connection, answer = raw(system, **what)
                out[key] = answer
                connection.close()
            tool, _ = raw(system, role=wire.TOOL, producer="me")
            tool.send([wire.ASK_STATUS, 1])
            out["status"] = wire.unpack(expect(tool, wire.STATUS)[-1])
            tool.close()
            mine = Producer(system.endpoint, random_id())
            mine.start()
            mine.append("u", ["a"], [[2], [2]])
            mine.until(lambda: mine.known == 2, SECONDS)
            mine.append("turnstile_dead_letters", ["id"], [[letter], [letter + 1]], kind=4)
            mine.until(lambda: mine.known == 4, SECONDS)
            out["dead"] = mine.dead
            return out
        out = as_another_user(intrude)
        assert isinstance(out, dict), out
        assert out["consumer"][1] == wire.MALFORMED and "root" in out["consumer"][3], out["consumer"]
        assert out["name"][1] == wire.MALFORMED and "belongs to" in out["name"][3], out["name"]
        status = out["status"]
        assert status["producers"] == [] and status["consumer"]["target"] == "", status
        assert status["journal"]["path"] == "" and status["consumer"]["attached"], status
        assert sorted(out["dead"]) == ["2", "3"], out["dead"]
        assert [row[0] for row in system.query("SELECT producer FROM turnstile_dead_letters WHERE id=%d"
                                               % letter)] == ["cron"]


BEGUN = time.monotonic()


def main():
    print(f"TURNSTILE_SEED={SEED}", flush=True)
    failed = 0
    for name, test in sorted(globals().items()):
        if not name.startswith("test_") or (sys.argv[2:] and name not in sys.argv[2:]):
            continue
        begun = time.monotonic()
        try:
            test()
            print(f"ok   {time.monotonic() - begun:5.1f} s  {name}", flush=True)
        except (Exception, Stop):
            failed += 1
            traceback.print_exc()
            print(f"FAIL {time.monotonic() - begun:5.1f} s  {name}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
