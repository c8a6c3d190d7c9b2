// The Signal half of a user in JavaScript: Signal's own library, stores in memory, and the key
// stanzas of the gateway (`urn:entente:keys:0`).

import {
  CiphertextMessageType,
  IdentityChange,
  IdentityKeyStore,
  KEMKeyPair,
  KEMPublicKey,
  KyberPreKeyRecord,
  KyberPreKeyStore,
  PreKeyBundle,
  PreKeyRecord,
  PreKeySignalMessage,
  PreKeyStore,
  PrivateKey,
  ProtocolAddress,
  PublicKey,
  SessionRecord,
  SessionStore,
  SignalMessage,
  SignedPreKeyRecord,
  SignedPreKeyStore,
  processPreKeyBundle,
  signalDecrypt,
  signalDecryptPreKey,
  signalEncrypt,
} from "@signalapp/libsignal-client";

import { raw } from "./enlist.mjs";
import { xml } from "./xmppjs_person.mjs";

export const KEYS = "urn:entente:keys:0";
export const ENC = "urn:entente:signal:0";
// The framework has one device an account.
const DEVICE = 1;
// The byte that the wire leaves out before a Curve25519 key.
const DJB = Buffer.from([5]);

const text = (bytes) => Buffer.from(bytes).toString("base64");
// The library asks for arrays with a buffer of their own, which Buffer has not.
const bytes = (base64) => new Uint8Array(Buffer.from(base64, "base64"));
const point = (base64) => PublicKey.deserialize(new Uint8Array(Buffer.concat([DJB, bytes(base64)])));
const addressOf = (account) => ProtocolAddress.new(account, DEVICE);
const accountOf = (address) => address.split("@")[0];

// Records by name or id; what is not there is an error, as the library expects.
class Records extends Map {
  need(id) {
    if (!this.has(id)) throw new Error(`no record ${id}`);
    return this.get(id);
  }
}

class Sessions extends SessionStore {
  #records = new Records();
  async saveSession(name, record) {
    this.#records.set(name.toString(), record.serialize());
  }
  async getSession(name) {
    const record = this.#records.get(name.toString());
    return record ? SessionRecord.deserialize(record) : null;
  }
  async getExistingSessions(names) {
    return Promise.all(names.map((name) => this.getSession(name)));
  }
}

class Identities extends IdentityKeyStore {
  #known = new Map();
  constructor(keys) {
    super();
    this.keys = keys;
  }
  async getIdentityKey() {
    return this.keys.identity.privateKey;
  }
  async getLocalRegistrationId() {
    return this.keys.registration;
  }
  async saveIdentity(name, key) {
    const known = this.#known.get(name.toString());
    this.#known.set(name.toString(), key);
    return known && !known.equals(key)
      ? IdentityChange.ReplacedExisting
      : IdentityChange.NewOrUnchanged;
  }
  async isTrustedIdentity(name, key) {
    const known = this.#known.get(name.toString());
    return !known || known.equals(key);
  }
  async getIdentity(name) {
    return this.#known.get(name.toString()) ?? null;
  }
}

class Prekeys extends PreKeyStore {
  records = new Records();
  async savePreKey(id, record) {
    this.records.set(id, record);
  }
  async getPreKey(id) {
    return this.records.need(id);
  }
  async removePreKey(id) {
    this.records.delete(id);
  }
}

class SignedPrekeys extends SignedPreKeyStore {
  #records = new Records();
  async saveSignedPreKey(id, record) {
    this.#records.set(id, record);
  }
  async getSignedPreKey(id) {
    return this.#records.need(id);
  }
}

class KyberPrekeys extends KyberPreKeyStore {
  records = new Records();
  lastResort = null;
  #used = new Set();
  async saveKyberPreKey(id, record) {
    this.records.set(id, record);
  }
  async getKyberPreKey(id) {
    return this.records.need(id);
  }
  async markKyberPreKeyUsed(id, signedId, baseKey) {
    if (id !== this.lastResort) {
      this.records.delete(id);
      return;
    }
    const use = `${id} ${signedId} ${text(baseKey.serialize())}`;
    if (this.#used.has(use)) throw new Error("a base key was used twice");
    this.#used.add(use);
  }
}

export class SignalUser {
  #prekeys = new Prekeys();
  #signed = new SignedPrekeys();
  #kyber = new KyberPrekeys();
  #sessions = new Sessions();
  #nextId = 100;

