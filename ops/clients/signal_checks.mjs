// Checks of the key stanzas with Signal's own library: PQXDH and the Double Ratchet between users in
// JavaScript and one in Rust (entente-signal-peer), each through the gateway alone.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

import { PrivateKey } from "@signalapp/libsignal-client";

import { Checks, within } from "./checks.mjs";
import { enlist, freshKeys, newUser, raw, token } from "./enlist.mjs";
import { DOMAIN, HTTP_PORT, PARTNER, XMPP_PORT } from "./gateway.mjs";
import { KEYS, SignalUser } from "./signal_user.mjs";
import { Person, xml } from "./xmppjs_person.mjs";

const ENTENTE = "urn:entente:0";
const checks = new Checks("libsignal", process.argv[2]);
let visible = 0;
const nextVisible = (who) => `${who}.${(visible += 1)}@partner.example`;

// The user in Rust. Its input is ours; it ends when we close it.
class Peer {
  trace = [];

  constructor(oneTime) {
    this.process = spawn(
      process.env.ENTENTE_PEER,
      [
        ["--domain", DOMAIN],
        ["--xmpp", `127.0.0.1:${XMPP_PORT}`],
        ["--http", `127.0.0.1:${HTTP_PORT}`],
        ["--authority", process.env.CLIENTS_CA],
        ["--partner", PARTNER.replace("http://", "")],
        ["--visible", nextVisible("rust")],
        ["--one-time", String(oneTime)],
      ].flat(),
      { stdio: ["pipe", "pipe", "inherit"] },
    );
    this.exit = once(this.process, "exit");
  }

  async ready() {
    const lines = createInterface({ input: this.process.stdout });
    const ended = this.exit.then(([code]) => {
      throw new Error(`the peer in Rust ended with status ${code}`);
    });
    const [line] = await within(Promise.race([once(lines, "line"), ended]), "the peer in Rust");
    // From here on `end` tells of it.
    ended.catch(() => {});
    this.bare = line.replace("ready ", "");
    return this;
  }

  greet(address) {
    this.process.stdin.write(`greet ${address}\n`);
  }

  async end() {
    this.process.stdin.end();
    const [code] = await within(this.exit, "the end of the peer in Rust");
    if (code !== 0) throw new Error(`the peer in Rust ended with status ${code}`);
  }
}

// A user in JavaScript with fresh keys, logged in, its prekeys uploaded.
async function user(open, oneTime = 1) {
  const keys = freshKeys();
  const person = new Person(await newUser(nextVisible("js"), keys));
  open.push(person);
  await person.online();
  person.signal = new SignalUser(person.user.account, keys);
  const answer = await person.ask("set", undefined, await person.signal.upload(oneTime));
  assert.deepEqual(counted(answer), [oneTime, oneTime]);
  return person;
}

async function rustPeer(open, oneTime = 1) {
  const peer = new Peer(oneTime);
  open.push(peer);
  return peer.ready();
}

function counted(answer) {
  const count = answer.getChild("count", KEYS);
  return [Number(count.attrs["one-time"]), Number(count.attrs.kyber)];
}

const askBundle = (person, address) =>
  person.ask("get", undefined, xml("bundle", { xmlns: KEYS, jid: address }));

async function openSession(person, address) {
  const answer = await askBundle(person, address);
  return person.signal.open(answer.getChild("bundle", KEYS));
}

let messages = 0;
async function send(person, address, plain) {
  const enc = await person.signal.seal(address, plain);
  const attrs = { to: address, type: "chat", id: `signal-${(messages += 1)}` };
  await person.client.send(xml("message", attrs, enc));
  return enc.attrs.type;
}

// Bursts of one to three messages; each must be answered, in order.
async function talk(person, peer, turns) {
  let number = 0;
  for (let turn = 0; turn < turns; turn += 1) {
    const burst = Array.from({ length: 1 + (turn % 3) }, () => `message ${(number += 1)} 🔐`);
    for (const plain of burst) await send(person, peer.bare, plain);
    for (const plain of burst) {
      const heard = await person.signal.unseal(await person.hear());
      assert.equal(heard.plain, `re: ${plain}`);
    }
  }
}

await checks.check("JavaScript opens a session from the bundle of a user in Rust", async (open) => {
  const [js, rust] = [await user(open), await rustPeer(open)];
  assert.deepEqual(await openSession(js, rust.bare), { oneTime: true, kyber: "kyber" });
  assert.equal(await send(js, rust.bare, "first"), "pkmsg");
  const answer = await js.signal.unseal(await js.hear());
  assert.deepEqual(answer, { plain: "re: first", type: "msg" });
  assert.equal(await send(js, rust.bare, "second"), "msg");
  assert.equal((await js.signal.unseal(await js.hear())).plain, "re: second");
  await talk(js, rust, 50);
});

