"""Processes of a peer: started on a core, looked at through /proc, ended by their id."""

import os
import resource
import signal
import subprocess
import time
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")
PAUSE = 0.02
# How long a server may take to end in order.
STOP_WITHIN = 30
LISTENING = "0A"
LOOPBACK = ("0100007F", "00000000000000000000000001000000")


def start(command, *, user, core, environment, folder, log):
    """Starts a program in the background, pinned to a core (or not, if None)."""

    def prepare():
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if core is not None:
            os.sched_setaffinity(0, {core})

    identity = {"user": user, "group": user, "extra_groups": []} if user else {}
    with open(log, "ab") as out:
        return subprocess.Popen(
            [str(each) for each in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=folder,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(folder), **environment},
            start_new_session=True,
            preexec_fn=prepare,
            **identity,
        )


def stat(pid):
    """The fields of /proc/PID/stat behind the name, or None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def began(pid):
    """When a process began, which tells it from a later one with its id; None if it ended."""
    fields = stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def family(pid):
    """The process and all below it."""
    parents = {}
    for each in Path("/proc").iterdir():
        if each.name.isdigit() and (fields := stat(each.name)):
            parents.setdefault(int(fields[1]), []).append(int(each.name))
    found = [pid]
    for each in found:
        found += sorted(parents.get(each, []))
    return found


def usage(pids):
    """RSS and PSS in KB, and CPU seconds, of several processes together."""
    rss = pss = seconds = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        values = {line.split(":")[0]: line.split()[1] for line in rollup.splitlines()[1:]}
        rss += int(values.get("Rss", 0))
        pss += int(values.get("Pss", 0))
        fields = stat(pid) or ["0"] * 13
        seconds += (int(fields[11]) + int(fields[12])) * TICK
    return {"rss_kb": rss, "pss_kb": pss, "cpu_s": round(seconds, 2)}


def listeners(pids):
    """Every socket that the processes listen on, as (address in hex, port); UDP too."""
    held = set()
    for pid in pids:
        for each in Path(f"/proc/{pid}/fd").iterdir():
            try:
                held.add(os.readlink(each))
            except FileNotFoundError:
                continue
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in held and (table.startswith("udp") or fields[3] == LISTENING):
                address, port = fields[1].split(":")
                found.append((address, int(port, 16)))
    return found


def beyond_loopback(pids):
    """Those of the listeners that other machines could reach."""
    return [f"{address}:{port}" for address, port in listeners(pids) if address not in LOOPBACK]


def cores(pids):
    """The cores on which any thread of the processes may run."""
    allowed = set()
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            allowed |= os.sched_getaffinity(int(thread.name))
    return sorted(allowed)


def end(pid, start_time):
    """Ends a process in order, or by force if it takes too long; says how."""
    if began(pid) != start_time:
        return "had ended"
    os.kill(pid, signal.SIGTERM)
    if wait(lambda: began(pid) != start_time, STOP_WITHIN):
        return "ended"
    os.kill(pid, signal.SIGKILL)
    wait(lambda: began(pid) != start_time, STOP_WITHIN)
    return f"killed after {STOP_WITHIN} s"


def wait(condition, seconds):
    """Whether a condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE)
    return True