  constructor(account, keys) {
    this.here = addressOf(account);
    this.keys = keys;
    this.identities = new Identities(keys);
    const { id, key, signature } = keys.signed;
    const record = SignedPreKeyRecord.new(id, Date.now(), key.getPublicKey(), key, signature);
    this.#signed.saveSignedPreKey(id, record);
  }

  get oneTimeLeft() {
    return { oneTime: this.#prekeys.records.size, kyber: this.#kyber.records.size };
  }

  // The payload of an upload: so many one-time keys of each kind, and a last-resort key.
  async upload(count) {
    const payload = xml("prekeys", KEYS);
    const last = await this.#newKyber();
    this.#kyber.lastResort = last.id;
    payload.append(this.#kyberElement("last-resort", last));
    for (let made = 0; made < count; made += 1) {
      const id = this.#nextId++;
      const key = PrivateKey.generate();
      await this.#prekeys.savePreKey(id, PreKeyRecord.new(id, key.getPublicKey(), key));
      payload.append(xml("one-time", { id: String(id) }, text(raw(key.getPublicKey()))));
      payload.append(this.#kyberElement("kyber", await this.#newKyber()));
    }
    return payload;
  }

  async #newKyber() {
    const id = this.#nextId++;
    const pair = KEMKeyPair.generate();
    const key = pair.getPublicKey().serialize();
    const signature = this.keys.identity.privateKey.sign(key);
    const record = KyberPreKeyRecord.new(id, Date.now(), pair, signature);
    await this.#kyber.saveKyberPreKey(id, record);
    return { id, key, signature };
  }

  #kyberElement(name, { id, key, signature }) {
    return xml(name, { id: String(id), sig: text(signature) }, text(key));
  }

  // Opens a session from a bundle as the gateway serves it. Says which keys it had.
  async open(bundle) {
    const child = (name) => bundle.getChild(name, KEYS);
    const signed = child("signed");
    const oneTime = child("one-time");
    const kyber = child("kyber") ?? child("last-resort");
    const made = PreKeyBundle.new(
      Number(bundle.attrs.registration),
      DEVICE,
      oneTime ? Number(oneTime.attrs.id) : null,
      oneTime ? point(oneTime.text()) : null,
      Number(signed.attrs.id),
      point(signed.text()),
      bytes(signed.attrs.sig),
      point(child("identity").text()),
      Number(kyber.attrs.id),
      KEMPublicKey.deserialize(bytes(kyber.text())),
      bytes(kyber.attrs.sig),
    );
    const peer = addressOf(accountOf(bundle.attrs.jid));
    await processPreKeyBundle(made, peer, this.here, this.#sessions, this.identities);
    return { oneTime: Boolean(oneTime), kyber: kyber.name };
  }

  // The element that carries a text to a peer.
  async seal(address, plain) {
    const sealed = await signalEncrypt(
      new Uint8Array(Buffer.from(plain)),
      addressOf(accountOf(address)),
      this.here,
      this.#sessions,
      this.identities,
    );
    const type = sealed.type() === CiphertextMessageType.PreKey ? "pkmsg" : "msg";
    return xml("enc", { xmlns: ENC, type }, text(sealed.serialize()));
  }

  // The text in a message, and in which form it came.
  async unseal(message) {
    const enc = message.getChild("enc", ENC);
    const sealed = bytes(enc.text());
    const peer = addressOf(accountOf(message.attrs.from));
    const stores = [peer, this.here, this.#sessions, this.identities];
    const plain =
      enc.attrs.type === "pkmsg"
        ? await signalDecryptPreKey(
            PreKeySignalMessage.deserialize(sealed),
            ...stores,
            this.#prekeys,
            this.#signed,
            this.#kyber,
          )
        : await signalDecrypt(SignalMessage.deserialize(sealed), ...stores);
    return { plain: Buffer.from(plain).toString(), type: enc.attrs.type };
  }
}
