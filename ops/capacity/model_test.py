"""The calculator's formulas against numbers that were worked out by hand, and what must hold of any plan."""

import argparse
import json
import math
import tempfile
from dataclasses import fields, replace
from pathlib import Path

import costs as measured
from model import GIB, MIB, Plan, Refused, Volumes

# Round constants, so that a person can follow: 50 µs at the connection, 100 at the router, 20 at the broker.
CPU = {"connection": 50.0, "router": 100.0, "broker": 20.0, "redis": 0.1, "identity": 0.0, "push": 0.0}


def constants():
    """Every constant that a measurement has, with values for arithmetic."""
    found = dict.fromkeys((name for name, *_ in measured.direct()), 0.0)
    found |= dict.fromkeys((name for name, *_ in measured.growth()), 0.0)
    found |= dict.fromkeys((name for name, *_ in measured.wakings()), 0.0)
    found |= {f"cpu.message.{role}": value for role, value in CPU.items()}
    found |= {
        "cpu.kib.router": 10.0, "cpu.login.identity": 200.0, "cpu.login.connection": 400.0, "cpu.wake.push": 300.0,
        "log.message.input": 1000.0, "log.message.state": 100.0, "log.waiting.input": 1000.0,
        "log.waiting.state": 3100.0, "network.message.broker.taken": 1200.0, "network.message.broker.sent": 1100.0,
        "memory.session.connection": 20_000.0, "memory.session.router": 2000.0, "memory.account.router": 1000.0,
        "redis.login": 3.0,
    }  # fmt: skip
    return {name: {"value": value} for name, value in found.items()}


def plan(**volumes):
    first = {"messages_per_day": 8.64e9, "sessions": 8.64e6, "peak": 2.0, "logins": 1.0}
    return Plan(Volumes(**first | volumes), constants())


def near(found, wanted):
    assert math.isclose(found, wanted, rel_tol=1e-9), (found, wanted)


def by_hand():
    # 8.64 G a day are 100,000 a second, 200,000 at twice that; so many logins are 200 a second.
    one = plan()
    near(one["messages"], 200_000)
    near(one["logins"], 200)
    # 200,000 × 50 µs and 200 × 400 µs.
    near(one["cores.connection"], 10 + 0.08)
    near(one["cores.router"], 20)
    near(one["cores.identity"], 0.04)
    # 200,000 × 20 µs, three copies at what one costs.
    near(one["cores.broker"], 12)
    # 200,000 × 0.3 × 0.3 wake-ups of 300 µs; 5.4 / 0.5 are 10.8 partitions, and 5.4 / 4.8 makes two nodes.
    near(one["wakes"], 18_000)
    near(one["cores.push"], 5.4)
    near(one["partitions.wake"], 16)
    near(one["nodes.push"], 4)
    # 290 + 7 + 4 + 4 nodes at one listener, long before anything else.
    first = one.walls[0]
    assert first["what"].startswith("connections") and math.isclose(first["factor"], 4096 / 305), first
    near(next(each["factor"] for each in one.walls if each["what"] == "partitions of the wake-ups"), 1024 / 10.8)
    # 20 cores at half a core a shard are 40; 5 routers and 2 to spare want 4 each: 28. Then 64.
    near(one["partitions"], 64)
    # 8 cores of which 60 % may be used: 20 / 4.8 is 5 routers; 8.64 M sessions / 30,000 is 288.
    near(one["nodes.router"], 7)
    near(one["nodes.connection"], 290)
    near(one["nodes.identity"], 4)
    # 8.64 M × 20,000 bytes × 1.5 over 288 nodes.
    near(one["memory.connection"], 900e6)
    # 8.64 G × 0.3 × 0.5 days wait.
    near(one["waiting"], 1.296e9)
    near(one["rows"], 1.296e9 * 768)
    rows = (8.64e6 * 3000 + 1.296e9 * 768) * 1.5 / 5
    near(one["memory.router"], rows + 64 * 2 * MIB / 5)
    # 0.7 × 1000 and 0.3 × 1000; 0.7 × 100 and 0.3 × 3100.
    near(one["log.input"], 200e6)
    near(one["log.state"], 200e6)
    near(one["disk.written"], 1.2e9)
    near(one["disk"], (128 * GIB + 1.296e9 * 768 * 3) * 3)
    # The way in is the busier one: 3 × 1200 against 1100 + 2 × 1200. With more readers it is the way out.
    near(one["network"], 200_000 * 3600)
    read = constants() | {"network.message.broker.sent": {"value": 2000.0}}
    near(Plan(one.volumes, read)["network"], 200_000 * 4400)
    # Disk decides: 3 × (128 GiB + 2.99 TB) over 0.6 × 2 TiB is 7.1.
    near(one["nodes.broker"], 9)
    near(one["redis"], 600)