await checks.check("a user in Rust opens a session from the bundle of JavaScript", async (open) => {
  const [js, rust] = [await user(open), await rustPeer(open)];
  const before = js.signal.oneTimeLeft;
  rust.greet(js.bare);
  const hello = await js.signal.unseal(await js.hear());
  assert.deepEqual(hello, { plain: "hello from Rust", type: "pkmsg" });
  // Its one-time keys were used, the last-resort key stays.
  assert.deepEqual(before, { oneTime: 1, kyber: 2 });
  assert.deepEqual(js.signal.oneTimeLeft, { oneTime: 0, kyber: 1 });
  await talk(js, rust, 50);
});

await checks.check("a session that is opened while its owner is away waits with its messages", async (open) => {
  const [js, rust] = [await user(open), await rustPeer(open)];
  await js.client.stop();
  rust.greet(js.bare);
  const again = new Person(js.user);
  again.signal = js.signal;
  open.push(again);
  await again.online();
  const message = await again.hear();
  assert.equal((await again.signal.unseal(message)).plain, "hello from Rust");
  await talk(again, rust, 5);
});

await checks.check("one-time keys are served once; then the last-resort key", async (open) => {
  const rust = await rustPeer(open, 1);
  const people = [await user(open), await user(open), await user(open)];
  const served = [];
  for (const person of people) served.push(await openSession(person, rust.bare));
  assert.deepEqual(served, [
    { oneTime: true, kyber: "kyber" },
    { oneTime: false, kyber: "last-resort" },
    { oneTime: false, kyber: "last-resort" },
  ]);
  for (const person of people) await talk(person, rust, 4);
});

await checks.check("users in JavaScript talk to each other and count what is left", async (open) => {
  const [alice, bob] = [await user(open), await user(open, 3)];
  await openSession(alice, bob.bare);
  const left = await bob.ask("get", undefined, xml("count", KEYS));
  assert.deepEqual(counted(left), [2, 2]);
  for (let turn = 0; turn < 20; turn += 1) {
    await send(alice, bob.bare, `there ${turn}`);
    assert.equal((await bob.signal.unseal(await bob.hear())).plain, `there ${turn}`);
    await send(bob, alice.bare, `back ${turn}`);
    assert.equal((await alice.signal.unseal(await alice.hear())).plain, `back ${turn}`);
  }
});

await checks.check("keys that the identity did not sign are refused", async (open) => {
  const keys = freshKeys();
  keys.signed.signature = PrivateKey.generate().sign(keys.signed.key.getPublicKey().serialize());
  const proof = await token(nextVisible("js"));
  assert.deepEqual(await enlist(keys, proof), { status: "fail", reason: "bad_signature" });

  const js = await user(open);
  const upload = await js.signal.upload(1);
  upload.getChild("kyber").attrs.sig = Buffer.from(
    PrivateKey.generate().sign(raw(PrivateKey.generate().getPublicKey())),
  ).toString("base64");
  await assert.rejects(js.ask("set", undefined, upload), (error) => error.name === "StanzaError");
});

await checks.check("nobody's bundle is item-not-found", async (open) => {
  const js = await user(open);
  for (const jid of [`7-99999999999999@${DOMAIN}`, `nobody@${DOMAIN}`, "7-1@elsewhere.example"]) {
    await assert.rejects(askBundle(js, jid), { condition: "item-not-found" });
  }
});

await checks.check("a new identity is announced to who wrote before, and replaces the old one", async (open) => {
  const [alice, bob] = [await user(open), await user(open)];
  await openSession(alice, bob.bare);
  await send(alice, bob.bare, "before");
  await bob.signal.unseal(await bob.hear());

  bob.client.reconnect.stop();
  const keys = freshKeys();
  const anew = await newUser(bob.user.visible, keys);
  assert.equal(anew.account, bob.user.account, "the account stays");
  assert.equal((await bob.errors.take("the end of the old session")).condition, "not-authorized");
  // The first that every session hears is how many messages wait.
  await alice.information.take("the count");
  const notice = await alice.information.take("a notice of the change");
  const changed = notice.getChild("identity-changed", ENTENTE);
  assert.equal(changed.attrs.jid, bob.bare);

  const again = new Person(anew);
  open.push(again);
  await again.online();
  again.signal = new SignalUser(anew.account, keys);
  await again.ask("set", undefined, await again.signal.upload(1));
  const bundle = (await askBundle(alice, again.bare)).getChild("bundle", KEYS);
  const identity = Buffer.from(raw(keys.identity.publicKey)).toString("base64");
  assert.equal(bundle.getChildText("identity"), identity);
});

process.exit(checks.status);
