"""Checks of the XMPP door with slixmpp: SASL PLAIN over direct TLS, and what clients ask."""

import asyncio
import xml.etree.ElementTree as ET

from person import DOMAIN, WITHIN, token
from stage import AT_ONCE, ENTENTE, acknowledged, check, equal, main, refused


# === Login ===


@check("a token logs in by PLAIN and the address is the account's")
async def login(stage):
    alice = await stage.online()
    equal(alice.boundjid.bare, f"{alice.user['account']}@{DOMAIN}", "bound address")
    assert alice.boundjid.resource, "no resource"


@check("tokens that are wrong, foreign, for another or too old do not log in")
async def wrong_tokens(stage):
    user, other = stage.accounts.next(), stage.accounts.next()
    visible = user["visible"]
    bad = [
        user["token"][:-8] + "AAAAAAAA",
        other["token"],
        token(visible, key="stranger"),
        token(visible, aud="https://elsewhere.example"),
        token(visible, iss="https://elsewhere.example"),
        token(visible, life=-120),
        token(visible, life=7200),
        "secret",
    ]
    for password in bad:
        person = stage.person(user, password)
        person.dial()
        failure = await person.failed()
        equal(failure["condition"], "not-authorized", "condition")
        await person.gone()
    await stage.person(user, token(visible)).online()


@check("the certificate is refused under another authority")
async def other_authority(stage):
    person = stage.person()
    person.ca_certs = None
    person.dial()
    await person.wait_until("connection_failed", WITHIN)
    person.cancel_connection_attempt()


@check("a second login takes the session over and the first is told conflict")
async def conflict(stage):
    first = await stage.online()
    second = await stage.person(first.user).online()
    failure = await first.failed()
    equal(failure["condition"], "conflict", "stream error")
    await first.gone()
    await second.plugin["xep_0199"].ping(DOMAIN, timeout=AT_ONCE)


# === Questions ===


@check("the roster is empty, at once, and cannot be written")
async def roster(stage):
    alice = await stage.online()
    answer = await alice.get_roster(timeout=AT_ONCE)
    equal(answer["type"], "result", "type")
    equal(list(answer["roster"]["items"]), [], "items")
    assert "ver" not in answer.xml.find("{jabber:iq:roster}query").attrib
    change = alice.make_iq_set()
    change["roster"]["items"] = {f"7-1@{DOMAIN}": {"name": "x", "subscription": "both"}}
    equal(await refused(change.send(timeout=AT_ONCE)), "not-allowed", "roster set")


@check("disco tells what the domain and the account are, and no more")
async def disco(stage):
    alice = await stage.online()
    find = alice.plugin["xep_0030"]
    info = (await find.get_info(jid=DOMAIN, timeout=AT_ONCE))["disco_info"]
    kinds = {(category, kind) for category, kind, _, _ in info["identities"]}
    equal(kinds, {("server", "im")}, "identities of the domain")
    assert "urn:xmpp:ping" in info["features"], info["features"]
    for absent in ("urn:xmpp:mam:2", "http://jabber.org/protocol/muc"):
        assert absent not in info["features"], absent
    for address in (alice.boundjid.bare, alice.boundjid.full):
        # slixmpp answers for its own addresses itself unless it is told that they are elsewhere.
        answer = await find.get_info(jid=address, local=False, cached=False, timeout=AT_ONCE)
        kinds = {(category, kind) for category, kind, _, _ in answer["disco_info"]["identities"]}
        equal(kinds, {("account", "registered")}, f"identities of {address}")
    items = await find.get_items(jid=DOMAIN, local=False, timeout=AT_ONCE)
    equal(list(items["disco_items"]["items"]), [], "items")


