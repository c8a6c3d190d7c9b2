#!/usr/bin/env python3
"""One round of some parts on the cluster that `measure up` started, and costs.json of all rounds.

    measure run rest saturated half large logins idle away    a round; each part takes up to 50 s
    measure write

Parts: `warm` loads for 30 s and is not counted; `rest` looks on for 10 s; `saturated` is a closed loop of
50 pairs with ten messages of 512 bytes under way in each; `half` an open loop at half the rate
that this reached last; `large` the closed loop with 4,096 bytes; `logins` 32 users in and out; `idle` 4,000
sessions with a keep-alive each 10 s; `away` 1,000 users who are away while messages come, and are woken.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import costs
import watch

ROOT = watch.HERE.parent.parent
SMALL, LARGE = costs.SMALL_BYTES, costs.LARGE_BYTES
IDLE_USERS, AWAY_PAIRS = 4000, 1000
LOSSLESS = '["lost == 0", "unknown == 0", "duplicated == 0", "errors == 0"]'
NO_ERRORS = 'thresholds=["errors == 0"]'
# Exit statuses of the generator whose result is whole: held, missed, and full or noisy.
WHOLE = (0, 99, 98)
PATIENCE = 180
RECORD = re.compile(r"^\[\[partner\]\]\n(?:.*\n)*?sessions = \d+\n", re.MULTILINE)


class Failed(Exception):
    """A part that could not be measured; the text says why."""


def scenario(part, runs):
    """Words for the generator."""
    pairs = ["pairs", "--users", "100", "--set", f"thresholds={LOSSLESS}"]
    if part == "warm":
        return [*pairs, "--window", "10", "--time", "30s"]
    if part == "saturated":
        return [*pairs, "--window", "10", "--time", "12s"]
    if part == "half":
        reached = [run["rate"] for run in runs if run["part"] == "saturated"]
        if not reached:
            raise Failed("half: half of what? `saturated` comes before it")
        return [*pairs, "--rate", f"{reached[-1] / 2:.0f}", "--time", "12s"]
    if part == "large":
        sizes = f"load.sizes=[{{bytes={LARGE},weight=1.0}}]"
        return [*pairs, "--window", "10", "--time", "12s", "--set", sizes]
    if part == "logins":
        return ["login-storm", "--users", "32", "--time", "12s", "--set", NO_ERRORS]
    if part == "idle":
        keep_alive = ["--set", "sessions.keep_alive=10s", "--set", NO_ERRORS]
        return ["idle", "--users", str(IDLE_USERS), "--time", "20s", *keep_alive]
    if part == "away":
        lossless = ["--set", f"thresholds={LOSSLESS}"]
        return ["offline-burst", "--users", str(2 * AWAY_PAIRS), "--time", "20s", "--set", "load.rate=1000", *lossless]
    raise Failed(f"there is no part {part}")


def command(options, part, runs, place, number, out):
    """The whole command; `number` tells its users and its partner from those of other runs."""
    target = {
        "kind": "entente",
        "address": f"127.0.0.1:{place.xmpp}",
        "enlist": f"127.0.0.1:{place.enlist}",
        "partner": f"127.0.0.1:{place.partner + number}",
        "partner_number": 7 + number,
    }
    words = [options.generator, "run", *scenario(part, runs), "--plain", "--out", out]
    words += ["--set", f"run.cores=[{options.generator_core}]", "--set", f"run.part={number}"]
    for key, value in target.items():
        words += ["--set", f"target.{key}={value}"]
    return [str(each) for each in words]


def tell_partner(words, place, core):
    """Writes the record that the generator prints of its partner where the gateway reads it."""
    running = subprocess.Popen(pinned(words, core), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = ""
    try:
        for line in running.stdout:
            said += line
            if found := RECORD.search(said):
                break
        else:
            raise Failed(f"the generator says no record of its partner: {said[-500:]}")
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=PATIENCE)
    (place.root_of_cluster / "partners.toml").write_text(found[0])
    place.reload()


def pinned(words, core):
    return ["taskset", "-c", str(core), *words]


def rest(place):
    """What the cluster uses when nobody asks anything of it."""
    seen = watch.Watch(place)
    time.sleep(1)
    begin = time.time()
    time.sleep(10)
    until = time.time()
    seen.end()
    return {"seconds": until - begin, "used": seen.between(begin, until), "command": "measure run rest"}


def load(options, part, runs, place, number):
    """Makes one run and says what it used."""
    out = options.folder / "results" / f"{number}-{part}"
    words = command(options, part, runs, place, number, out)
    tell_partner(words, place, options.generator_core)
    running = subprocess.Popen(
        pinned(words, options.generator_core), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    seen = watch.Watch(place, [running.pid])
    try:
        said, _ = running.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        running.terminate()
        running.communicate()
        raise Failed(f"{part} took more than {PATIENCE} s") from error
    finally:
        seen.end()
    file = out / "result.json"
    if running.returncode not in WHOLE or not file.exists():
        raise Failed(f"{part}: the generator ended with {running.returncode}: {said[-800:]}")
    return facts(part, json.loads(file.read_text()), seen) | {"command": " ".join(told(words))}


def told(words):
    """A command as people can use it: without the folders of this machine."""
    return [Path(word).name if word.startswith("/") else word for word in words]


def facts(part, result, seen):
    """What costs are worked out from."""
    begun = result["started_ms"] / 1000
    phases = {phase["name"]: phase for phase in result["phases"]}
    loaded = phases["load"]
    fatal = [each for each in result["findings"] if each["invalidates"]]
    full = [each for each in fatal if each["kind"] == "generator_saturated"]
    missed = [each["text"] for each in result["thresholds"] if not each["held"]]
    if missed or len(full) < len(fatal):
        raise Failed(f"{part}: {missed} {[each['detail'] for each in fatal]}")
    begin, until = begun + loaded["from_us"] / 1e6, begun + loaded["until_us"] / 1e6
    if part == "away":
        # Those who are away come back, and get what waited, in the drain too.
        until = begun + result["duration_us"] / 1e6
        until = min(until, seen.samples[-1]["at"])
    # When all accounts are enlisted and nobody is connected.
    before = begun + phases["connect"]["from_us"] / 1e6
    used = seen.between(begin, until)
    room = (until - begin) * os.cpu_count()
    return {
        "counters": loaded["counters"],
        "delivered": result["figures"].get("delivered", loaded["counters"]["delivered"]),
        "rate": result["figures"].get("rate", 0),
        "p99_ms": result["figures"].get("p99_ms"),
        "sessions": loaded["sessions"],
        "seconds": until - begin,
        "used": used,
        "before": {name: value for name, value in seen.at(before).items() if name.startswith("rss.")},
        "first": {name: value for name, value in seen.samples[0].items() if name.startswith("rss.")},
        "woken": woken(result),
        "generator_full": bool(full),
        "phases": sorted(phases),
        "steal": 100 * used["steal"] / room,
        "foreign": 100 * used["foreign"] / room,
    }


def woken(result):
    """Wake-ups that the built-in partner verified."""
    for each in result["findings"]:
        if found := re.search(r"wake-ups at the built-in partner: (\d+) verified", each["detail"]):
            return int(found[1])
    return 0


def arguments():
    parser = argparse.ArgumentParser(
        prog="measure", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--generator", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--generator-core", type=int, required=True, help=argparse.SUPPRESS)
    parser.add_argument("action", choices=("run", "write"))
    parser.add_argument("parts", nargs="*")
    options = parser.parse_args()
    known = ("warm", *costs.PARTS)
    unknown = [part for part in options.parts if part not in known]
    if unknown or (options.action == "run") != bool(options.parts):
        parser.error(f"run takes parts of {', '.join(known)}; write takes none")
    return options


def main():
    options = arguments()
    file = options.folder / "rounds.json"
    runs = json.loads(file.read_text()) if file.exists() else []
    if options.action == "write":
        text = costs.document(runs, ROOT)
        (watch.HERE / "costs.json").write_text(text)
        print(f"{len(runs)} runs: ops/capacity/costs.json")
        return 0
    place = watch.Place(
        ROOT,
        os.environ["ENTENTE_KAFKA_HOME"],
        int(os.environ["ENTENTE_CLUSTER_PORT"]),
        int(os.environ["ENTENTE_KAFKA_PORT"]),
    )
    place.root_of_cluster = Path(os.environ["ENTENTE_CLUSTER_DIR"])
    # Also after a part that failed, whose users are enlisted.
    counted = options.folder / "number"
    for part in options.parts:
        number = int(counted.read_text()) + 1 if counted.exists() else 1
        counted.write_text(str(number))
        try:
            run = rest(place) if part == "rest" else load(options, part, runs, place, number)
        except Failed as failure:
            print(failure, file=sys.stderr)
            return 1
        if part != "warm":
            runs.append({"part": part, **run})
            file.write_text(json.dumps(runs, indent=1) + "\n")
        noise = f"steal {run.get('steal', 0):.1f} %, foreign {run.get('foreign', 0):.1f} %"
        print(f"{part}: {run.get('rate', 0):,.0f} messages/s, {noise}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
