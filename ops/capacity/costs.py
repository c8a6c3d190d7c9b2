"""What a round says of unit costs, and costs.json of all rounds.

    ops/capacity/costs.py --self-test

In: runs as `measured.py` writes them. Out: constants with median, least and greatest of the rounds, the
command behind each, and whether most of its rounds were quiet.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

PARTS = ("rest", "saturated", "half", "large", "logins", "idle", "away")
SMALL_BYTES, LARGE_BYTES = 512, 4096
ROLES = ("connection", "router", "identity", "push", "broker", "redis")
# Steal and foreign CPU time above which a run is noisy, in per cent of the machine.
NOISE = 5.0
FORMAT = 1


class Missing(Exception):
    """A part that has no rounds; the text says which."""


def per(name, scale=1.0, of="delivered"):
    """A counter for each message, login or wake-up."""

    def value(run):
        count = run["counters"]["logins"] if of == "logins" else run[of]
        return scale * run["used"].get(name, 0) / count

    return value


def micros(role, of="delivered"):
    return per(f"cpu.{role}", 1e6, of)


def per_session(role):
    """Memory that sessions added, for each."""

    def value(run):
        return (run["used"][f"rss.{role}.end"] - run["before"][f"rss.{role}"]) / run["sessions"]

    return value


def per_account(run):
    """Memory of the router that enlisting added, for each account."""
    return (run["before"]["rss.router"] - run["first"]["rss.router"]) / run["sessions"]


def direct():
    """(name, unit, part, meaning, value of a run) of the constants that one run tells."""
    for role in ROLES:
        us = "µs of CPU a message"
        yield f"cpu.message.{role}.saturated", us, "saturated", f"{role}, nearly all of its core used", micros(role)
        yield f"cpu.message.{role}", us, "half", f"{role}, at half of that rate", micros(role)
        yield f"cpu.login.{role}", "µs of CPU a login", "logins", f"{role}, for a full login", micros(role, "logins")
        at_rest = lambda run, role=role: run["used"][f"cpu.{role}"] / run["seconds"]  # noqa: E731
        yield f"cpu.rest.{role}", "cores", "rest", f"{role}, when nobody asks anything of it", at_rest
    for topic in ("input", "state"):
        text = f"topic {topic}, one copy, {SMALL_BYTES} bytes of body"
        yield f"log.message.{topic}", "bytes a message", "saturated", text, per(f"topic.{topic}")
        yield f"log.login.{topic}", "bytes a login", "logins", f"topic {topic}", per(f"topic.{topic}", of="logins")
        text = f"topic {topic}, to a user who is away and comes back"
        yield f"log.waiting.{topic}", "bytes a message", "away", text, per(f"topic.{topic}")
    yield "log.wake", "bytes a wake-up", "away", "topics wake and wake-state", wakes
    for door in ("router", "broker", "clients"):
        for way, text in (("taken", "into"), ("sent", "out of")):
            words = f"{text} the {door}'s door" if door != "clients" else f"{text} the connection node, TLS"
            name = f"network.message.{door}.{way}"
            yield name, "bytes a message", "saturated", words, per(f"{way}.{door}")
    yield "redis.message", "commands a message", "saturated", "Redis", per("redis.commands")
    yield "redis.login", "commands a login", "logins", "Redis", per("redis.commands", of="logins")
    yield "memory.session.connection", "bytes a session", "idle", "connection, RSS", per_session("connection")
    yield "memory.session.router", "bytes a session", "idle", "router, RSS", per_session("router")
    yield "memory.account.router", "bytes an account", "idle", "router, RSS; identity keys of one device", per_account
    for role in ("connection", "router"):
        text = f"{role}, with a keep-alive each 10 s"
        yield f"cpu.idle.{role}", "µs of CPU a session and second", "idle", text, idle(role)


def wakes(run):
    return (run["used"]["topic.wake"] + run["used"]["topic.wake-state"]) / run["woken"]


def idle(role):
    def value(run):
        return 1e6 * run["used"][f"cpu.{role}"] / run["seconds"] / run["sessions"]

    return value


def growth():
    """(name, unit, meaning, counter, scale) of what a message costs for each KiB of its body, from the
    large messages beside the small ones of the same round."""
    for role in ("connection", "router", "broker"):
        yield f"cpu.kib.{role}", "µs of CPU a KiB", f"{role}, of the body", f"cpu.{role}", 1e6
    for topic in ("input", "state"):
        yield f"log.kib.{topic}", "bytes a KiB", f"topic {topic}", f"topic.{topic}", 1.0


def wakings():
    """(name, unit, meaning, role) of what a wake-up costs beside the messages for which it is: those are
    counted as messages, and what else it takes to keep them and to come back for them is counted here."""
    for role in ("push", "router", "connection", "broker"):
        text = f"{role}, and what it takes to keep messages and to come back for them"
        yield f"cpu.wake.{role}", "µs of CPU a wake-up", text, role


def beside_rest(runs, rests):
    """Runs without what each process uses when nobody asks anything of it."""
    cores = {f"cpu.{role}": statistics.median(run["used"][f"cpu.{role}"] / run["seconds"] for run in rests) for role in ROLES}
    for run in runs:
        net = {name: max(0.0, run["used"][name] - share * run["seconds"]) for name, share in cores.items()}
        yield run | {"used": run["used"] | net}


def constants(runs):
    """All constants, by name."""
    parts = {part: [run for run in runs if run["part"] == part] for part in PARTS}
    missing = [part for part, found in parts.items() if not found]
    if missing:
        raise Missing(f"no round of {', '.join(missing)}: measure run {' '.join(missing)}")
    for part in set(PARTS) - {"rest"}:
        parts[part] = list(beside_rest(parts[part], parts["rest"]))
    found = {}
    for name, unit, part, meaning, value in direct():
        rounds = parts[part]
        values = [value(run) for run in rounds]
        found[name] = constant(values, unit, meaning, rounds)
    for name, unit, meaning, counter, scale in growth():
        pairs = list(zip(parts["saturated"], parts["large"], strict=False))
        kib = (LARGE_BYTES - SMALL_BYTES) / 1024
        values = [(per(counter, scale)(large) - per(counter, scale)(small)) / kib for small, large in pairs]
        found[name] = constant(values, unit, meaning, [large for _, large in pairs])
    for name, unit, meaning, role in wakings():
        message = found[f"cpu.message.{role}"]["value"]
        rounds = parts["away"]
        values = [micros(role, "woken")(run) - message * run["delivered"] / run["woken"] for run in rounds]
        found[name] = constant(values, unit, meaning, rounds)
    return found


def constant(values, unit, meaning, rounds):
    noisy = [run.get("steal", 0) + run.get("foreign", 0) > NOISE for run in rounds]
    return {
        "value": significant(statistics.median(values)),
        "least": significant(min(values)),
        "greatest": significant(max(values)),
        "rounds": len(values),
        "noisy_rounds": sum(noisy),
        "unit": unit,
        "meaning": meaning,
        "part": rounds[0]["part"],
        "command": rounds[0]["command"],
    }


def significant(value):
    """Four digits: more would be noise."""
    return float(f"{value:.4g}")


def document(runs, root):
    """costs.json."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    said = subprocess.run(
        ["git", "-C", root, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    reached = [run for run in runs if run["part"] in ("saturated", "half")]
    facts = {
        "format": FORMAT,
        "made_by": "ops/capacity/measure",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": {
            "cores": os.cpu_count(),
            "model": models[0].partition(":")[2].strip() if models else platform.machine(),
            "kernel": platform.release(),
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        },
        "setting": "one connection node, router, identity and push node, together on core 0; one broker (one copy of "
        "each record, one partition a shard, 8 shards), Redis and the generator on core 1; TLS 1.3, XEP-0198",
        "revision": said.stdout.strip(),
        "runs": [
            {
                "part": run["part"],
                "messages_a_second": round(run["rate"]),
                "p99_ms": run["p99_ms"],
                "generator_full": run["generator_full"],
                "steal_percent": round(run["steal"], 1),
                "foreign_percent": round(run["foreign"], 1),
            }
            for run in reached
        ],
        "constants": constants(runs),
    }
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


