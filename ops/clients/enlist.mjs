// Enlistment as a partner's client does it: keys and signatures by Signal's own library, the form
// over HTTPS. As a program it enlists the users of the checks and tells who they are:
//
//   enlist.mjs COUNT     writes [{"account", "token", "visible"}, …] to standard output

import { randomBytes } from "node:crypto";
import { request } from "node:https";
import { pathToFileURL } from "node:url";

import { IdentityKeyPair, PrivateKey } from "@signalapp/libsignal-client";

import { AUTHORITY, DOMAIN, HTTP_PORT, PARTNER, PARTNER_NUMBER } from "./gateway.mjs";

// The wire has Curve25519 keys without libsignal's type byte.
const TYPE_BYTES = 1;
// Signal registration ids have 14 bits, prekey ids 24.
const REGISTRATIONS = 0x3fff;
const PREKEYS = 0xff_ffff;

export const raw = (key) => Buffer.from(key.serialize()).subarray(TYPE_BYTES);

export async function token(visible, claims = {}) {
  const query = new URLSearchParams({ sub: visible, ...claims });
  const answer = await fetch(`${PARTNER}/token?${query}`);
  if (!answer.ok) throw new Error(`the partner answered ${answer.status}`);
  return answer.text();
}

// What a user keeps: an identity with its registration id, and one signed prekey.
export function freshKeys() {
  const identity = IdentityKeyPair.generate();
  const signed = { id: 1 + (randomBytes(3).readUIntBE(0, 3) % PREKEYS), key: PrivateKey.generate() };
  signed.signature = identity.privateKey.sign(signed.key.getPublicKey().serialize());
  return {
    identity,
    registration: 1 + (randomBytes(2).readUInt16BE() % REGISTRATIONS),
    transport: PrivateKey.generate(),
    signed,
  };
}

// The answer of the door: {status, login} or {status, reason}.
export function enlist(keys, proof) {
  const id = Buffer.alloc(4);
  id.writeUInt32BE(keys.signed.id);
  const registration = Buffer.alloc(4);
  registration.writeUInt32BE(keys.registration);
  const text = (bytes) => Buffer.from(bytes).toString("base64url");
  const form = new URLSearchParams({
    authkey: text(raw(keys.transport.getPublicKey())),
    e_keytype: text([5]),
    e_regid: text(registration),
    e_ident: text(raw(keys.identity.publicKey)),
    e_skey_id: text(id.subarray(1)),
    e_skey_val: text(raw(keys.signed.key.getPublicKey())),
    e_skey_sig: text(keys.signed.signature),
    token: proof,
  });
  return ask("POST", `/3p/interop_reg?partner=${PARTNER_NUMBER}`, form.toString());
}

// One request at the HTTPS door; gives the JSON of the answer.
export function ask(method, path, body = "") {
  return new Promise((resolve, reject) => {
    const asked = request(
      {
        host: "127.0.0.1",
        port: HTTP_PORT,
        path,
        method,
        servername: DOMAIN,
        ca: AUTHORITY,
        headers: {
          host: DOMAIN,
          ...(body && {
            "content-type": "application/x-www-form-urlencoded",
            "content-length": Buffer.byteLength(body),
          }),
        },
      },
      async (answer) => {
        const parts = [];
        for await (const part of answer) parts.push(part);
        resolve(JSON.parse(Buffer.concat(parts).toString()));
      },
    );
    asked.on("error", reject).end(body);
  });
}

// Enlists fresh keys for a new visible id.
export async function newUser(visible, keys = freshKeys()) {
  const proof = await token(visible);
  const answer = await enlist(keys, proof);
  if (answer.status !== "ok") throw new Error(`enlistment refused: ${answer.reason}`);
  return { account: answer.login.replace("@interop", ""), token: proof, visible };
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const users = [];
  for (let number = 1; number <= Number(process.argv[2]); number += 1) {
    users.push(await newUser(`user.${number}@partner.example`));
  }
  process.stdout.write(JSON.stringify(users));
}
