"""One user with one slixmpp client, and the accounts that checks may use up."""

import asyncio
import json
import os
import urllib.parse
import urllib.request
from pathlib import Path

from slixmpp import ClientXMPP
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

DOMAIN = os.environ["CLIENTS_DOMAIN"]
AUTHORITY = Path(os.environ["CLIENTS_CA"])
PORT = int(os.environ["CLIENTS_XMPP_PORT"])
PARTNER = os.environ["CLIENTS_PARTNER"]
WITHIN = 10

PLUGINS = (
    "xep_0030",  # disco
    "xep_0049",  # private storage
    "xep_0054",  # vcard
    "xep_0085",  # typing
    "xep_0092",  # version
    "xep_0184",  # receipts between users
    "xep_0191",  # block list
    "xep_0198",  # stream management
    "xep_0199",  # ping
    "xep_0203",  # delay
    "xep_0280",  # carbons
    "xep_0352",  # client state
    "xep_0359",  # stanza ids
)


class Accounts:
    """Gives each check accounts that no other check has touched."""

    def __init__(self, skip=0):
        users = json.loads(Path(os.environ["CLIENTS_USERS"]).read_text())
        # The checks in JavaScript take theirs from the front.
        self._left = list(reversed(users))[skip:]

    def next(self):
        return self._left.pop(0)


def token(visible, **claims):
    """A token of the partner; claims replace what it would say."""
    query = urllib.parse.urlencode({"sub": visible, **claims})
    with urllib.request.urlopen(f"{PARTNER}/token?{query}", timeout=WITHIN) as answer:
        return answer.read().decode()


class Person(ClientXMPP):
    """A client that keeps what comes in, so that a check can wait for it."""

    def __init__(self, user, password=None, *, resume=True, manage=True):
        self.user = user
        address = f"{user['account']}@{DOMAIN}"
        super().__init__(address, password or user["token"], sasl_mech="PLAIN")
        # The address is given and the name is not: the certificate is checked against the domain.
        self.ca_certs = AUTHORITY
        self.enable_direct_tls = True
        self.enable_starttls = False
        for plugin in PLUGINS:
            if manage or plugin != "xep_0198":
                self.register_plugin(plugin)
        if manage:
            self.plugin["xep_0198"].allow_resume = resume
        self.inbox = asyncio.Queue()
        self.information = asyncio.Queue()
        self.failures = asyncio.Queue()
        self.lost = asyncio.Event()
        # slixmpp's session starts before stream management is on.
        self.started = asyncio.Event()
        self.add_event_handler("sm_enabled" if manage else "session_start", self._start)
        self.add_event_handler("session_resumed", self._start)
        # slixmpp's own event leaves out messages without a body.
        self.register_handler(
            Callback("every message", MatchXPath("{jabber:client}message"), self._take)
        )
        self.add_event_handler("stream_error", self.failures.put_nowait)
        self.add_event_handler("failed_auth", self.failures.put_nowait)
        self.add_event_handler("disconnected", lambda _: self.lost.set())

    def _take(self, message):
        ours = message["type"] == "headline" and message["from"].bare == DOMAIN
        (self.information if ours else self.inbox).put_nowait(message)

    def _start(self, _):
        self.started.set()

    def dial(self):
        """Connects; does not wait."""
        self.lost.clear()
        self.started.clear()
        self.connect("127.0.0.1", PORT)

    async def online(self, presence=True):
        """Logs in and says that it is there."""
        self.dial()
        await asyncio.wait_for(self.started.wait(), WITHIN)
        if presence:
            self.send_presence()
        return self

    def say(self, to, body, stanza_id=None):
        """Sends a chat message without a receipt request; gives its id."""
        message = self.make_message(mto=to.boundjid.bare, mbody=body, mtype="chat")
        if stanza_id:
            message["id"] = stanza_id
        self.plugin["xep_0184"].auto_request = False
        message.send()
        return message["id"]

    async def heard(self, seconds=WITHIN):
        """The next message."""
        return await asyncio.wait_for(self.inbox.get(), seconds)

    async def failed(self):
        """The next stream error or refused login."""
        return await asyncio.wait_for(self.failures.get(), WITHIN)

    async def gone(self):
        """Waits until the connection is over."""
        await asyncio.wait_for(self.lost.wait(), WITHIN)

    async def end(self):
        """Closes the stream in order."""
        self.del_event_handler("disconnected", self._reconnect_on_loss)
        if self.transport:
            await self.disconnect(wait=2)

    def _reconnect_on_loss(self, _):
        self.dial()

    def cut(self):
        """Lets the socket go without a word and comes back at once, as after a change of network."""
        self.add_event_handler("disconnected", self._reconnect_on_loss, disposable=True)
        self.abort()