def self_test():
    """Numbers that were worked out by hand."""

    def run(part, **more):
        # 0.05 cores at rest, and twice a second's work in ten beside it.
        used = {f"cpu.{role}": 0.5 if part == "rest" else 2.5 for role in ROLES}
        used |= {"topic.input": 1_000_000, "topic.state": 500, "topic.wake": 300, "topic.wake-state": 200}
        used |= {"redis.commands": 50, "rss.connection.end": 9_000_000, "rss.router.end": 5_000_000}
        return {
            "part": part, "counters": {"logins": 100, "delivered": 1000}, "delivered": 1000, "woken": 5, "seconds": 10.0,
            "sessions": 1000, "used": used, "before": {"rss.connection": 1_000_000, "rss.router": 4_000_000},
            "first": {"rss.router": 3_000_000}, "steal": 0.0, "foreign": 1.0, "command": "c", **more,
        }  # fmt: skip

    runs = [run(part) for part in PARTS]
    found = constants(runs)
    assert found["cpu.message.router"]["value"] == 2000.0 and found["cpu.message.router"]["part"] == "half"
    assert found["cpu.login.identity"]["value"] == 20_000.0
    assert found["cpu.rest.router"]["value"] == 0.05
    # 2 s over 5 wake-ups, which are for 1,000 messages of 2,000 µs: nothing is left.
    assert found["cpu.wake.push"]["value"] == 0.0
    dear = [run("away", used=runs[0]["used"] | run("away")["used"] | {"cpu.push": 3.5}) if each["part"] == "away" else each for each in runs]
    assert constants(dear)["cpu.wake.push"]["value"] == 200_000.0
    assert found["log.message.input"]["value"] == 1000.0 and found["log.wake"]["value"] == 100.0
    assert found["memory.session.connection"]["value"] == 8000.0
    assert found["memory.session.router"]["value"] == 1000.0
    assert found["memory.account.router"]["value"] == 1000.0
    assert found["redis.login"]["value"] == 0.5
    assert found["cpu.idle.router"]["value"] == 200.0
    assert found["cpu.kib.router"]["value"] == 0.0, "large and small cost the same here"
    # Large ones that are twice as dear, over 3.5 KiB.
    dear = [run("large", used=run("large")["used"] | {"cpu.router": 9.5}) if each["part"] == "large" else each for each in runs]
    assert constants(dear)["cpu.kib.router"]["value"] == 2000.0
    # Three rounds: the median and its bounds; noise is counted and not hidden.
    more = [run("half", delivered=500), run("half", delivered=4000, foreign=9.0)]
    spread = constants(runs + more)["cpu.message.router"]
    assert [spread[each] for each in ("least", "value", "greatest")] == [500.0, 2000.0, 4000.0]
    assert (spread["rounds"], spread["noisy_rounds"]) == (3, 1)
    try:
        constants(runs[1:])
    except Missing as missing:
        assert "rest" in str(missing)
    else:
        raise AssertionError("a part without rounds passed")


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
