"""Named checks, what each of them needs, and how they are run."""

import asyncio
import contextlib
import logging
import os
import sys
import traceback

from person import Accounts, Person
from slixmpp.exceptions import IqError

LONGEST = 60
ENTENTE = "urn:entente:0"
# A client that waits for an answer that does not come waits half a minute; at once is far less.
AT_ONCE = 3
CHECKS = []


def check(name):
    """Registers a check: an async function of its stage."""

    def register(story):
        CHECKS.append((name, story))
        return story

    return register


class Stage(contextlib.AsyncExitStack):
    """What one check needs; ends its clients."""

    def __init__(self, accounts):
        super().__init__()
        self.accounts = accounts

    def person(self, user=None, password=None, **options):
        """A client that is not connected, of a user whom no other check has touched."""
        person = Person(user or self.accounts.next(), password, **options)
        self.push_async_callback(person.end)
        return person

    async def online(self, count=1, **options):
        """One client that is logged in, or several."""
        people = [self.person(**options) for _ in range(count)]
        await asyncio.gather(*(person.online() for person in people))
        return people if count > 1 else people[0]


def equal(found, wanted, what):
    """Fails and says what differs."""
    if found != wanted:
        raise AssertionError(f"{what}: {found!r}, not {wanted!r}")


async def refused(request):
    """The condition of the error with which a request is answered."""
    try:
        answer = await request
    except IqError as error:
        return error.iq["error"]["condition"]
    raise AssertionError(f"not refused: {answer}")


async def acknowledged(*people):
    """Waits until the gateway has taken responsibility for everything that was sent."""
    for person in people:
        manager = person.plugin["xep_0198"]
        # slixmpp writes the request at once, past stanzas that still stand in its own queue.
        await person.waiting_queue.join()
        manager.request_ack()
        while manager.unacked_queue:
            await person.wait_until("stanza_acked", LONGEST)


async def run(who, accounts, only):
    """Runs the checks whose names contain `only`; returns how many failed."""
    failed = 0
    for name, story in CHECKS:
        if only not in name:
            continue
        try:
            async with Stage(accounts) as stage:
                await asyncio.wait_for(story(stage), LONGEST)
            print(f"ok    {who}: {name}", flush=True)
        except Exception:
            failed += 1
            print(f"FAIL  {who}: {name}: {traceback.format_exc(limit=-3)}", flush=True)
    return failed


def main(who, accounts=None):
    """Runs the checks that the program's argument names, or all."""
    # slixmpp logs what it does; a failed check shows what it waited for.
    logging.basicConfig(level=os.environ.get("CLIENTS_LOG", "CRITICAL"))
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    sys.exit(1 if asyncio.run(run(who, accounts or Accounts(), only)) else 0)
