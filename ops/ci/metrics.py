#!/usr/bin/env python3
"""Lists every metric that the program can show: name, type, unit, labels, what it tells.

All of it is read from the sources, but for the last column, which says what to do about a metric and
is written by hand. A metric without it is a finding, and so is a page of the runbooks that names a
metric that there is not, or is named and not there.

    ops/ci/metrics.py FILE            prints FILE as it should be, with the last column as it is there
    ops/ci/metrics.py --check FILE    fails if FILE is not that
"""

import re
import sys

import tree

SOURCES = ("services/*.rs", "proto/*.rs")
RUNBOOKS = "ops/runbooks/*.md"
CALL = re.compile(
    r"(?:(?P<field>\w+):\s*|(?P<tuple>\w+)\()?metrics\s*\.(?P<kind>counters|gauges|histograms)"
    r"(?:::<.*?>)?\(\s*\"(?P<name>\w+)\",\s*(?:\"(?P<help>[^\"]*)\"|(?P<text>\w+))"
)
FAMILY = r"(?:Counters|Gauges|Histograms)<\s*\(([^)]*)\)\s*>"
LABEL = re.compile(r"impl Label for (\w+) \{\s*const NAME: &'static str = \"(\w+)\";")
WORDS = re.compile(r"^ +(?:pub(?:\(\w+\))? )?(?:enum )?(\w+) as \"(\w+)\" \{", re.MULTILINE)
PROCESS = re.compile(
    r"Const(?P<kind>Counter|Gauge)::new.*?\"(?P<name>process_\w+)\".*?\"(?P<help>[^\"]*)\",\s*"
    r"(?P<unit>None|Some\(&Unit::\w+\))",
    re.DOTALL,
)
TYPES = {"counters": "counter", "gauges": "gauge", "histograms": "histogram"}
UNITS = {"seconds": "s", "bytes": "By", "days": "d"}

HEAD = """\
# Metrics

Made by `ops/ci/metrics.py` from the sources, but for the last column; `ops/test` fails when it is not
current, or when a metric has no last column. Names are as `/metrics` shows them: a counter ends in
`_total`, and a histogram has `_bucket`, `_sum` and `_count`. Labels are closed sets: words of the
program, shards, partners. No metric names a user, a device, an address or a message.

A metric is shown once something was counted, so none of a role that the process does not have is.
*page* means that somebody is woken, *look* that it waits for the morning, *graph* that it explains
others. The pages that say what to do are in `runbooks/`.

| metric | type | unit | labels | what it tells | what to do |
|---|---|---|---|---|---|
"""


def labels_of(source, match):
    """The types of the labels of one registration."""
    if match["field"]:
        found = re.search(rf"\b{match['field']}: {FAMILY}", source)
    elif match["tuple"]:
        found = re.search(rf"struct {match['tuple']}\({FAMILY}", source)
    else:
        found = re.search(rf"struct \w+\({FAMILY}", source)
    if not found:
        raise ValueError(f"{match['name']}: no family has its labels")
    return [each.strip() for each in found[1].split(",") if each.strip()]


def named(source):
    """The names of the labels that a file defines, by type."""
    return dict(LABEL.findall(source)) | dict(WORDS.findall(source))


def production(source):
    """A source up to its tests."""
    return source.split("#[cfg(test)]\nmod tests {")[0]


def registered(sources):
    """Yields (metric, type, unit, labels, what it tells) of everything that is registered."""
    everywhere = {}
    for source in sources:
        everywhere |= named(source)
    for source in sources:
        names = everywhere | named(source)
        for match in CALL.finditer(source):
            kind, name, told = TYPES[match["kind"]], match["name"], match["help"]
            if told is None:
                told = re.search(rf"let {match['text']} = \"([^\"]*)\";", source)[1]
            labels = [names[label] for label in labels_of(source, match)]
            unit = UNITS.get(name.rsplit("_", 1)[-1], "1")
            total = "_total" if kind == "counter" else ""
            yield name + total, kind, unit, labels, told
        for match in PROCESS.finditer(source):
            kind = match["kind"].lower()
            unit = re.sub(r".*::|\W", "", match["unit"]).lower()
            unit = "" if unit == "none" else unit
            name = "_".join(filter(None, [match["name"], unit])) + (
                "_total" if kind == "counter" else ""
            )
            yield name, kind, UNITS.get(unit, "1"), [], match["help"]