def three_sizes():
    """1, 10 and 100 G a day with the peak of 3 that comes by itself: the hot path's cores, by hand."""
    for day, messages, router in ((1e9, 34_722.2222, 3.47222222), (1e10, 347_222.222, 34.7222222),
                                  (1e11, 3_472_222.22, 347.222222)):  # fmt: skip
        one = Plan(Volumes(messages_per_day=day, sessions=day / 500), constants())
        assert math.isclose(one["messages"], messages, rel_tol=1e-6)
        assert math.isclose(one["cores.router"], router, rel_tol=1e-6)
        assert one["nodes.router"] == max(2, math.ceil(router / 4.8)) + 2
        wanted = 2 ** math.ceil(math.log2(max(router / 0.5, one["nodes.router"] * 4, 8)))
        assert one["partitions"] == wanted, (one["partitions"], wanted)
    # 347 cores at half a core a shard are 695 of at most 1,024.
    found = next(each for each in one.walls if each["what"] == "partitions")
    near(found["factor"], 1024 / (one["cores.router"] / 0.5))


def sizes():
    """A larger body costs its KiB more and no less."""
    near(plan(message_bytes=1536.0)["cores.router"], 200_000 * 110e-6)
    near(plan(message_bytes=512.0)["cores.router"], 20)
    large, small = plan(message_bytes=4096.0), plan()
    near(large["network"] - small["network"], 200_000 * 3.5 * 1024 * 3)


def monotone():
    """More of anything never needs less of anything that is bought."""
    bought = ("cores.connection", "cores.router", "cores.identity", "cores.push", "cores.broker", "partitions",
              "partitions.wake", "nodes.connection", "nodes.router", "nodes.identity", "nodes.push", "nodes.broker", "rows", "disk", "network",
              "redis")  # fmt: skip
    steps = {
        "messages_per_day": (1e8, 1e9, 3e9, 1e10, 1e11), "sessions": (1e4, 1e6, 1e8), "accounts": (0, 1e7, 1e9),
        "peak": (1, 2, 5), "offline_days": (0, 0.5, 7), "message_bytes": (100, 512, 4096, 65536), "devices": (1, 2, 5),
        "logins": (0, 1, 20), "replicas": (1, 3, 5),
    }  # fmt: skip
    for name, values in steps.items():
        plans = [plan(**{name: value}) for value in values]
        for before, after in zip(plans, plans[1:], strict=False):
            for line in bought:
                assert after[line] >= before[line], (name, line, before[line], after[line])
    for name in ("use", "node_cores", "broker_cores", "broker_disk", "network"):
        value = getattr(plan().volumes, name)
        less, more = (Plan(replace(plan().volumes, **{name: type(value)(value * part)}), constants()) for part in (0.5, 1))
        for line in ("nodes.connection", "nodes.router", "nodes.broker"):
            assert less[line] >= more[line], (name, line)


