"""A small XMPP client: enough to see whether a server answers, and how."""

import base64
import hashlib
import hmac
import os
import socket
import ssl
from xml.etree import ElementTree

STREAMS = "{http://etherx.jabber.org/streams}"
SASL = "{urn:ietf:params:xml:ns:xmpp-sasl}"
TLS = "{urn:ietf:params:xml:ns:xmpp-tls}"
BIND = "{urn:ietf:params:xml:ns:xmpp-bind}"
CLIENT = "{jabber:client}"
SM = "{urn:xmpp:sm:3}"
WITHIN = 10
READ_BYTES = 65536
# RFC 7677 and XEP-0438: names and their hashes, the strongest first.
SCRAM = {"SCRAM-SHA-512": "sha512", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}


class Gone(Exception):
    """The server refused, or closed the stream."""


class Stream:
    """One connection, over TLS from the first byte or after STARTTLS."""

    def __init__(self, port, domain, authority, *, starttls=False, oldest=ssl.TLSVersion.TLSv1_3):
        self.domain = domain
        self.address = None
        # XEP-0198: stanzas that came since <enabled/>, and how often the server asked for them.
        self.handled = 0
        self.asked = 0
        self.features = None
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WITHIN)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = ssl.create_default_context(cafile=authority)
        context.minimum_version = oldest
        if oldest != ssl.TLSVersion.TLSv1_3:
            context.maximum_version = oldest
        try:
            if starttls:
                self.open()
                if self.features.find(f"{TLS}starttls") is None:
                    raise Gone("STARTTLS is not offered")
                self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
                self.expect(f"{TLS}proceed")
            else:
                context.set_alpn_protocols(["xmpp-client"])
            self.socket = context.wrap_socket(self.socket, server_hostname=domain)
            self.open()
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def open(self):
        """Begins a stream and waits for its features."""
        self.parser = ElementTree.XMLPullParser(["start", "end"])
        self.depth = 0
        self.send(
            f"<?xml version='1.0'?><stream:stream to='{self.domain}' version='1.0' "
            "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        self.features = self.expect(f"{STREAMS}features")

    def mechanisms(self):
        """The SASL mechanisms that are offered."""
        return [each.text for each in self.features.iter(f"{SASL}mechanism")]

    def send(self, text):
        """Writes text as it is."""
        self.socket.sendall(text.encode())

    def next(self):
        """The next element below the stream."""
        while True:
            for event, element in self.parser.read_events():
                self.depth += 1 if event == "start" else -1
                if event == "end" and self.depth == 1:
                    if element.tag == f"{STREAMS}error":
                        raise Gone(ElementTree.tostring(element, "unicode"))
                    return element
            data = self.socket.recv(READ_BYTES)
            if not data:
                raise Gone("the connection was closed")
            self.parser.feed(data)

    def expect(self, *tags):
        """The next element, which must be one of these."""
        element = self.next()
        if element.tag not in tags:
            raise Gone(f"not {tags[0]}: {ElementTree.tostring(element, 'unicode')}")
        return element

    def log_in(self, user, password, mechanism="PLAIN"):
        """Authenticates, binds, and turns XEP-0198 on."""
        if mechanism == "PLAIN":
            self.authenticate(mechanism, f"\0{user}\0{password}".encode())
            self.expect(f"{SASL}success")
        else:
            self.scram(mechanism, user, password)
        self.open()
        self.send(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
            "<resource>load</resource></bind></iq>"
        )
        answer = self.expect(f"{CLIENT}iq")
        if answer.get("type") != "result":
            raise Gone(f"bind: {ElementTree.tostring(answer, 'unicode')}")
        self.address = answer.find(f"{BIND}bind/{BIND}jid").text
        self.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        self.expect(f"{SM}enabled")

    def authenticate(self, mechanism, initial):
        text = base64.b64encode(initial).decode()
        self.send(f"<auth xmlns='{SASL[1:-1]}' mechanism='{mechanism}'>{text}</auth>")

    def scram(self, mechanism, user, password):
        """RFC 5802; the server's proof is checked."""
        digest = SCRAM[mechanism]
        # Without channel binding, and not asking for it.
        header, nonce = "n,,", base64.b64encode(os.urandom(18)).decode()
        first = f"n={user},r={nonce}"
        self.authenticate(mechanism, (header + first).encode())
        challenge = base64.b64decode(self.expect(f"{SASL}challenge").text).decode()
        fields = dict(each.split("=", 1) for each in challenge.split(","))
        if not fields["r"].startswith(nonce):
            raise Gone("SCRAM: not our nonce")
        salt, rounds = base64.b64decode(fields["s"]), int(fields["i"])
        salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, rounds)
        last = f"c={base64.b64encode(header.encode()).decode()},r={fields['r']}"
        signed = f"{first},{challenge},{last}".encode()
        key = hmac.digest(salted, b"Client Key", digest)
        signature = hmac.digest(hashlib.new(digest, key).digest(), signed, digest)
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        answer = base64.b64encode(f"{last},p={base64.b64encode(proof).decode()}".encode()).decode()
        self.send(f"<response xmlns='{SASL[1:-1]}'>{answer}</response>")
        verdict = base64.b64decode(self.expect(f"{SASL}success").text or "").decode()
        wanted = hmac.digest(hmac.digest(salted, b"Server Key", digest), signed, digest)
        if verdict != f"v={base64.b64encode(wanted).decode()}":
            raise Gone("SCRAM: the server does not know the password")