def rows(sources):
    for name, kind, unit, labels, told in sorted(registered(sources)):
        yield name, f"| `{name}` | {kind} | {unit} | {', '.join(labels) or '-'} | {told} |"


def page(sources, old):
    """The page, and the metrics of which nobody has written what to do."""
    written = dict(re.findall(r"^\| `(\w+)` .*\| ([^|]+) \|$", old, re.MULTILINE))
    out, missing = HEAD, []
    for name, row in rows(sources):
        if name not in written:
            missing.append(name)
        out += f"{row} {written.get(name, '?')} |\n"
    missing += [name for name, what in written.items() if what.strip() in ("", "?")]
    return out, sorted(set(missing))


def unknown(made, pages):
    """What the table and the runbooks name and is not there."""
    names = set(re.findall(r"^\| `(\w+)` ", made, re.MULTILINE))
    for page in sorted(set(re.findall(r"`([\w-]+\.md)`", made))):
        if page not in pages:
            yield f"{page}: named in the table of metrics and not there"
    for page, text in pages.items():
        for name in sorted(set(re.findall(r"\bentente_[a-z_]+", text)) - names):
            yield f"{page}: there is no metric {name}"


def self_test():
    source = """
    pub struct Events { steps: Counters<(Step, ShardId)>, took: Histograms<()>, }
    impl Events { fn new(metrics: &Metrics) { Ok(Self {
        steps: metrics.counters("entente_x_steps", "Steps")?,
        took: metrics
            .histograms::<()>("entente_x_seconds", "Time", Buckets::Latency)?,
    }) } }
    pub struct Dropped(Counters<()>);
    fn other() { let help = "Lost"; metrics.counters("entente_x_lost", help).map(Self) }
    impl Label for ShardId {
        const NAME: &'static str = "shard";
    }
    words! {
        /// A step.
        Step as "step" { A = "a", }
    }
    #[cfg(test)]
    """
    assert [row for row in registered([source])] == [
        ("entente_x_steps_total", "counter", "1", ["step", "shard"], "Steps"),
        ("entente_x_seconds", "histogram", "s", [], "Time"),
        ("entente_x_lost_total", "counter", "1", [], "Lost"),
    ]
    process = 'ConstCounter::new(1); write("process_cpu", "Time", Some(&Unit::Seconds), &metric)'
    assert list(registered([process])) == [("process_cpu_seconds_total", "counter", "s", [], "Time")]
    made, missing = page([source], "")
    assert missing == ["entente_x_lost_total", "entente_x_seconds", "entente_x_steps_total"]
    told = made.replace(" ? |", " look |")
    assert page([source], told) == (told, [])
    assert page([source], told.replace(" look |", "  |", 1))[0] != told
    assert page([source.replace('"Steps"', '"Others"')], told)[0] != told
    pages = {"a.md": "`entente_x_seconds` and `entente_x_gone{shard}`"}
    assert list(unknown(told.replace(" look |", " look: `b.md` |", 1), pages)) == [
        "b.md: named in the table of metrics and not there",
        "a.md: there is no metric entente_x_gone",
    ]
    assert list(unknown(told, {"a.md": "`entente_x_steps_total`"})) == []
    assert production("a\n#[cfg(test)]\nmod tests {\nb") == "a\n"


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    name = sys.argv[-1]
    files = [file for file in tree.files(*SOURCES) if "/tests/" not in file]
    sources = [production(tree.text(file)) for file in files]
    old = tree.text(name) if (tree.ROOT / name).is_file() else ""
    made, missing = page(sources, old)
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        pages = {page.rsplit("/", 1)[-1]: tree.text(page) for page in tree.files(RUNBOOKS)}
        strange = list(unknown(made, pages))
        print("\n".join(strange), end="\n" if strange else "")
        for metric in missing:
            print(f"{metric}: {name} does not say what to do about it")
        if made != old:
            print("\n".join(sorted(set(made.splitlines()) ^ set(old.splitlines()))))
            print(f"{name} is not current. Run: ops/ci/metrics.py {name}")
        return 1 if missing or strange or made != old else 0
    print(made, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
