"""Checks of one peer that runs; the argument is the file with what `peer up` printed.

Each says ok, skip or FAIL. They fail for a server that a measurement would judge wrongly: one that
holds messages back, runs on other cores, speaks another TLS, or keeps no XEP-0198 counters.
"""

import json
import socket
import ssl
import sys
import time
import traceback
from pathlib import Path

import process
from stream import CLIENT, SASL, SCRAM, SM, Gone, Stream

CHECKS = []
REQUEST = "<r xmlns='urn:xmpp:sm:3'/>"
# A flood of about a megabyte: the usual shapers let through 1 to 50 KB/s.
FLOOD = 2_000
BODY = "x" * 512
FLOOD_WITHIN = 20
# One message after the other to a client that only reads. Its system acknowledges them to TCP at
# once, or 40 ms later: a server without TCP_NODELAY waits for that. Half the time is noise enough.
ROUNDS = 30
DIFFERENCE_WITHIN = 0.015


class Skip(Exception):
    """The server does not have what the check looks at."""


def check(name):
    """Registers a check: a function of the peer."""

    def register(story):
        CHECKS.append((name, story))
        return story

    return register


class Peer:
    """What `peer up` printed, and clients of it."""

    def __init__(self, file):
        self.facts = json.loads(Path(file).read_text())
        self.relay = self.facts["name"].startswith("relay")

    def connect(self, **options):
        port = self.facts["starttls_port" if options.get("starttls") else "port"]
        return Stream(port, self.facts["domain"], self.facts["ca"], **options)

    def user(self, number):
        return self.facts["user"].replace("{n}", str(number))

    def password(self, number):
        return self.facts["password"].replace("{n}", str(number))

    def online(self, number, mechanism="PLAIN", **options):
        stream = self.connect(**options)
        stream.log_in(self.user(number), self.password(number), mechanism)
        return stream


def equal(found, wanted, what):
    """Fails and says what differs."""
    if found != wanted:
        raise AssertionError(f"{what}: {found!r}, not {wanted!r}")


def message(to, number, body="hello"):
    return f"<message to='{to}' type='chat' id='m-{number}'><body>{body}</body></message>"


def receive(stream, *, silent=False):
    """The next message; requests are answered as XEP-0198 wants them to be, unless silent."""
    while True:
        element = stream.next()
        if element.tag == f"{CLIENT}message":
            stream.handled += 1
            return element
        if element.tag == f"{SM}r":
            stream.asked += 1
            if not silent:
                stream.send(f"<a xmlns='urn:xmpp:sm:3' h='{stream.handled}'/>")
        elif element.tag in (f"{CLIENT}presence", f"{CLIENT}iq"):
            stream.handled += 1


def covered(stream):
    """What the server says it took of ours, when asked."""
    stream.send(REQUEST)
    while True:
        element = stream.next()
        if element.tag == f"{SM}a":
            return int(element.get("h"))
        if element.tag in (f"{CLIENT}presence", f"{CLIENT}message", f"{CLIENT}iq"):
            stream.handled += 1


@check("TLS 1.3 with a certificate of its authority, and nothing older")
def tls(peer):
    with peer.connect() as stream:
        equal(stream.socket.version(), "TLSv1.3", "version")
    try:
        peer.connect(oldest=ssl.TLSVersion.TLSv1_2)
    except (ssl.SSLError, ConnectionResetError):
        return
    raise AssertionError("TLS 1.2 was accepted")


@check("SASL PLAIN, bind, XEP-0198")
def plain(peer):
    with peer.online(1) as stream:
        wanted = f"{peer.user(1)}@{peer.facts['domain']}/load"
        equal(stream.address, wanted, "address")


@check("SASL SCRAM, each that is offered")
def scram(peer):
    offered = [each for each in SCRAM if each in peer.facts["sasl"]]
    if not offered:
        raise Skip("it offers none")
    for mechanism in offered:
        peer.online(2, mechanism).socket.close()


@check("STARTTLS")
def starttls(peer):
    if peer.facts["starttls_port"] is None:
        raise Skip("TLS from the first byte only")
    with peer.online(3, starttls=True) as stream:
        equal(stream.socket.version(), "TLSv1.3", "version")


