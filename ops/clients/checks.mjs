// Runs named checks one after the other and prints a line for each.

import { setTimeout as after } from "node:timers/promises";

const LONGEST = 30_000;

export class Checks {
  #who;
  #only;
  #failed = 0;

  constructor(who, only) {
    this.#who = who;
    this.#only = only;
  }

  // A check fails if it throws or takes too long. `story` gets what must be ended afterwards.
  async check(name, story) {
    if (this.#only && !name.includes(this.#only)) return;
    const open = [];
    const errors = [];
    await within(story(open), "the check", LONGEST).catch((error) => errors.push(error));
    for (const each of open) await each.end().catch((error) => errors.push(error));
    if (errors.length === 0) {
      console.log(`ok    ${this.#who}: ${name}`);
      return;
    }
    this.#failed += 1;
    for (const error of errors) {
      console.log(`FAIL  ${this.#who}: ${name}: ${error.stack ?? error}`);
    }
    if (process.env.CLIENTS_LOG) {
      for (const each of open) console.log(each.trace.join("\n"));
    }
  }

  get status() {
    return this.#failed === 0 ? 0 : 1;
  }
}

// Waits for a promise, and says what did not come.
export async function within(promise, what, milliseconds = 10_000) {
  const late = new AbortController();
  const timer = after(milliseconds, null, { signal: late.signal }).then(
    () => {
      throw new Error(`${what}: nothing after ${milliseconds} ms`);
    },
    () => {},
  );
  try {
    return await Promise.race([promise, timer]);
  } finally {
    late.abort();
  }
}

// Things that come one by one and are taken one by one.
export class Queue {
  #items = [];
  #takers = [];

  push(item) {
    const taker = this.#takers.shift();
    if (taker) taker(item);
    else this.#items.push(item);
  }

  take(what, milliseconds) {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    const promise = new Promise((resolve) => this.#takers.push(resolve));
    return within(promise, what, milliseconds);
  }

  get size() {
    return this.#items.length;
  }
}
