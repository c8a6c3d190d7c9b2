// Checks of the XMPP door with @xmpp/client: SASL2 with Bind2, stream management and FAST, and the
// older login, each over TCP with TLS and over WebSocket.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { Checks, within } from "./checks.mjs";
import { DOMAIN } from "./gateway.mjs";
import { token } from "./enlist.mjs";
import { Person, SERVICES, xml } from "./xmppjs_person.mjs";

const users = JSON.parse(readFileSync(process.env.CLIENTS_USERS));
const checks = new Checks("@xmpp/client", process.argv[2]);

// A person with an account that no other check has touched.
function person(open, options = {}, user = users.shift()) {
  const made = new Person(user, options);
  open.push(made);
  return made;
}

const pair = async (open, options) => {
  const people = [person(open, options), person(open, options)];
  await Promise.all(people.map((each) => each.online()));
  return people;
};

const conditionOf = (stanza) => stanza.getChild("error")?.getChildElements()[0]?.name;

function once(emitter, event, what = event) {
  return within(new Promise((resolve) => emitter.once(event, resolve)), what);
}

const EVERY_WAY = [
  ["TCP", { service: SERVICES.TCP }],
  ["WebSocket", { service: SERVICES.WebSocket }],
  ["TCP, older login", { service: SERVICES.TCP, classic: true }],
  ["WebSocket, older login", { service: SERVICES.WebSocket, classic: true }],
];

for (const [way, options] of EVERY_WAY) {
  await checks.check(`a token logs in and stream management is on (${way})`, async (open) => {
    const alice = await person(open, options).online();
    assert.equal(alice.client.jid.bare().toString(), alice.bare);
    assert.ok(alice.client.jid.resource);
    await alice.ask("get", DOMAIN, xml("ping", "urn:xmpp:ping"));
    const { streamManagement } = alice.client;
    assert.ok(streamManagement.enabled && streamManagement.id);
    const said = alice.trace.filter((line) => line.startsWith("> ")).join("\n");
    assert.equal(said.includes("urn:xmpp:sasl:2"), !options.classic);
    assert.doesNotMatch(said, /<resume/, "nothing to resume at a first login");
    assert.equal(said.match(/<enable /g).length, 1, "enabled once");
    assert.equal(alice.errors.size, 0);
  });

  await checks.check(`a wrong token is not-authorized (${way})`, async (open) => {
    const user = users.shift();
    const bad = await token(user.visible, { key: "stranger" });
    const alice = person(open, { ...options, password: bad }, user);
    await assert.rejects(alice.online(), { name: "SASLError", condition: "not-authorized" });
  });

  await checks.check(`what clients ask is answered (${way})`, async (open) => {
    const alice = await person(open, options).online();
    const roster = await alice.ask("get", undefined, xml("query", "jabber:iq:roster"));
    assert.equal(roster.getChild("query").getChildElements().length, 0);
    const disco = xml("query", "http://jabber.org/protocol/disco#info");
    const info = (await alice.ask("get", DOMAIN, disco)).getChild("query");
    assert.deepEqual(info.getChild("identity").attrs.type, "im");
    for (const to of [DOMAIN, alice.bare, undefined]) {
      await alice.ask("get", to, xml("ping", "urn:xmpp:ping"));
    }
    const vcard = alice.ask("get", alice.bare, xml("vCard", "vcard-temp"));
    await assert.rejects(vcard, { condition: "item-not-found" });
    const archive = alice.ask("get", DOMAIN, xml("query", "urn:xmpp:mam:2"));
    await assert.rejects(archive, { condition: "service-unavailable" });
    await alice.ask("set", undefined, xml("enable", "urn:xmpp:carbons:2"));
  });

  await checks.check(`messages go both ways, in order, with their ids (${way})`, async (open) => {
    const [alice, bob] = await pair(open, options);
    const there = [];
    const back = [];
    for (let number = 0; number < 40; number += 1) {
      there.push(await alice.say(bob, `there ${number}`));
      back.push(await bob.say(alice, `back ${number}`));
    }
    for (const [reader, writer, ids] of [[bob, alice, there], [alice, bob, back]]) {
      for (const id of ids) {
        const message = await reader.hear();
        assert.equal(message.attrs.id, id);
        assert.equal(message.attrs.from, writer.full);
      }
    }
  });

  await checks.check(`what XML must escape and what Unicode has arrives (${way})`, async (open) => {
    const [alice, bob] = await pair(open, options);
    for (const text of ["<&>\"'", "]]>", "a\tb\nc", "ß漢字🏳️‍🌈\u202e", "&amp;lt;", " kept ", "x".repeat(60_000)]) {
      await alice.say(bob, text);
      assert.equal((await bob.hear()).getChildText("body"), text);
    }
  });

  await checks.check(`a cut session is resumed and nothing is lost or doubled (${way})`, async (open) => {
    const [alice, bob] = await pair(open, options);
    // Something must have been counted, or there is nothing to be wrong about.
    await alice.say(bob, "first");
    assert.equal((await bob.hear()).getChildText("body"), "first");
    for (let turn = 0; turn < 3; turn += 1) {
      const { full } = bob;
      const resumed = once(bob.client.streamManagement, "resumed");
      bob.cut();
      await alice.say(bob, `meanwhile ${turn}`);
      await resumed;
      assert.equal(bob.full, full, "the address after resumption");
      await bob.say(alice, `after ${turn}`);
      await alice.say(bob, `after ${turn}`);
      for (const word of ["meanwhile", "after"]) {
        assert.equal((await bob.hear()).getChildText("body"), `${word} ${turn}`);
      }
      assert.equal((await alice.hear()).getChildText("body"), `after ${turn}`);
    }
    assert.equal(bob.messages.size + alice.messages.size, 0, "more messages");
  });

  await checks.check(`what was sent is acknowledged (${way})`, async (open) => {
    const [alice, bob] = await pair(open, options);
    const { streamManagement } = alice.client;
    const acknowledged = [];
    streamManagement.on("ack", (stanza) => acknowledged.push(stanza.attrs.id));
    const ids = [];
    for (let number = 0; number < 20; number += 1) ids.push(await alice.say(bob, `${number}`));
    for (let number = 0; number < 20; number += 1) await bob.hear();
    while (streamManagement.outbound_q.length > 0) await once(streamManagement, "ack");
    assert.deepEqual(acknowledged.filter(Boolean), ids);
  });

  await checks.check(`a second login takes over and the first is told conflict (${way})`, async (open) => {
    const first = await person(open, options).online();
    // It would come back at once and take over in turn.
    first.client.reconnect.stop();
    const gone = once(first.client, "disconnect");
    const second = await person(open, options, first.user).online();
    assert.equal((await first.errors.take("a stream error")).condition, "conflict");
    await gone;
    await second.ask("get", DOMAIN, xml("ping", "urn:xmpp:ping"));
  });

  await checks.check(`a forged sender ends the stream (${way})`, async (open) => {
    const [alice, bob] = await pair(open, options);
    alice.client.reconnect.stop();
    const forged = xml("message", { from: bob.bare, to: bob.bare, type: "chat" }, xml("body", {}, "I am Bob"));
    await alice.client.send(forged);
    assert.equal((await alice.errors.take("a stream error")).condition, "invalid-from");
    assert.equal(bob.messages.size, 0);
  });

  await checks.check(`waiting messages come once, in order, with their delay (${way})`, async (open) => {
    const alice = await person(open, options).online();
    const bob = person(open, options);
    const ids = [];
    for (let number = 0; number < 12; number += 1) ids.push(await alice.say(bob, `${number}`));
    const { streamManagement } = alice.client;
    while (streamManagement.outbound_q.length > 0) await once(streamManagement, "ack");
    await bob.online();
    const count = await bob.information.take("the count");
    assert.equal(count.getChild("offline", "urn:entente:0").attrs.count, String(ids.length));
    for (const id of ids) {
      const message = await bob.hear();
      assert.equal(message.attrs.id, id);
      assert.ok(message.getChild("delay", "urn:xmpp:delay").attrs.stamp);
    }
    await bob.client.stop();
    const again = await person(open, options, bob.user).online();
    await alice.say(again, "new");
    assert.equal((await again.hear()).getChildText("body"), "new");
  });
}