@check("a wrong password is refused")
def wrong_password(peer):
    if peer.relay:
        raise Skip("it lets everybody in")
    with peer.connect() as stream:
        stream.authenticate("PLAIN", f"\0{peer.user(4)}\0{peer.password(5)}".encode())
        stream.expect(f"{SASL}failure")


@check("the last account logs in")
def last(peer):
    peer.online(peer.facts["users"]).socket.close()


@check("messages both ways to full addresses, from the sender, counted by both sides")
def both_ways(peer):
    with peer.online(5) as a, peer.online(6) as b:
        for number, (one, other) in enumerate([(a, b), (b, a)]):
            one.send(message(other.address, number))
            element = receive(other)
            equal(element.get("from"), one.address, "from")
            equal(element.get("id"), f"m-{number}", "id")
            equal(element.find(f"{CLIENT}body").text, "hello", "body")
        for stream in (a, b):
            equal(covered(stream), 1, "h")


@check("messages to bare addresses of available users")
def bare(peer):
    with peer.online(7) as a, peer.online(8) as b:
        b.send("<presence/>")
        # Its answer shows that the presence was handled.
        equal(covered(b), 1, "h of the presence")
        a.send(message(f"{peer.user(8)}@{peer.facts['domain']}", 0))
        equal(receive(b).get("from"), a.address, "from")


@check("the server asks for acknowledgements")
def asks(peer):
    with peer.online(9) as a, peer.online(10) as b:
        for number in range(2):
            a.send(message(b.address, number))
            receive(b)
        while not b.asked:
            equal(b.next().tag, f"{SM}r", "behind a message")
            b.asked += 1


@check("a megabyte at once, in order, not held back")
def flood(peer):
    with peer.online(11) as a, peer.online(12) as b:
        began = time.monotonic()
        a.send("".join(message(b.address, number, BODY) for number in range(FLOOD)))
        for number in range(FLOOD):
            equal(receive(b).get("id"), f"m-{number}", "order")
        took = time.monotonic() - began
        equal(covered(a), FLOOD, "h")
        if took > FLOOD_WITHIN:
            raise AssertionError(f"{FLOOD} messages took {took:.1f} s")


@check("messages do not wait for acknowledgements of TCP")
def rounds(peer):
    with peer.online(13) as a, peer.online(14) as b:
        took = {0: [], 1: []}
        for number in range(4 * ROUNDS):
            at_once = number // ROUNDS % 2
            # Linux leaves either mode by itself.
            b.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, at_once)
            began = time.monotonic()
            a.send(message(b.address, number) + REQUEST)
            receive(b, silent=True)
            equal(a.expect(f"{SM}a").get("h"), str(number + 1), "h")
            took[at_once].append(time.monotonic() - began)
        late, quick = (sorted(each)[ROUNDS] for each in took.values())
        if late - quick > DIFFERENCE_WITHIN:
            raise AssertionError(f"{late * 1000:.1f} ms a round, {quick * 1000:.1f} without waiting")


@check("pinned to its core, and reachable on loopback alone")
def confined(peer):
    pids = process.family(peer.facts["pid"])
    equal(process.cores(pids), [peer.facts["core"]], "cores")
    equal(process.beyond_loopback(pids), [], "listeners")
    found = {port for _, port in process.listeners(pids)}
    wanted = {peer.facts["port"], peer.facts["starttls_port"]} - {None}
    equal(found, wanted, "ports")


def main():
    peer = Peer(sys.argv[1])
    facts, failed = peer.facts, False
    print(
        f"{facts['name']}: answered after {facts['start_s']} s, ready after {facts['ready_s']} s, "
        f"RSS {facts['rss_kb'] / 1024:.1f} MB; {', '.join(' '.join(each) for each in facts['versions'].items())}"
    )
    for name, story in CHECKS:
        try:
            story(peer)
            print(f"ok    {facts['name']}: {name}", flush=True)
        except Skip as reason:
            print(f"skip  {facts['name']}: {name}: {reason}", flush=True)
        except (AssertionError, Gone, OSError, AttributeError):
            failed = True
            print(f"FAIL  {facts['name']}: {name}: {traceback.format_exc(limit=-2)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
