#!/usr/bin/env python3
"""Lists the numbered security tests: those whose doc comment begins with `/// T17: ...`.

A function that is no test itself counts under the test of the same file that calls it, as where one
test runs many parts because they must not run at once.

    ops/ci/security_tests.py                 prints the table
    ops/ci/security_tests.py --check FILE    fails if FILE is not that table
"""

import re
import sys

import tree

DOC = re.compile(r"\s*///\s?(.*)")
ATTRIBUTE = re.compile(r"\s*#!?\[")
TEST = re.compile(r"\s*#\[(?:[\w:]+::)?test\b")
FUNCTION = re.compile(r"\s*(?:pub(?:\([^)]*\))?\s+)?(?:async\s+)?fn\s+(\w+)")
NUMBERED = re.compile(r"((?:T\d+(?:,\s*|\s+and\s+)?)+):\s*(.*)")
CALL = re.compile(r"\b(\w+)\(\)(?:\.await)?;")
PACKAGE = re.compile(r'^name\s*=\s*"([^"]+)"', re.MULTILINE)

HEAD = """\
# Security tests by number

Made by `ops/ci/security_tests.py`; `ops/test` fails when it is not current. Each number is one
attack or fault, said in the last column. A test has its honest twin beside it: the same call with
good input, which must pass. Run one with `cargo nextest run -p CRATE TEST`.

| number | crate | test | what it shows |
|---|---|---|---|
"""


def numbered(source):
    """Yields (numbers, test, first sentence) for each numbered test in one file."""
    docs, is_test, inside = [], False, None
    parts, callers = [], {}
    for line in source.splitlines():
        doc, function = DOC.match(line), FUNCTION.match(line)
        if doc:
            docs.append(doc.group(1).strip())
        elif ATTRIBUTE.match(line):
            is_test = is_test or bool(TEST.match(line))
        elif function and docs:
            match = NUMBERED.match(" ".join(docs))
            name = function.group(1)
            if match:
                numbers = [int(each) for each in re.findall(r"\d+", match.group(1))]
                row = numbers, name, sentence(match.group(2))
                if is_test:
                    yield row
                else:
                    parts.append(row)
            inside = name if is_test else None
            docs, is_test = [], False
        elif function:
            inside = function.group(1) if is_test else None
            is_test = False
        elif line.strip():
            docs, is_test = [], False
            call = CALL.search(line)
            if inside and call:
                callers.setdefault(call.group(1), inside)
    for numbers, name, what in parts:
        if name in callers:
            yield numbers, callers[name], what


def sentence(text):
    """The first sentence, safe inside a table."""
    return re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0].rstrip(".").replace("|", "\\|")


def crate_of(name, manifests):
    """The package that a file belongs to: the nearest Cargo.toml above it."""
    folder = name
    while "/" in folder:
        folder = folder.rsplit("/", 1)[0]
        if folder in manifests:
            return manifests[folder]
    return ""


def table():
    manifests = {}
    for manifest in tree.files("*/Cargo.toml"):
        package = PACKAGE.search(tree.text(manifest))
        if package:
            manifests[manifest.rsplit("/", 1)[0]] = package.group(1)
    rows = []
    for name in tree.files("*.rs"):
        for numbers, test, what in numbered(tree.text(name)):
            rows += [(number, crate_of(name, manifests), test, what) for number in numbers]
    rows.sort()
    return HEAD + "".join(f"| T{row[0]} | {row[1]} | `{row[2]}` | {row[3]} |\n" for row in rows)


def self_test():
    source = """
    /// T1, T2 and T3: an entity is
    /// refused. More.
    #[expect(clippy::x, reason = "y")]
    #[tokio::test(start_paused = true)]
    async fn refuses_entities() {}

    /// T4: not a test.
    fn helper() {}

    /// T5: docs of something else

    struct X;
    #[test]
    fn plain() {}

    /// T6: a | b
    #[test]
    fn splits() {}

    /// T7: a part of a test.
    fn part() {
        helper();
    }

    #[tokio::test]
    async fn whole() {
        part();
        other().await;
    }

    /// T8: a part that waits
    async fn other() {}
    """
    assert list(numbered(source)) == [
        ([1, 2, 3], "refuses_entities", "an entity is refused"),
        ([6], "splits", "a \\| b"),
        ([7], "whole", "a part of a test"),
        ([8], "whole", "a part that waits"),
    ]
    assert crate_of("a/b/src/x.rs", {"a/b": "inner", "a": "outer"}) == "inner"
    assert crate_of("a/c/src/x.rs", {"a/b": "inner", "a": "outer"}) == "outer"


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        current, name = table(), sys.argv[2]
        old = tree.text(name) if (tree.ROOT / name).is_file() else ""
        changed = set(current.splitlines()) ^ set(old.splitlines())
        if old != current:
            print("\n".join(sorted(changed)))
            print(f"{name} is not current. Run: ops/ci/security_tests.py > {name}")
        return 0 if old == current else 1
    print(table(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