@check("pings to the domain, to the own account and to nobody are answered")
async def ping(stage):
    alice = await stage.online()
    for target in (DOMAIN, alice.boundjid.bare, None):
        iq = alice.make_iq_get(ito=target)
        iq.enable("ping")
        answer = await iq.send(timeout=AT_ONCE)
        equal(answer["type"], "result", f"ping to {target}")
        wanted = ("", alice.boundjid.bare) if target is None else (target,)
        assert str(answer["from"]) in wanted, f"from {answer['from']}"


@check("vcards, bookmarks and PEP are not found; private storage is empty")
async def stores(stage):
    alice = await stage.online()
    vcard = alice.plugin["xep_0054"].get_vcard(local=False, cached=False, timeout=AT_ONCE)
    equal(await refused(vcard), "item-not-found", "own vcard")
    pubsub = alice.make_iq_get()
    pubsub.xml.append(ET.fromstring(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:bookmarks:1'/></pubsub>"
    ))
    equal(await refused(pubsub.send(timeout=AT_ONCE)), "item-not-found", "bookmarks")
    private = alice.make_iq_get()
    private.xml.append(ET.fromstring(
        "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>"
    ))
    answer = await private.send(timeout=AT_ONCE)
    storage = answer.xml.find("{jabber:iq:private}query/{storage:bookmarks}storage")
    assert storage is not None and len(storage) == 0, str(answer)


@check("archive, upload and unknown requests are service-unavailable")
async def unavailable(stage):
    alice = await stage.online()
    for payload in (
        "<query xmlns='urn:xmpp:mam:2'/>",
        "<request xmlns='urn:xmpp:http:upload:0' filename='a' size='1'/>",
        "<query xmlns='urn:example:nothing'/>",
    ):
        iq = alice.make_iq_get(ito=DOMAIN)
        iq.xml.append(ET.fromstring(payload))
        equal(await refused(iq.send(timeout=AT_ONCE)), "service-unavailable", payload)


@check("version, carbons, client state and the legacy session are answered")
async def small_talk(stage):
    alice = await stage.online()
    version = await alice.plugin["xep_0092"].get_version(DOMAIN, timeout=AT_ONCE)
    equal(version["software_version"]["name"], "Entente", "name")
    equal((await alice.plugin["xep_0280"].enable(timeout=AT_ONCE))["type"], "result", "carbons on")
    equal((await alice.plugin["xep_0280"].disable(timeout=AT_ONCE))["type"], "result", "carbons off")
    alice.plugin["xep_0352"].send_inactive()
    alice.plugin["xep_0352"].send_active()
    session = alice.make_iq_set()
    session.xml.append(ET.fromstring("<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>"))
    equal((await session.send(timeout=AT_ONCE))["type"], "result", "session")


@check("the block list is kept, pushed, and keeps messages out")
async def blocking(stage):
    alice, mallory = await stage.online(2)
    block = alice.plugin["xep_0191"]
    pushed = asyncio.Event()
    alice.add_event_handler("blocked", lambda _: pushed.set())
    await block.block(mallory.boundjid.bare, timeout=AT_ONCE)
    await asyncio.wait_for(pushed.wait(), WITHIN)
    answer = await block.get_blocked(timeout=AT_ONCE)
    blocked = [str(item["jid"]) for item in answer["blocklist"]]
    equal(blocked, [mallory.boundjid.bare], "block list")
    mallory.say(alice, "hello?")
    refusal = await mallory.heard()
    equal(refusal["type"], "error", "answer to a blocked sender")
    await block.unblock(mallory.boundjid.bare, timeout=AT_ONCE)
    mallory.say(alice, "hello again")
    equal((await alice.heard())["body"], "hello again", "first message that comes through")


# === Messages ===


@check("messages go both ways, in order, with their ids and the sender's address")
async def both_ways(stage):
    alice, bob = await stage.online(2)
    sent = {alice: [], bob: []}
    for number in range(40):
        sent[alice].append((alice.say(bob, f"to bob {number}"), f"to bob {number}"))
        sent[bob].append((bob.say(alice, f"to alice {number}"), f"to alice {number}"))
    for reader, writer in ((alice, bob), (bob, alice)):
        for wanted in sent[writer]:
            message = await reader.heard()
            equal((message["id"], message["body"]), wanted, "message")
            equal(message["from"], writer.boundjid, "sender")
            equal(message["to"].bare, reader.boundjid.bare, "recipient")
            by = message["stanza_id"]["by"]
            equal(str(by), reader.boundjid.bare, "who gave the stanza id")


