// Checks of the WebSocket door with ws: framing, subprotocol, Origin, and how the door is found.

import assert from "node:assert/strict";
import { request } from "node:https";

import WebSocket from "ws";

import { Checks, Queue, within } from "./checks.mjs";
import { AUTHORITY, DOMAIN, WEBSOCKET_PORT } from "./gateway.mjs";

const FRAMING = "urn:ietf:params:xml:ns:xmpp-framing";
const URL_ = `wss://${DOMAIN}:${WEBSOCKET_PORT}/xmpp-websocket`;
const OPEN = `<open xmlns="${FRAMING}" to="${DOMAIN}" version="1.0"/>`;

const checks = new Checks("websocket", process.argv[2]);

class Socket {
  trace = [];
  frames = new Queue();

  constructor(open, { protocols = ["xmpp"], ...options } = {}) {
    this.socket = new WebSocket(URL_, protocols, options);
    this.opened = new Promise((resolve, reject) => {
      this.socket.once("open", resolve);
      this.socket.once("error", reject);
      this.socket.once("unexpected-response", (_, response) =>
        reject(new Error(`status ${response.statusCode}`)),
      );
    });
    // Whoever waits for it is told; nobody may.
    this.opened.catch(() => {});
    this.closed = new Promise((resolve) => this.socket.once("close", resolve));
    this.socket.on("error", () => {});
    this.socket.on("message", (data, isBinary) => {
      this.trace.push(`< ${data}`);
      this.frames.push(isBinary ? data : data.toString());
    });
    open.push(this);
  }

  async ready() {
    await within(this.opened, "the socket");
    return this;
  }

  hear(what) {
    return this.frames.take(what);
  }

  async end() {
    this.socket.terminate();
  }
}

function get(path) {
  return new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port: WEBSOCKET_PORT, path, servername: DOMAIN, ca: AUTHORITY };
    const asked = request({ ...options, headers: { host: DOMAIN } }, async (answer) => {
      const parts = [];
      for await (const part of answer) parts.push(part);
      const { statusCode: status, headers } = answer;
      resolve({ status, headers, text: Buffer.concat(parts).toString() });
    });
    asked.on("error", reject).end();
  });
}

await checks.check("the subprotocol is xmpp, and each frame is one whole element", async (open) => {
  const socket = await new Socket(open).ready();
  assert.equal(socket.socket.protocol, "xmpp");
  socket.socket.send(OPEN);
  assert.match(await socket.hear("open"), /^<open [^>]*\/>$/);
  const features = await socket.hear("features");
  assert.match(features, /^<stream:features [^>]*xmlns:stream=["']http:\/\/etherx\.jabber\.org\/streams["']/);
  assert.match(features, /<\/stream:features>$/);
});

await checks.check("without the subprotocol there is no WebSocket", async (open) => {
  await assert.rejects(new Socket(open, { protocols: [] }).ready(), /status 4\d\d/);
  await assert.rejects(new Socket(open, { protocols: ["mqtt"] }).ready(), /status 4\d\d/);
  const several = await new Socket(open, { protocols: ["mqtt", "xmpp"] }).ready();
  assert.equal(several.socket.protocol, "xmpp");
});

await checks.check("a browser of a foreign origin is kept out", async (open) => {
  const socket = new Socket(open, { origin: "https://elsewhere.example" });
  await assert.rejects(socket.ready(), /status 403/);
});

await checks.check("fragments make one frame, and a ping is answered", async (open) => {
  const { socket, ...rest } = await new Socket(open).ready();
  const pong = new Promise((resolve) => socket.once("pong", (data) => resolve(String(data))));
  socket.send(OPEN.slice(0, 10), { fin: false });
  socket.ping("are you there");
  socket.send(OPEN.slice(10, 20), { fin: false });
  socket.send(OPEN.slice(20), { fin: true });
  assert.equal(await within(pong, "a pong"), "are you there");
  assert.match(await rest.frames.take("open"), /^<open /);
});

await checks.check("a stream is closed by close on both sides", async (open) => {
  const socket = await new Socket(open).ready();
  socket.socket.send(OPEN);
  await socket.hear("open");
  await socket.hear("features");
  socket.socket.send(`<close xmlns="${FRAMING}"/>`);
  assert.match(await socket.hear("close"), /^<close /);
  await within(socket.closed, "the end of the connection");
});

const BAD = [
  ["a binary frame", Buffer.from(OPEN), /not-well-formed|bad-format|policy-violation|unsupported/],
  ["a stream header of TCP", `<stream:stream to="${DOMAIN}" xmlns="jabber:client">`, /stream:error/],
  ["two elements in a frame", `${OPEN}${OPEN}`, /stream:error/],
  ["half an element", `<open xmlns="${FRAMING}"`, /stream:error/],
  ["a frame before login that is too large", `<open xmlns="${FRAMING}" to="${"x".repeat(20_000)}"/>`, /stream:error/],
];
for (const [what, frame, error] of BAD) {
  await checks.check(`${what} ends the stream`, async (open) => {
    const socket = await new Socket(open).ready();
    socket.socket.send(frame);
    const code = await within(socket.closed, "the end of the connection");
    const said = socket.trace.join("\n");
    assert.ok(error.test(said) || [1002, 1003, 1007, 1009].includes(code), `${code} ${said}`);
    assert.doesNotMatch(said, /mechanism/);
  });
}

await checks.check("host-meta tells where the door is, as XML and as JSON", async () => {
  const json = await get("/.well-known/host-meta.json");
  assert.equal(json.status, 200);
  const link = JSON.parse(json.text).links.find(
    ({ rel }) => rel === "urn:xmpp:alt-connections:websocket",
  );
  assert.match(link.href, /^wss:\/\//);
  const xml = await get("/.well-known/host-meta");
  assert.equal(xml.status, 200);
  assert.ok(xml.text.includes(link.href), xml.text);
  for (const { headers } of [json, xml]) {
    // Clients in browsers read it from other origins (RFC 7395 4).
    assert.equal(headers["access-control-allow-origin"], "*");
  }
});

process.exit(checks.status);