await checks.check("TCP and WebSocket users write to each other", async (open) => {
  const alice = await person(open, { service: SERVICES.TCP }).online();
  const bob = await person(open, { service: SERVICES.WebSocket }).online();
  await alice.say(bob, "there");
  assert.equal((await bob.hear()).getChildText("body"), "there");
  await bob.say(alice, "back");
  assert.equal((await alice.hear()).getChildText("body"), "back");
});

for (const [way, options] of EVERY_WAY.slice(0, 2)) {
  await checks.check(`a FAST token logs in instead of the partner's (${way})`, async (open) => {
    const alice = await person(open, options).online();
    const fast = await within(alice.client.fast.fetchToken(), "a FAST token");
    assert.equal(fast.mechanism, "HT-SHA-256-NONE");
    assert.ok(new Date(fast.expiry) > new Date());
    await alice.client.stop();
    // The password is good for nothing: only the FAST token can have logged in.
    const again = person(open, { ...options, password: "spent" }, alice.user);
    await again.client.fast.saveToken(fast);
    await again.online();
    const said = again.trace.filter((line) => line.startsWith("> ")).join("\n");
    assert.match(said, /mechanism="HT-SHA-256-NONE"/);
    await again.ask("get", DOMAIN, xml("ping", "urn:xmpp:ping"));
  });
}

await checks.check("an error of a message comes to its sender with its id", async (open) => {
  const alice = await person(open).online();
  const id = await alice.say({ bare: `nobody@${DOMAIN}` }, "?");
  const answer = await alice.hear();
  assert.deepEqual([answer.attrs.type, answer.attrs.id], ["error", id]);
  assert.equal(conditionOf(answer), "item-not-found");
});

process.exit(checks.status);
