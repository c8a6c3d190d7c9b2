// One user with one @xmpp/client, over TCP and TLS or over WebSocket.

import { webcrypto } from "node:crypto";

import { client, xml } from "@xmpp/client";
import WebSocket from "ws";

import { Queue, within } from "./checks.mjs";
import { DOMAIN, WEBSOCKET_PORT, XMPP_PORT } from "./gateway.mjs";

// Node 18 has neither of these.
globalThis.crypto ??= webcrypto;
globalThis.WebSocket ??= WebSocket;

export { xml };

export const SERVICES = {
  TCP: `xmpps://${DOMAIN}:${XMPP_PORT}`,
  WebSocket: `wss://${DOMAIN}:${WEBSOCKET_PORT}/xmpp-websocket`,
};

const SASL2 = "urn:xmpp:sasl:2";

export class Person {
  messages = new Queue();
  information = new Queue();
  errors = new Queue();
  presences = new Queue();
  late = [];
  // What the client said and heard.
  trace = [];

  // `classic` hides SASL2 from the client, so that it logs in as RFC 6120 says.
  constructor(user, { service = SERVICES.TCP, password = user.token, classic = false } = {}) {
    this.user = user;
    this.bare = `${user.account}@${DOMAIN}`;
    this.client = client({ service, domain: DOMAIN, username: user.account, password });
    this.client.reconnect.delay = 50;
    this.client.timeout = 10_000;
    this.#dontWaitForWrites();
    this.#watchTheEnd();
    this.client.on("element", (element) => this.trace.push(`< ${element}`));
    this.client.on("send", (element) => this.trace.push(`> ${element}`));
    this.client.on("error", (error) => this.errors.push(error));
    this.client.on("stanza", (stanza) => this.#take(stanza));
    if (classic) this.#hideSasl2();
  }

  // The library begins to wait for the server's stream header only when its own has left the
  // socket. On loopback the answer may be there before that, and the login waits for ever.
  #dontWaitForWrites() {
    const write = this.client.write.bind(this.client);
    this.client.write = async (text) => void write(text).catch(() => {});
  }

  // Nothing may come after the server has closed its stream (RFC 6120 4.4); the library would fall
  // over it.
  #watchTheEnd() {
    const take = this.client._onData.bind(this.client);
    this.client._onData = (data) => {
      if (this.client.parser) take(data);
      else this.late.push(String(data));
    };
  }

  #hideSasl2() {
    this.client.prependListener("element", (element) => {
      if (element.is("features")) element.remove(element.getChild("authentication", SASL2));
    });
  }

  #take(stanza) {
    if (stanza.is("presence")) this.presences.push(stanza);
    if (!stanza.is("message")) return;
    const ours = stanza.attrs.type === "headline" && stanza.attrs.from === DOMAIN;
    (ours ? this.information : this.messages).push(stanza);
  }

  async online(presence = true) {
    await within(this.client.start(), "login");
    if (presence) await this.client.send(xml("presence"));
    return this;
  }

  get full() {
    return this.client.jid.toString();
  }

  async say(to, body, id = crypto.randomUUID()) {
    const message = xml("message", { to: to.bare, type: "chat", id }, xml("body", {}, body));
    await this.client.send(message);
    return id;
  }

  hear(what = "a message") {
    return this.messages.take(`${what} for ${this.bare}`);
  }

  ask(type, to, payload) {
    return within(this.client.iqCaller.request(xml("iq", { type, to }, payload)), `${payload}`, 3000);
  }

  // Lets the socket go without a word. The client comes back by itself.
  cut() {
    const socket = this.client.socket.socket;
    if (socket.destroy) socket.destroy();
    else socket.terminate();
  }

  async end() {
    this.client.reconnect.stop();
    if (this.client.socket) await this.client.stop().catch(() => {});
    if (this.late.length > 0) throw new Error(`after the end of the stream: ${this.late}`);
  }
}
