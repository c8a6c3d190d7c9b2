"""Counters of a small cluster: what its processes, brokers, Redis and sockets have used so far.

A `Watch` takes a sample of all of them twice a second, in a thread, each with the wall clock's time;
`between` says what was used from one moment to another, by straight lines between samples. Counters
of sockets that were closed are kept as they were seen last.

    ops/capacity/watch.py --self-test
"""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "loadtest" / "peers"))

import process  # noqa: E402

PERIOD = 0.5
TOPICS = ("input", "state", "wake", "wake-state")
SENT = re.compile(r"bytes_sent:(\d+)")
TAKEN = re.compile(r"bytes_received:(\d+)")


class Watch:
    """Samples until it is ended."""

    def __init__(self, place, more_pids=()):
        self.place = place
        self.more_pids = list(more_pids)
        self.samples = []
        self.sockets = {}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            began = time.monotonic()
            self.samples.append(self.sample())
            if self.ended.wait(max(0.0, PERIOD - (time.monotonic() - began))):
                self.samples.append(self.sample())
                return

    def end(self):
        """Takes the last sample."""
        self.ended.set()
        self.thread.join()

    def sample(self):
        """All counters now, by name."""
        found = {"at": time.time()}
        known = 0.0
        for role, pid in self.place.pids.items():
            seconds = cpu(pid)
            found[f"cpu.{role}"] = seconds
            known += seconds
            found[f"rss.{role}"] = resident(pid)
        found |= machine(known + sum(cpu(pid) for pid in [os.getpid(), *self.more_pids]) + children())
        found |= self.place.topics()
        found["redis.commands"] = self.place.redis_commands()
        found |= self.bytes()
        return found

    def bytes(self):
        """Bytes over each door so far, as its server counts them."""
        listed = subprocess.run(["ss", "-tinHO"], capture_output=True, text=True, check=True).stdout
        for line in listed.splitlines():
            fields = line.split()
            if len(fields) < 5 or fields[0] != "ESTAB":
                continue
            door = self.place.doors.get(fields[3].rpartition(":")[2])
            if door:
                count = [int(found[1]) if (found := each.search(line)) else 0 for each in (SENT, TAKEN)]
                self.sockets[(door, fields[3], fields[4])] = count
        found = {}
        for (door, _, _), (sent, taken) in self.sockets.items():
            found[f"sent.{door}"] = found.get(f"sent.{door}", 0) + sent
            found[f"taken.{door}"] = found.get(f"taken.{door}", 0) + taken
        return found

    def at(self, when):
        """All counters at a moment."""
        return at(self.samples, when)

    def between(self, begin, until):
        """What was used from one moment to another; of memory the values at both ends."""
        first, last = self.at(begin), self.at(until)
        used = {name: last[name] - first.get(name, 0) for name in last if not name.startswith("rss.")}
        return used | {
            f"{name}.{end}": values[name]
            for end, values in (("begin", first), ("end", last))
            for name in values
            if name.startswith("rss.")
        }


def at(samples, when):
    """The counters at a moment, by the straight line between the samples around it."""
    if not samples:
        raise ValueError("no samples")
    if not samples[0]["at"] <= when <= samples[-1]["at"]:
        raise ValueError(f"{when} is not between {samples[0]['at']} and {samples[-1]['at']}")
    for before, after in zip(samples, samples[1:], strict=False):
        if when <= after["at"]:
            break
    else:
        return dict(samples[0])
    part = (when - before["at"]) / (after["at"] - before["at"]) if after["at"] > before["at"] else 0
    return {name: before.get(name, 0) + part * (after[name] - before.get(name, 0)) for name in after}


def cpu(pid):
    """CPU seconds of a process so far; 0 if it ended."""
    fields = process.stat(pid)
    return 0.0 if fields is None else (int(fields[11]) + int(fields[12])) * process.TICK


def children():
    """CPU seconds of what this process started and has waited for."""
    times = os.times()
    return times.children_user + times.children_system


def resident(pid):
    """Resident bytes of a process; 0 if it ended."""
    fields = process.stat(pid)
    return 0 if fields is None else int(fields[21]) * os.sysconf("SC_PAGE_SIZE")


def machine(known):
    """CPU seconds of the machine: stolen, and used by nobody that we know."""
    line = Path("/proc/stat").read_text().splitlines()[0].split()
    user, nice, system, _, _, irq, softirq, steal = (int(each) * process.TICK for each in line[1:9])
    return {"steal": steal, "foreign": user + nice + system + irq + softirq - known}


class Place:
    """Where the cluster of ops/capacity/measure is."""

    NODES = {"c1": "connection", "r1": "router", "p1": "push", "i1": "identity"}

    def __init__(self, root, kafka_home, port, kafka_port):
        self.root = root
        status = subprocess.run([root / "ops/cluster", "status"], capture_output=True, text=True, check=True)
        self.pids = {}
        for line in status.stdout.splitlines():
            role, name, pid = line.split()[:3]
            if not pid.isdigit():
                raise RuntimeError(f"{role} {name} is not running")
            self.pids[{"broker": "broker", "redis": "redis"}.get(role, role)] = int(pid)
        self.data = Path(kafka_home) / "run/node1/data"
        at = list(self.NODES.values()).index
        # Ports as ops/cluster gives them.
        self.xmpp = port + 20 + at("connection")
        self.enlist = port + 20 + at("identity")
        self.redis = port + 39
        self.partner = port + 100
        self.doors = {
            str(self.xmpp): "clients",
            str(port + at("router")): "router",
            str(port + at("identity")): "identity",
            str(port + at("push")): "push",
            str(kafka_port): "broker",
        }

    def topics(self):
        """Bytes of each topic's segments on the broker's disk."""
        found = {f"topic.{name}": 0 for name in TOPICS}
        for segment in self.data.glob("cluster.*-*/*.log"):
            name = segment.parent.name.removeprefix("cluster.").rpartition("-")[0]
            if name in TOPICS:
                try:
                    found[f"topic.{name}"] += segment.stat().st_size
                except FileNotFoundError:
                    continue
        return found

    def redis_commands(self):
        """Commands that Redis took so far, without those that ask for this."""
        with socket.create_connection(("127.0.0.1", self.redis), timeout=5) as door:
            door.sendall(b"INFO commandstats\r\n")
            with door.makefile("rb") as answer:
                text = answer.read(int(answer.readline()[1:])).decode()
        calls = 0
        for name, count in re.findall(r"cmdstat_([^:]+):calls=(\d+)", text):
            if name.partition("|")[0] not in ("info", "ping", "hello", "client"):
                calls += int(count)
        return calls

    def reload(self):
        """Has identity and push read the file of partners."""
        subprocess.run([self.root / "ops/cluster", "reload"], check=True)


def self_test():
    """Numbers that were worked out by hand."""
    samples = [{"at": 10.0, "a": 0}, {"at": 20.0, "a": 100, "late": 50}, {"at": 40.0, "a": 100, "late": 60}]
    assert at(samples, 15.0)["a"] == 50 and at(samples, 15.0)["late"] == 25
    assert at(samples, 10.0)["a"] == 0 and at(samples, 40.0)["late"] == 60
    assert at(samples, 30.0)["late"] == 55
    for beyond in (9.9, 40.1):
        try:
            at(samples, beyond)
        except ValueError:
            continue
        raise AssertionError(f"{beyond} was answered")


if __name__ == "__main__":
    if sys.argv[1:] != ["--self-test"]:
        sys.exit(__doc__)
    self_test()
