// Where the gateway under test is. `run` sets these.

import dns from "node:dns";
import { readFileSync } from "node:fs";

function setting(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; start the checks through ops/clients/run`);
  return value;
}

export const DOMAIN = setting("CLIENTS_DOMAIN");
export const AUTHORITY = readFileSync(setting("CLIENTS_CA"));
export const XMPP_PORT = Number(setting("CLIENTS_XMPP_PORT"));
export const WEBSOCKET_PORT = Number(setting("CLIENTS_WEBSOCKET_PORT"));
export const HTTP_PORT = Number(setting("CLIENTS_HTTP_PORT"));
export const PARTNER = setting("CLIENTS_PARTNER");
export const PARTNER_NUMBER = 7;

// Libraries connect to the domain by its name, so that they check the certificate against it; the
// name is known to nobody but this process.
const { lookup } = dns;
dns.lookup = (name, options, done) => {
  if (name !== DOMAIN) return lookup(name, options, done);
  const [how, tell] = typeof options === "function" ? [{}, options] : [options, done];
  const found = { address: "127.0.0.1", family: 4 };
  return how.all ? tell(null, [found]) : tell(null, found.address, found.family);
};
