"""What clients see when the gateway's process dies: it is killed while slixmpp users write."""

import asyncio
import os
import signal
from pathlib import Path

from person import DOMAIN, WITHIN, Accounts
from stage import acknowledged, check, equal, main

# The checks with slixmpp use up fewer accounts than these.
SKIP = 70
KILLS = 3
PER_KILL = 40


def process():
    """The gateway's process id now."""
    return int(Path(os.environ["CLIENTS_GATEWAY"]).read_text())


def kill_gateway():
    """Ends it without a word; `run` starts it again."""
    os.kill(process(), signal.SIGKILL)


class Sender:
    """Sends numbered messages and sends again, with the same id, what was never acknowledged.

    slixmpp does so by itself when a session is resumed. When it is not, slixmpp forgets what it
    had sent, and the application must do it.
    """

    def __init__(self, person, to):
        self.person, self.to = person, to
        self.number = 0
        self.open = {}
        person.add_event_handler("stanza_acked", self._taken)
        person.add_event_handler("sm_failed", self._forgotten)
        person.add_event_handler("sm_enabled", self._again)
        self.forgotten = False

    def say(self, count):
        for _ in range(count):
            self.number += 1
            stanza_id = f"n-{self.number}"
            self.open[stanza_id] = str(self.number)
            self.person.say(self.to, str(self.number), stanza_id)

    def _taken(self, stanza):
        self.open.pop(stanza["id"], None)

    def _forgotten(self, _):
        self.forgotten = True

    def _again(self, _):
        if self.forgotten:
            self.forgotten = False
            self.person.send_presence()
            for stanza_id, body in list(self.open.items()):
                self.person.say(self.to, body, stanza_id)

    async def all_taken(self):
        await self.person.waiting_queue.join()
        while self.open:
            self.person.plugin["xep_0198"].request_ack()
            await self.person.wait_until("stanza_acked", WITHIN)


async def stays(person):
    """From now on the client comes back whenever its connection is lost."""
    person.add_event_handler("disconnected", person._reconnect_on_loss)


@check("what was acknowledged arrives once and in order although the gateway is killed")
async def killed(stage):
    alice, bob = await stage.online(2)
    await acknowledged(alice, bob)
    for person in (alice, bob):
        await stays(person)
    senders = [Sender(alice, bob), Sender(bob, alice)]
    for _ in range(KILLS):
        for sender in senders:
            sender.say(PER_KILL // 2)
        # In the middle of things: some are acknowledged, some are not.
        await alice.wait_until("stanza_acked", WITHIN)
        before = process()
        for person in (alice, bob):
            person.started.clear()
        kill_gateway()
        for sender in senders:
            sender.say(PER_KILL // 2)
        for person in (alice, bob):
            await asyncio.wait_for(person.started.wait(), 3 * WITHIN)
        assert process() != before, "the gateway was not started again"
    for sender in senders:
        await sender.all_taken()
    for reader in (alice, bob):
        seen = []
        while len(seen) < KILLS * PER_KILL:
            body = int((await reader.heard())["body"])
            if body not in seen:
                seen.append(body)
        equal(seen, sorted(seen), "order")
        equal(len(seen), KILLS * PER_KILL, "messages")


@check("messages that wait survive a kill")
async def waiting(stage):
    alice, bob = await stage.online(), stage.person()
    ids = [alice.say(bob, str(number)) for number in range(50)]
    await acknowledged(alice)
    await stays(alice)
    alice.started.clear()
    kill_gateway()
    await asyncio.wait_for(alice.started.wait(), 3 * WITHIN)
    await bob.online()
    for wanted in ids:
        equal((await bob.heard())["id"], wanted, "id")
    await bob.plugin["xep_0199"].ping(DOMAIN, timeout=WITHIN)
    equal(bob.inbox.qsize(), 0, "more messages")


main("kill", Accounts(SKIP))
