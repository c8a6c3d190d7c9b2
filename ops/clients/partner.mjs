// A partner's server, small and real: it publishes the keys with which it signs (JWKS) and signs
// tokens. It serves until its standard input ends.
//
//   partner.mjs FOLDER DOMAIN
//
// Writes FOLDER/partners.toml, which the gateway reads, and FOLDER/partner.url.
//
//   GET /.well-known/oauth/openid/jwks
//   POST /interop/push       a wake-up of the gateway
//   GET /wake?to=VISIBLE     waits for the next wake-up of a user: {"authorization", "body"}
//   GET /token?sub=VISIBLE   a token; what else the query names replaces a claim or header member:
//                            aud, iss, kid, life (seconds from now to `exp`), key=stranger (signed
//                            by a key that is not published)

import { generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { createServer } from "node:http";
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const NUMBER = 7;
const ISSUER = "https://partner.example";
const AUDIENCE = "https://gateway.example";
const TOKEN_SECONDS = 3000;
const JWKS_PATH = "/.well-known/oauth/openid/jwks";

const [folder] = process.argv.slice(2);

// One key for each algorithm that the gateway knows beside RSA; they take turns.
const keys = [
  { kid: "edwards", alg: "EdDSA", pair: generateKeyPairSync("ed25519") },
  { kid: "p256", alg: "ES256", pair: generateKeyPairSync("ec", { namedCurve: "P-256" }) },
];
let turn = 0;
const stranger = { ...keys[0], pair: generateKeyPairSync("ed25519") };

function token(query) {
  const visible = query.get("sub");
  turn += 1;
  const key = query.get("key") === "stranger" ? stranger : keys[turn % keys.length];
  const now = Math.floor(Date.now() / 1000);
  const exp = now + Number(query.get("life") ?? TOKEN_SECONDS);
  const claims = {
    iss: query.get("iss") ?? ISSUER,
    aud: query.get("aud") ?? AUDIENCE,
    sub: visible,
    iat: Math.min(now, exp - 1),
    exp,
    jti: randomUUID(),
  };
  const header = { alg: key.alg, kid: query.get("kid") ?? key.kid, typ: "entente+jwt" };
  const text = [header, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
    .join(".");
  const hash = key.alg === "ES256" ? "sha256" : null;
  const signature = sign(hash, Buffer.from(text), {
    key: key.pair.privateKey,
    dsaEncoding: "ieee-p1363",
  });
  return `${text}.${signature.toString("base64url")}`;
}

const jwks = JSON.stringify({
  keys: keys.map(({ kid, alg, pair }) => ({
    ...pair.publicKey.export({ format: "jwk" }),
    kid,
    alg,
    use: "sig",
  })),
});

// By visible id: wake-ups that nobody has asked for, and answers that wait for one.
const wakes = new Map();
const waiting = new Map();
const listOf = (map, visible) => map.get(visible) ?? map.set(visible, []).get(visible);

async function takeWake(request, response) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts).toString();
  const wake = JSON.stringify({ authorization: request.headers.authorization, body });
  const { to } = JSON.parse(body);
  const asker = listOf(waiting, to).shift();
  if (asker) asker.end(wake);
  else listOf(wakes, to).push(wake);
  response.end();
}

function tellWake(visible, response) {
  const wake = listOf(wakes, visible).shift();
  if (wake) response.end(wake);
  else listOf(waiting, visible).push(response);
}

const server = createServer((request, response) => {
  const url = new URL(request.url, "http://partner");
  if (request.method === "GET" && url.pathname === JWKS_PATH) {
    response.setHeader("content-type", "application/json");
    response.end(jwks);
  } else if (request.method === "GET" && url.pathname === "/token" && url.searchParams.get("sub")) {
    response.end(token(url.searchParams));
  } else if (request.method === "GET" && url.pathname === "/wake") {
    tellWake(url.searchParams.get("to"), response);
  } else if (request.method === "POST" && url.pathname === "/interop/push") {
    takeWake(request, response);
  } else {
    response.statusCode = 404;
    response.end();
  }
});

// Whole or not there: somebody waits for these files.
function write(name, text) {
  const path = join(folder, name);
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

server.listen(0, "127.0.0.1", () => {
  const url = `http://127.0.0.1:${server.address().port}`;
  write(
    "partners.toml",
    `[[partner]]
number = ${NUMBER}
name = "Seven"
kind = "partner"
state = "active"
issuer = "${ISSUER}"
audience = "${AUDIENCE}"
algorithms = ["EdDSA", "ES256"]
jwks = "${url}${JWKS_PATH}"
push = "${url}/interop"
`,
  );
  write("partner.url", url);
});

process.stdin.on("end", () => process.exit(0)).resume();
