#!/usr/bin/env python3
"""Loads several servers in turn with the same scenarios and sets their figures side by side.

`ops/peers` builds what it needs and calls it. Servers: entente, ejabberd, prosody,
prosody-lean (for idle alone), relay and relay-gather. Scenarios:

    pairs-1    50 pairs in a closed loop, one message of 512 bytes under way in each
    pairs-10   the same with ten under way
    idle       sessions that say nothing but a keep-alive each 10 s: memory and CPU time
    logins     32 users who log in and out as fast as they can

Each run has a fresh server on one core, the generator on the other, and leaves result.json. Rounds
are interleaved: all servers run a scenario before the next, and begin with another one each round.

Exit status: 0 the table says something; 98 the machine was too noisy, or runs are missing; 1 a
server could not be started; 2 wrong usage.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from table import COLUMNS, Table

HERE = Path(__file__).resolve().parent
SERVERS = ("entente", "ejabberd", "prosody", "prosody-lean", "relay", "relay-gather")
# Those that differ from another in one thing alone.
ONLY = {"prosody-lean": ["idle"]}
SERVER_CORE = 0
GENERATOR_CORE = 1
PAIRS_USERS = 100
KEEP_ALIVE = 10
SCENARIOS = {
    "pairs-1": ["pairs", "--window", "1", "--users", str(PAIRS_USERS)],
    "pairs-10": ["pairs", "--window", "10", "--users", str(PAIRS_USERS)],
    "idle": ["idle", "--set", f"sessions.keep_alive={KEEP_ALIVE}s"],
    # Costs need no percentiles, which need a thousand logins.
    "logins": ["login-storm", "--users", "32", "--set", 'thresholds=["errors == 0"]'],
}
# Options that the table speaks of.
KEPT = ("servers", "scenarios", "rounds", "seconds", "sessions", "noise")
# Exit statuses of the generator.
HELD, MISSED, INVALID = 0, 99, 98
# A run that hangs must not hang the rest: logins, warm-up and drain on top of what is measured.
PATIENCE = 300
# How far from the measured span a sample of the machine may lie.
SLACK_US = 1_250_000


class Failed(Exception):
    """A run that could not be made; the text says why."""


def call(command, patience, errors=subprocess.PIPE):
    """Runs a program to its end; returns its exit status and what it said on each stream."""
    words = [str(each) for each in command]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True) as running:
        try:
            out, complaint = running.communicate(timeout=patience)
        except BaseException as error:
            # Also when we are interrupted: not killed, for it ends the server that it started.
            running.terminate()
            running.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise Failed(f"{words[0]} {words[1]} took more than {patience} s") from error
            raise
    return running.returncode, out, complaint


def fresh(server, options, folder):
    """Starts a peer; returns what `peer up` printed."""
    name, template = options.variants.get(server, (server, None))
    users = max(options.sessions, PAIRS_USERS)
    command = [HERE / "peer", "up", name, "--dir", folder, "--core", SERVER_CORE, "--users", users]
    command += ["--template", template] if template else []
    status, out, complaint = call(command, PATIENCE)
    if status:
        # The folder with its logs would stand in the way of the next; what matters was printed.
        shutil.rmtree(folder / name, ignore_errors=True)
        raise Failed(complaint.strip() or f"{name} did not start")
    return json.loads(out)


def stop(facts, folder):
    """Ends a peer. One that does not end is said, and fails the next that needs its folder."""
    status, _, complaint = call([HERE / "peer", "down", facts["name"], "--dir", folder], PATIENCE)
    if status:
        print(complaint.strip(), file=sys.stderr)


def target(facts):
    """Settings that lead the generator to a peer."""
    settings = {
        "kind": "xmpp",
        "address": f"{facts['host']}:{facts['port']}",
        "domain": facts["domain"],
        "transport": "tls",
        "sasl": "plain",
        "tls.trust": "file",
        "tls.authority": facts["ca"],
        "accounts.user": facts["user"],
        "accounts.password": facts["password"],
        "accounts.first": facts["first"],
        "process": facts["pid"],
    }
    return [word for key, value in settings.items() for word in ("--set", f"target.{key}={value}")]


def load(scenario, server, number, options, folder):
    """Makes one run, and says what came of it."""
    out = options.out / "runs" / f"{scenario}-{server}-{number}"
    shutil.rmtree(out, ignore_errors=True)
    command = [options.generator, "run", *SCENARIOS[scenario], "--plain", "--out", out]
    seconds = options.seconds
    if scenario == "idle":
        # Less than one keep-alive for each would be somebody's luck.
        seconds = max(seconds, KEEP_ALIVE)
        command += ["--users", options.sessions]
    command += ["--time", f"{seconds}s", "--set", f"run.cores=[{GENERATOR_CORE}]"]
    run = {"scenario": scenario, "server": server, "round": number, "versions": {}}
    facts = None
    try:
        if server == "entente":
            command += ["--server", options.entente, "--set", f"target.core={SERVER_CORE}"]
        else:
            facts = fresh(server, options, folder)
            run["versions"] = facts["versions"]
            command += target(facts)
        status, words, _ = call(command, seconds + PATIENCE, errors=subprocess.STDOUT)
        return run | read(out / "result.json", options, status, words)
    except Failed as failure:
        return run | broken(str(failure))
    finally:
        if facts:
            stop(facts, folder)


def broken(why):
    """A run that is no number."""
    return {"figures": {}, "steal": None, "foreign": None, "noisy": False, "broken": why, "marks": "", "notes": []}


def read(file, options, status, words):
    """What the table needs of a result."""
    if status not in (HELD, MISSED, INVALID) or not file.exists():
        return broken(f"the generator ended with {status}: {' '.join(words.splitlines()[-3:])}")
    result = json.loads(file.read_text())
    fatal = [each for each in result["findings"] if each["invalidates"]]
    full = [each for each in fatal if each["kind"] == "generator_saturated"]
    if len(full) < len(fatal):
        return broken("; ".join(each["detail"] for each in fatal))
    missed = [each["text"] for each in result["thresholds"] if not each["held"]]
    steal, foreign = noise(result)
    found = broken(None) | {"figures": result["figures"], "steal": steal, "foreign": foreign}
    if steal is None:
        return found | {"broken": "the machine was not sampled"}
    found["noisy"] = steal + foreign > options.noise
    found["marks"] = ("<" if full else "") + ("!" if missed else "")
    found["notes"] = [f"missed: {each}" for each in missed] + (["generator full"] if full else [])
    return found


def noise(result):
    """Steal and foreign CPU time in the measured span, in per cent of the machine."""
    spans = [(each["from_us"], each["until_us"]) for each in result["phases"] if each["name"] == "load"]
    steal = foreign = room = 0
    for begin, end in spans:
        for machine in result["machines"]:
            seen = [each for each in machine["samples"] if begin - SLACK_US <= each["at_us"] <= end + SLACK_US]
            if len(seen) > 1:
                first, last = seen[0], seen[-1]
                steal += last["steal_us"] - first["steal_us"]
                foreign += last["foreign_us"] - first["foreign_us"]
                room += (last["at_us"] - first["at_us"]) * machine["cores"]
    return (100 * steal / room, 100 * foreign / room) if room else (None, None)


def rounds(options, folder):
    """Makes all runs, and says each as it ends."""
    runs = []
    turns = {
        scenario: [each for each in options.servers if scenario in ONLY.get(each, SCENARIOS)]
        for scenario in options.scenarios
    }
    total = options.rounds * sum(len(servers) for servers in turns.values())
    for number in range(1, options.rounds + 1):
        for scenario, servers in turns.items():
            turn = (number - 1) % max(len(servers), 1)
            for server in servers[turn:] + servers[:turn]:
                run = load(scenario, server, number, options, folder)
                runs.append(run)
                print(f"{len(runs)}/{total} {said(run)}", flush=True)
    return runs


def said(run):
    """A run in a line."""
    if run["broken"]:
        return f"{run['scenario']} {run['server']}: {run['broken']}"
    first = COLUMNS[run["scenario"]][0]
    value = run["figures"].get(first.figure)
    number = "no figure" if value is None else f"{value * first.scale:,.{first.digits}f} {first.title}"
    noisy = ", noisy" if run["noisy"] else ""
    taken = f"steal {run['steal']:.1f} %, foreign {run['foreign']:.1f} %{noisy}"
    return f"{run['scenario']} {run['server']}: {number} ({'; '.join([taken, *run['notes']])})"


def versions(runs, options):
    """What was measured, in words."""
    commit = subprocess.run(
        ["git", "-C", HERE, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    found = {}
    for run in runs:
        found |= run["versions"]
    mine = [f"entente at {commit or 'an unknown commit'}"] if "entente" in options.servers else []
    return ", ".join(mine + [f"{name} {version}" for name, version in sorted(found.items())])


def machine():
    """The machine in words."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cpu = names[0].partition(":")[2].strip() if names else platform.machine()
    return f"{os.cpu_count()} cores ({cpu}), Linux {platform.release()}"


