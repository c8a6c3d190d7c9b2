// Checks of wake-ups: the partner gets them, and Node's own cryptography verifies who sent them.

import assert from "node:assert/strict";
import { createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

import { Checks, within } from "./checks.mjs";
import { ask } from "./enlist.mjs";
import { PARTNER } from "./gateway.mjs";
import { Person } from "./xmppjs_person.mjs";

const TOKEN_SECONDS = 3600;

// The checks with @xmpp/client take from the front, those with slixmpp from the back.
const users = JSON.parse(readFileSync(process.env.CLIENTS_USERS)).slice(75, 90);
const checks = new Checks("push", process.argv[2]);

function person(open, user = users.shift()) {
  const made = new Person(user);
  open.push(made);
  return made;
}

async function nextWake(who) {
  const query = new URLSearchParams({ to: who.user.visible });
  const answer = await within(fetch(`${PARTNER}/wake?${query}`), `a wake-up for ${who.bare}`, 20_000);
  return answer.json();
}

const decode = (part) => JSON.parse(Buffer.from(part, "base64url"));

// Header and claims of a token that one of the gateway's published keys signed.
async function verified(token) {
  const [header, claims, signature] = token.split(".");
  const { keys } = await ask("GET", "/.well-known/jwks");
  const { kid, alg } = decode(header);
  assert.equal(alg, "RS256");
  const key = keys.find((each) => each.kid === kid);
  assert.ok(key, "the key is published");
  const pem = createPublicKey({ key, format: "jwk" });
  const good = verify("sha256", Buffer.from(`${header}.${claims}`), pem, Buffer.from(signature, "base64url"));
  assert.ok(good, "the signature");
  return decode(claims);
}

await checks.check("who is away is woken by a request that the gateway signed", async (open) => {
  const [alice, bob] = [await person(open).online(), person(open)];
  await alice.say(bob, "are you there?");
  const { authorization, body } = await nextWake(bob);
  // The visible id, and not a word about who wrote what.
  assert.deepEqual(JSON.parse(body), { to: bob.user.visible });
  assert.match(authorization, /^Bearer /);
  const claims = await verified(authorization.replace("Bearer ", ""));
  assert.ok(PARTNER.startsWith(claims.aud) || claims.aud.startsWith(PARTNER), claims.aud);
  assert.equal(claims.exp - claims.iat, TOKEN_SECONDS);
  assert.ok(Math.abs(claims.iat - Date.now() / 1000) < 60);
  assert.match(claims.iss, /^https:\/\//);
  await bob.online();
  assert.equal((await bob.hear()).getChildText("body"), "are you there?");
});

await checks.check("who is there is not woken", async (open) => {
  const [alice, bob, carol] = [person(open), person(open), person(open)];
  await alice.online();
  await bob.online();
  await alice.say(bob, "here");
  await bob.hear();
  await alice.say(carol, "there");
  await nextWake(carol);
  // Carol's came, and hers was caused after Bob's would have been.
  const none = await within(nextWake(bob), "nothing", 500).then(
    () => "woken",
    () => "not woken",
  );
  assert.equal(none, "not woken");
});

await checks.check("a second message does not wait for a second wake-up to be delivered", async (open) => {
  const [alice, bob] = [await person(open).online(), person(open)];
  for (let number = 0; number < 20; number += 1) await alice.say(bob, `${number}`);
  await nextWake(bob);
  await bob.online();
  for (let number = 0; number < 20; number += 1) {
    assert.equal((await bob.hear()).getChildText("body"), `${number}`);
  }
});

process.exit(checks.status);