@check("what XML must escape and what Unicode has arrives unchanged")
async def difficult_text(stage):
    alice, bob = await stage.online(2)
    texts = ["<&>\"'", "]]>", "a\tb\nc", "ß漢字🏳️‍🌈\u0301\u202e", "&amp;lt;", " kept ", "x" * 60_000]
    for text in texts:
        alice.say(bob, text)
    for text in texts:
        equal((await bob.heard())["body"], text, "body")


@check("a message to oneself comes back")
async def to_oneself(stage):
    alice = await stage.online()
    alice.say(alice, "remember")
    equal((await alice.heard())["body"], "remember", "body")


@check("receipts between users pass through (XEP-0184)")
async def receipts(stage):
    alice, bob = await stage.online(2)
    receipt = asyncio.get_running_loop().create_future()
    alice.add_event_handler("receipt_received", receipt.set_result)
    message = alice.make_message(mto=bob.boundjid.bare, mbody="read this", mtype="chat")
    message["request_receipt"] = True
    message.send()
    assert (await bob.heard())["request_receipt"]
    answer = await asyncio.wait_for(receipt, WITHIN)
    equal(answer["receipt"], message["id"], "id in the receipt")
    equal(answer["from"].bare, bob.boundjid.bare, "who received")


@check("the gateway's own receipt tells that the device has the message")
async def own_receipt(stage):
    alice, bob = await stage.online(2)
    message = alice.make_message(mto=bob.boundjid.bare, mbody="deliver this", mtype="chat")
    message.xml.append(ET.fromstring(f"<request xmlns='{ENTENTE}'/>"))
    message.send()
    await bob.heard()
    receipt = await alice.heard()
    equal(receipt["type"], "headline", "type")
    equal(receipt["from"].bare, bob.boundjid.bare, "who has it")
    element = receipt.xml.find(f"{{{ENTENTE}}}receipt")
    equal(element.attrib["kind"], "delivered", "kind")
    ids = [each.text for each in element.findall(f"{{{ENTENTE}}}id")]
    equal(ids, [message["id"]], "ids")


@check("typing reaches who is there")
async def typing(stage):
    alice, bob = await stage.online(2)
    # Bob is there for others once the count has come.
    await asyncio.wait_for(bob.information.get(), WITHIN)
    state = asyncio.get_running_loop().create_future()
    bob.add_event_handler("chatstate_composing", state.set_result)
    message = alice.make_message(mto=bob.boundjid.bare, mtype="chat")
    message["chat_state"] = "composing"
    message.send()
    message = await asyncio.wait_for(state, WITHIN)
    equal(message["from"], alice.boundjid, "who types")


@check("messages to nobody and to other domains are refused with their ids")
async def to_nobody(stage):
    alice = await stage.online()
    for address, condition in (
        (f"7-99999999999999@{DOMAIN}", "service-unavailable"),
        (f"nobody@{DOMAIN}", "item-not-found"),
        ("somebody@elsewhere.example", "remote-server-not-found"),
    ):
        message = alice.make_message(mto=address, mbody="?", mtype="chat")
        message.send()
        answer = await alice.heard()
        equal((answer["type"], answer["id"]), ("error", message["id"]), address)
        equal(str(answer["from"]), address, "from")
        equal(answer["error"]["condition"], condition, address)


