#!/usr/bin/env python3
"""Fails when a source file is over its line limit. Clippy counts the lines of functions."""

import sys

import tree

# Tests included: a file that a reader can hold in mind.
LIMITS = {".rs": 500, ".proto": 500, ".py": 500, ".js": 500, ".sh": 500}
# Written by a generator, read by nobody.
GENERATED = ("/generated/",)


def over(name, lines):
    """The finding for a file of so many lines, or None."""
    limit = next((limit for ending, limit in LIMITS.items() if name.endswith(ending)), None)
    if limit is None or lines <= limit or any(part in f"/{name}" for part in GENERATED):
        return None
    return f"{name}: {lines} lines, the limit is {limit}"


def self_test():
    assert over("a/b.rs", 501) == "a/b.rs: 501 lines, the limit is 500"
    assert over("a/b.rs", 500) is None
    assert over("a/b.md", 5000) is None
    assert over("a/generated/b.rs", 5000) is None
    assert over("a/notgenerated/b.rs", 5000)


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    found = [over(name, len(tree.text(name).splitlines())) for name in tree.files()]
    return tree.report([each for each in found if each], "Split the file by what its parts do.")


if __name__ == "__main__":
    sys.exit(main())
