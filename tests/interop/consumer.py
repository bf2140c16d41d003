"""A consumer on plain pyzmq and sqlite3, written from proto/PROTOCOL.md: applies rows to a file of its
own, each exactly once, since a producer's progress moves in the transaction of its rows.

    consumer.py ENDPOINT DATABASE      until SIGTERM"""
import os
import signal
import sqlite3
import sys
import time

import zmq

from wire import (ASK_PROGRESS, BUSY, BYE, CHECK_TABLE, CONSUMER, DELIVERY, HEARTBEAT, HELLO,
                  HELLO_FIRST, LEASE, MALFORMED, PROGRESS, REFUSAL, RESULTS, TABLE, VERSION, Connection,
                  unpack)

SCHEMA = """
CREATE TABLE IF NOT EXISTS progress(producer TEXT PRIMARY KEY, epoch INT, through INT, source TEXT);
CREATE TABLE IF NOT EXISTS dead(producer TEXT, sequence INT, reason TEXT);
CREATE TABLE IF NOT EXISTS rows(producer TEXT, n INT);
"""
DONE, FENCED, HOLE, OTHER_SOURCE = range(4)


class Consumer:
    def __init__(self, endpoint, path):
        self.endpoint, self.path = endpoint, os.path.realpath(path)
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" + SCHEMA)
        self.stopping = False
        self.applied = 0
        self.connect()

    def connect(self):
        self.connection = Connection(zmq.Context.instance(), self.endpoint)
        self.lease, self.waiting, self.said_hello = None, [], False

    def progress(self, producer):
        found = self.db.execute("SELECT epoch, through, source FROM progress WHERE producer=?",
                                (producer,)).fetchone()
        return found or (0, 0, "")

    def dead_between(self, producer, first, last):
        return self.db.execute("SELECT sequence, reason FROM dead WHERE producer=? AND sequence "
                               "BETWEEN ? AND ? ORDER BY sequence", (producer, first, last)).fetchall()

    def apply(self, header, rows_frame):
        _, producer, epoch, first, count, kind, table, columns, _, source = header[:10]
        last = first + count - 1
        newest, through, known_source = self.progress(producer)
        if epoch < newest:
            return [FENCED, through, 0, []]
        if source and known_source and source != known_source:
            return [OTHER_SOURCE, through, 0, []]
        if first > through + 1:
            return [HOLE, through, 0, []]
        for sequence, row in enumerate(unpack(rows_frame), first):
            if sequence <= through:
                continue    # it was applied, and keeps its outcome
            try:
                self.db.execute(f"INSERT INTO {table}({','.join(columns)}) "
                                f"VALUES({','.join('?' * len(columns))})", row)
                self.applied += 1
            except sqlite3.Error as error:
                self.db.execute("INSERT INTO dead VALUES(?,?,?)", (producer, sequence, str(error)))
        through = max(through, last)
        self.db.execute("INSERT INTO progress VALUES(?,?,?,?) ON CONFLICT(producer) DO UPDATE SET "
                        "epoch=excluded.epoch, through=excluded.through, source=excluded.source",
                        (producer, epoch, through, source))
        dead = self.dead_between(producer, first, last)
        return [DONE, through, len(dead), dead[:100]]

    def apply_waiting(self):
        if not self.waiting:
            return
        self.db.execute("BEGIN IMMEDIATE")
        results = [[ticket] + self.apply(header, rows) for ticket, header, rows in self.waiting]
        self.db.execute("COMMIT")           # synced: only now does anybody hear of it
        self.waiting = []
        dead = self.db.execute("SELECT count(*) FROM dead").fetchone()[0]
        self.connection.send([RESULTS, self.lease, self.applied, dead, self.path, results])

    def handle(self, header, frames):
        kind = header[0]
        if kind == REFUSAL:
            if header[1] == HELLO_FIRST and not self.said_hello:
                self.said_hello = self.connection.send([HELLO, 1, CONSUMER, self.path, False, 0, 0, ""])
            elif header[1] in (HELLO_FIRST, BUSY):
                self.reconnect()
            elif header[1] in (MALFORMED, VERSION):
                sys.exit(f"refused: {header[3]}")
        elif kind == LEASE:
            self.waiting = []
            self.lease = header[2] if header[1] else None
        elif kind == DELIVERY:
            self.waiting.append((header[1], unpack(frames[0]), frames[1]))
        elif kind == ASK_PROGRESS:
            request, producer, since = header[1:4]
            epoch, through, source = self.progress(producer)
            dead = self.dead_between(producer, since + 1, through)
            self.connection.send([PROGRESS, request, epoch > 0, epoch, through, source, len(dead),
                                  dead[:100]])
        elif kind == CHECK_TABLE:
            there = self.db.execute("SELECT 1 FROM sqlite_schema WHERE type='table' AND name=?",
                                    (header[2],)).fetchone()
            self.connection.send([TABLE, header[1], 0 if there else 2, ""])

    def reconnect(self):
        self.connection.close()
        time.sleep(0.05)
        self.connect()

    def run(self):
        while not self.stopping:
            message = self.connection.receive(0.05)
            while message and len(self.waiting) < 500:
                self.handle(*message)
                message = self.connection.receive(0)
            if message:
                self.handle(*message)
            self.apply_waiting()
            if self.said_hello and time.monotonic() - self.connection.said > 0.5:
                self.connection.send([HEARTBEAT])
            if self.connection.is_dead():
                self.reconnect()
        self.connection.send([BYE])
        time.sleep(0.05)


if __name__ == "__main__":
    consumer = Consumer(sys.argv[1], sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: setattr(consumer, "stopping", True))
    consumer.run()