@check("presence comes back to its sender; others' subscriptions are declined")
async def presence(stage):
    alice = stage.person()
    echoed = asyncio.get_running_loop().create_future()
    alice.add_event_handler("presence_available", echoed.set_result)
    await alice.online()
    equal((await asyncio.wait_for(echoed, WITHIN))["from"], alice.boundjid, "echo")
    declined = asyncio.get_running_loop().create_future()
    alice.add_event_handler("presence_unsubscribed", declined.set_result)
    alice.send_presence(pto=f"7-1@{DOMAIN}", ptype="subscribe")
    equal(str((await asyncio.wait_for(declined, WITHIN))["from"]), f"7-1@{DOMAIN}", "decline")


@check("a forged sender ends the stream with invalid-from")
async def forged_from(stage):
    alice, bob = await stage.online(2)
    alice.send_raw(
        f"<message from='{bob.boundjid.bare}' to='{bob.boundjid.bare}' type='chat' id='f'>"
        "<body>I am Bob</body></message>"
    )
    equal((await alice.failed())["condition"], "invalid-from", "stream error")
    await alice.gone()
    equal(bob.inbox.qsize(), 0, "messages to Bob")


@check("what is too large, malformed or forbidden ends the stream with its condition")
async def bad_streams(stage):
    cases = (
        (f"<message to='{DOMAIN}'><body>{'x' * 300_000}</body></message>", "policy-violation"),
        ("<message><body>&nbsp;</body></message>", "restricted-xml"),
        ("<message><body></message></body>", "not-well-formed"),
        ("<!-- comment -->", "restricted-xml"),
        ("<?php echo ?>", "restricted-xml"),
        ("<unknown xmlns='urn:example:nothing'/>", "unsupported-stanza-type"),
        ("<message xmlns='urn:example:nothing'/>", "invalid-namespace"),
    )
    for text, condition in cases:
        alice = await stage.online()
        alice.send_raw(text)
        equal((await alice.failed())["condition"], condition, text[:60])
        await alice.gone()


# === Stream management and waiting messages ===


@check("stream management is enabled and acknowledges what was sent")
async def taken(stage):
    alice, bob = await stage.online(2)
    manager = alice.plugin["xep_0198"]
    assert manager.sm_id, "not resumable"
    for number in range(20):
        alice.say(bob, str(number))
    for _ in range(20):
        await bob.heard()
    await acknowledged(alice)
    # Presence and twenty messages.
    equal(manager.last_ack, 21, "h")


@check("after its socket is cut the session is resumed and nothing is lost or doubled")
async def resumed(stage):
    alice, bob = await stage.online(2)
    for turn in range(4):
        for number in range(5):
            alice.say(bob, f"{turn} before {number}")
            bob.say(alice, f"{turn} before {number}")
        bob.cut()
        await bob.gone()
        for number in range(5):
            alice.say(bob, f"{turn} meanwhile {number}")
        await bob.wait_until("session_resumed", WITHIN)
        bob.say(alice, f"{turn} after")
        alice.say(bob, f"{turn} after")
    wanted = {
        bob: lambda turn: ["before"] * 5 + ["meanwhile"] * 5 + ["after"],
        alice: lambda turn: ["before"] * 5 + ["after"],
    }
    for reader, pattern in wanted.items():
        for turn in range(4):
            for word in pattern(turn):
                body = (await reader.heard())["body"]
                assert body.startswith(f"{turn} {word}"), f"{body!r} instead of {turn} {word}"
        equal(reader.inbox.qsize(), 0, "more messages")


@check("acknowledging more than was sent ends the stream")
async def too_high(stage):
    alice = await stage.online()
    await alice.plugin["xep_0199"].ping(DOMAIN, timeout=AT_ONCE)
    alice.send_raw("<a xmlns='urn:xmpp:sm:3' h='1000'/>")
    failure = await alice.failed()
    equal(failure["condition"], "undefined-condition", "stream error")
    found = failure.xml.find("{urn:xmpp:sm:3}handled-count-too-high")
    assert found is not None, str(failure)
    await alice.gone()