def losses():
    """With one node lost and another replaced, the peak still fits into the share that may be used."""
    for day in (1e7, 1e9, 1e10, 1e11):
        one = plan(messages_per_day=day)
        for role in ("connection", "router", "identity"):
            assert one[f"cores.{role}"] <= (one[f"nodes.{role}"] - 2) * 8 * 0.6 + 1e-9, role
        assert one["cores.broker"] <= (one["nodes.broker"] - 1) * 8 * 0.6 + 1e-9
        assert min(one.full().values()) >= 1


def refusals(number, whole, read):
    bad = {
        "messages_per_day": (0, -1, math.nan, math.inf), "sessions": (0, -5), "offline": (1.01, -0.1), "peak": (0.9,),
        "devices": (0, 0.5), "replicas": (0,), "use": (0, 1.2), "node_cores": (0,), "message_bytes": (0, math.nan),
        "offline_days": (-1,), "network": (0,),
    }  # fmt: skip
    for name, values in bad.items():
        for value in values:
            refused(lambda name=name, value=value: plan(**{name: value}), name)
    few = {name: each for name, each in constants().items() if name != "cpu.login.identity"}
    refused(lambda: Plan(Volumes(1e9, 1e6), few), "cpu.login.identity")
    assert (number("10G"), number("1.5k"), number("2GiB")) == (1e10, 1500.0, 2.0 * GIB)
    for text in ("", "ten", "10X", "1G2", "G"):
        refused(lambda text=text: number(text), "", argparse.ArgumentTypeError)
    for text in ("1.5", "inf", "nan"):
        refused(lambda text=text: whole(text), "", argparse.ArgumentTypeError)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "costs.json"
        refused(lambda: read(file), "is not there")
        for text, say in (("{", "Expecting"), ("[]", "format"), ('{"format": 2}', "format"),
                          ('{"format": 1, "constants": {"a": {"value": null}}}', "a has no value")):  # fmt: skip
            file.write_text(text)
            refused(lambda: read(file), say)


def refused(call, says, kind=Refused):
    try:
        call()
    except kind as error:
        assert says in str(error), (says, str(error))
        return
    raise AssertionError(f"taken, though {says}")


def pages(table, told, document):
    """Every line names its formula; every assumption that was used is spelt out."""
    costs = {
        "date": "d", "machine": {"cores": 2, "model": "m"}, "setting": "s", "revision": "r", "constants": constants()
    }  # fmt: skip
    one = plan()
    text = told(one, costs)
    for name, line in one.lines.items():
        assert name in text and line.formula in text
        for each in line.assumptions:
            assert f"  {each} = " in text
    assert "BEYOND IT ALREADY" not in text
    assert "BEYOND IT ALREADY" in told(plan(messages_per_day=8.64e12), costs), "more shards than there may be"
    assert json.loads(json.dumps(document(one, costs), allow_nan=False))["lines"][0]["name"] == "messages"
    drawn = table({}, costs).splitlines()
    assert {line.count("|") for line in drawn if line.startswith("|")} == {5}
    # Nothing that a user may set goes nowhere.
    moved = {"messages_per_day": 9e9, "sessions": 9e6, "accounts": 9e9, "peak": 3.0, "offline": 0.9, "offline_days": 3.0,
             "message_bytes": 999.0, "devices": 2.0, "logins": 9.0, "replicas": 5, "use": 0.2, "node_cores": 64,
             "node_memory": 9e9, "broker_cores": 1, "broker_disk": 1e9, "network": 1e6}  # fmt: skip
    assert set(moved) == {each.name for each in fields(Volumes)}
    same = (json.dumps({name: line.value for name, line in one.lines.items()}), str(one.walls))
    for name, value in moved.items():
        other = plan(**{name: value})
        now = (json.dumps({each: line.value for each, line in other.lines.items()}), str(other.walls))
        assert now != same, f"{name} changes nothing"


def run(number, whole, read, table, told, document):
    """All of it."""
    by_hand()
    three_sizes()
    sizes()
    monotone()
    losses()
    refusals(number, whole, read)
    pages(table, told, document)
