#!/usr/bin/env python3
"""Reads what the collector wrote: OTLP in JSON, one export request a line.

    spans.py count|list|words FILE
    spans.py trace FILE [ID]
    spans.py search FILE MARKS
"""

import base64
import collections
import json
import re
import sys

# All that a span or what is around it may say, by the key that says it; ids, times and numbers apart.
# What is not here is a finding: a new word is added with the code that says it.
NODE = re.compile(r"[a-z][a-z0-9-]{0,62}")
WORDS = {
    "name": {
        "connection receive",
        "connection write",
        "push consume",
        "push request",
        "router append",
        "router deliver",
    },
    "entente.outcome": {"done", "unfinished"},
    "entente.role": {"connection", "push", "router"},
    "entente.shard": int,
    "http.request.method": {"POST"},
    "http.response.status_code": int,
    "messaging.destination.name": {"input", "wake"},
    "messaging.operation.type": {"process", "send"},
    "messaging.system": {"entente"},
    "service.instance.id": NODE,
    "service.name": {"entente"},
    "scope.name": {"entente"},
    "scope.version": re.compile(r"\d+\.\d+\.\d+"),
}
# Follow from the name of a span.
SAME = {"entente.role", "http.request.method"} | {key for key in WORDS if key.startswith("messaging.")}
# Fields of OTLP whose values are ids, times or enumerations, by their form.
ID, DIGITS = re.compile(r"[0-9a-f]{16}|[0-9a-f]{32}"), re.compile(r"\d{1,20}")
FIELDS = {
    "traceId": ID,
    "spanId": ID,
    "parentSpanId": re.compile(r"|[0-9a-f]{16}"),
    "startTimeUnixNano": DIGITS,
    "endTimeUnixNano": DIGITS,
    "kind": int,
    "flags": int,
    "code": int,
}


def requests(path):
    """Every export request in the file."""
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def value_of(attribute):
    (kind, value), = attribute["value"].items()
    return int(value) if kind == "intValue" else value


def attributes(owner):
    return {each["key"]: value_of(each) for each in owner.get("attributes", [])}


def spans(path):
    """Every span, with `node` and `attributes` made plain."""
    for request in requests(path):
        for resource in request.get("resourceSpans", []):
            node = attributes(resource["resource"])["service.instance.id"]
            for scope in resource.get("scopeSpans", []):
                for span in scope.get("spans", []):
                    yield {**span, "node": node, "attributes": attributes(span)}


def by_trace(path):
    traces = collections.defaultdict(list)
    for span in spans(path):
        traces[span["traceId"]].append(span)
    return traces


def roles(trace):
    return sorted({span["attributes"]["entente.role"] for span in trace})


def milliseconds(span, since):
    begin, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    return (begin - since) / 1e6, (end - begin) / 1e6


def show(trace):
    """A trace as a tree, in the order in which spans began."""
    trace = sorted(trace, key=lambda span: int(span["startTimeUnixNano"]))
    ids = {span["spanId"] for span in trace}
    since = int(trace[0]["startTimeUnixNano"])
    print(f"trace {trace[0]['traceId']}: {len(trace)} spans, {', '.join(roles(trace))}")
    print(f"{'began':>12} {'took':>10}  span")

    def below(parent, depth):
        for span in trace:
            above = span.get("parentSpanId", "")
            # One whose parent did not come is shown, and said to be so.
            lost = above and above not in ids
            if above != parent and not (parent == "" and lost):
                continue
            began, took = milliseconds(span, since)
            said = span["attributes"].items()
            facts = [f"{key}={value}" for key, value in said if key not in SAME]
            facts += [f"link={link['traceId']}" for link in span.get("links", [])]
            facts += ["PARENT MISSING"] if lost else []
            print(f"{began:9.3f} ms {took:7.3f} ms  {'  ' * depth}{span['name']} "
                  f"[{span['node']}] {' '.join(facts)}")
            below(span["spanId"], depth + 1)

    below("", 0)


def trace(path, wanted=None):
    traces = by_trace(path)
    if not traces or (wanted and wanted not in traces):
        sys.exit(f"no trace {wanted or ''} in {path}")
    most = max(traces, key=lambda each: (len(roles(traces[each])), len(traces[each])))
    show(traces[wanted or most])


def listing(path):
    for name, each in by_trace(path).items():
        nodes = sorted({span["node"] for span in each})
        print(name, len(each), ",".join(roles(each)), ",".join(nodes))


def fits(value, allowed):
    if allowed is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(allowed, re.Pattern):
        return isinstance(value, str) and allowed.fullmatch(value) is not None
    return value in allowed


def strange(value, where=""):
    """Yields whatever is neither a word that may be said nor an id, a time or a number in its place."""
    if isinstance(value, list):
        for each in value:
            yield from strange(each, where)
    elif isinstance(value, dict) and "key" in value:
        key = value["key"]
        if key not in WORDS or not fits(value_of(value), WORDS[key]):
            yield f"attribute {key} = {value['value']}"
    elif isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, (dict, list)):
                yield from strange(inner, key)
            elif key in ("name", "version"):
                word = "name" if (where, key) == ("spans", "name") else f"{where}.{key}"
                if word not in WORDS or not fits(inner, WORDS[word]):
                    yield f"{where} {key} = {inner!r}"
            elif key not in FIELDS or not fits(inner, FIELDS[key]):
                yield f"{where} {key} = {inner!r}"


def words(path):
    found = collections.Counter(each for request in requests(path) for each in strange(request))
    for finding, count in found.most_common():
        print(f"{count} x {finding}")
    count = sum(1 for _ in spans(path))
    print(f"{count} spans: {len(found)} things that no span may say")
    return not found and count > 0


def forms(mark):
    """A mark as it may be written: plain, as hex, and as the part of base64 that is always the same."""
    plain = mark.encode()
    yield plain
    yield plain.hex().encode()
    for shift in range(3):
        # The first and the last digits depend on what is around.
        coded = base64.b64encode(b"\0" * shift + plain)
        yield coded[(shift * 8 + 5) // 6 : len(plain) * 8 // 6]


def search(path, marks):
    with open(path, "rb") as file:
        text = file.read()
    with open(marks, encoding="utf-8") as file:
        marks = [mark for mark in file.read().splitlines() if mark]
    short = [mark for mark in marks if len(mark) < 6]
    if short:
        sys.exit(f"too short to be told from chance: {short}")
    found = [mark for mark in marks if any(form in text for form in forms(mark))]
    for mark in found:
        print(f"found: {mark}")
    print(f"{len(text)} bytes: {len(found)} of {len(marks)} marks found")
    return not found and bool(text) and bool(marks)


def main(command, path, *rest):
    if command == "count":
        print(sum(1 for _ in spans(path)))
        return True
    if command == "trace":
        return trace(path, *rest) is None
    if command == "list":
        return listing(path) is None
    return {"words": words, "search": search}[command](path, *rest)


if __name__ == "__main__":
    sys.exit(0 if main(*sys.argv[1:]) else 1)