@check("a session is resumed by nobody but its account")
async def stolen(stage):
    alice, mallory = await stage.online(2)
    stolen_id = alice.plugin["xep_0198"].sm_id
    await mallory.disconnect(wait=2)
    await mallory.gone()
    mallory.plugin["xep_0198"].sm_id = stolen_id
    failed = asyncio.Event()
    mallory.add_event_handler("sm_failed", lambda _: failed.set())
    await mallory.online()
    assert failed.is_set(), "resumed"
    await alice.plugin["xep_0199"].ping(DOMAIN, timeout=AT_ONCE)


@check("a session that was closed in order cannot be resumed; a fresh one follows")
async def not_resumed(stage):
    alice = await stage.online()
    manager = alice.plugin["xep_0198"]
    kept, handled = manager.sm_id, manager.handled
    await alice.disconnect(wait=2)
    await alice.gone()
    manager.sm_id, manager.handled = kept, handled
    failed = asyncio.Event()
    alice.add_event_handler("sm_failed", lambda _: failed.set())
    await alice.online()
    assert failed.is_set(), "resumed what was closed"
    await alice.plugin["xep_0199"].ping(DOMAIN, timeout=AT_ONCE)


async def sent_while_away(stage, **options):
    alice, bob = await stage.online(), stage.person(**options)
    ids = []
    for number in range(12):
        message = alice.make_message(mto=bob.boundjid.bare, mbody=str(number), mtype="chat")
        message.send()
        ids.append(message["id"])
    # All are acknowledged before Bob comes.
    await acknowledged(alice)
    return alice, bob, ids


async def read_waiting(bob, ids):
    count = await asyncio.wait_for(bob.information.get(), WITHIN)
    offline = count.xml.find(f"{{{ENTENTE}}}offline")
    equal(offline.attrib["count"], str(len(ids)), "count")
    for wanted in ids:
        message = await bob.heard()
        equal(message["id"], wanted, "id")
        assert message["delay"]["stamp"], "no delay"
        equal(str(message["delay"]["from"]), DOMAIN, "who says that it waited")


@check("a backlog larger than what may be under way comes whole, managed or not")
async def large_backlog(stage):
    # Some 800 KB; the gateway writes no more than 320 KiB ahead of a client.
    count, size = 400, 2_000
    for manage in (True, False):
        alice, bob = await stage.online(), stage.person(manage=manage)
        for number in range(count):
            alice.say(bob, f"{number} " + "x" * size)
        await acknowledged(alice)
        await bob.online()
        for number in range(count):
            body = (await bob.heard())["body"]
            equal(body.split()[0], str(number), "number")
        equal(bob.inbox.qsize(), 0, "more messages")


@check("waiting messages stay while the priority is negative")
async def negative_priority(stage):
    _, bob, ids = await sent_while_away(stage)
    await bob.online(presence=False)
    bob.send_presence(ppriority=-1)
    # The answers show that there was time to send them.
    for _ in range(3):
        await bob.plugin["xep_0199"].ping(DOMAIN, timeout=AT_ONCE)
    equal(bob.inbox.qsize(), 0, "messages at a negative priority")
    bob.send_presence(ppriority=0)
    await read_waiting(bob, ids)


@check("waiting messages come after presence: the count, then all in order with their delay")
async def waiting(stage):
    _, bob, ids = await sent_while_away(stage)
    await bob.online()
    await read_waiting(bob, ids)


@check("waiting messages come once, also without stream management")
async def waiting_unmanaged(stage):
    alice, bob, ids = await sent_while_away(stage, manage=False)
    await bob.online()
    await read_waiting(bob, ids)
    # An answer to this is an answer to all pings before it.
    await bob.plugin["xep_0199"].ping(DOMAIN, timeout=AT_ONCE)
    await bob.end()
    await bob.gone()
    again = await stage.person(bob.user, manage=False).online()
    alice.say(again, "new")
    equal((await again.heard())["body"], "new", "first message of the next session")


main("slixmpp")