def arguments():
    """The command line, checked."""
    parser = argparse.ArgumentParser(
        prog="ops/peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    listed = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--servers", type=listed, default=list(SERVERS), metavar="A,B,..")
    parser.add_argument("--scenarios", type=listed, default=list(SCENARIOS), metavar="A,B,..")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=20, help="measured in each run; idle: 10 at least")
    parser.add_argument("--sessions", type=int, default=2000, help="of the scenario idle")
    parser.add_argument("--noise", type=float, default=5, help="steal and foreign CPU above which a run is noisy, %%")
    parser.add_argument("--variant", action="append", default=[], metavar="NAME=PEER:FILE",
                        help="a peer with another configuration (see loadtest/peers/README.md)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("results/peers"))
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--entente", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--generator", type=Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.variants = {}
    for text in options.variant:
        name, _, rest = text.partition("=")
        peer, _, file = rest.partition(":")
        if peer not in ("ejabberd", "prosody") or not Path(file).is_file() or name in SERVERS or "/" in name:
            parser.error(f"--variant {text}: NAME=ejabberd:FILE or NAME=prosody:FILE, with a new name")
        options.variants[name] = (peer, Path(file).resolve())
    for kind, known in (("servers", [*SERVERS, *options.variants]), ("scenarios", SCENARIOS)):
        chosen = getattr(options, kind)
        unknown = [each for each in chosen if each not in known]
        if unknown or len(set(chosen)) < len(chosen):
            parser.error(f"--{kind}: each once, of {','.join(known)}")
    if min(options.rounds, options.seconds) < 1 or options.sessions < 2:
        parser.error("--rounds and --seconds from 1, --sessions from 2")
    if not {SERVER_CORE, GENERATOR_CORE} <= os.sched_getaffinity(0):
        parser.error(f"cores {SERVER_CORE} and {GENERATOR_CORE} are needed, one for the server and one for the load")
    return options


def main():
    options = arguments()
    if options.check:
        return 0
    # What was started must end with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options.out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="entente-peers."))
    # The servers' own users must come through.
    folder.chmod(0o711)
    began = time.monotonic()
    try:
        runs = rounds(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    facts = {
        "machine": machine(),
        "versions": versions(runs, options),
        "baseline": "entente" if "entente" in options.servers else options.servers[0],
        "server_core": SERVER_CORE,
        "generator_core": GENERATOR_CORE,
        **{each: getattr(options, each) for each in KEPT},
        "runs": runs,
    }
    table = Table(facts)
    text = table.markdown()
    facts |= {"cells": table.cells(), "concludes": table.concludes()}
    (options.out / "table.json").write_text(json.dumps(facts, indent=2) + "\n")
    (options.out / "table.md").write_text(text)
    print(f"\n{text}\n{options.out}/table.md and table.json, after {time.monotonic() - began:.0f} s")
    if any(run["broken"] for run in runs):
        return 1
    return 0 if table.concludes() else INVALID


if __name__ == "__main__":
    sys.exit(main())
