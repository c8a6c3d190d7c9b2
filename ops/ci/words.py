#!/usr/bin/env python3
"""Fails on text that has no place in the repository: paths of one machine, hosts of package
registries, and code that says of itself that it is not finished."""

import re
import sys

import tree

# Each pattern is spelt so that it does not match itself.
EVERYWHERE = [
    (r"(?<![\w.~$}])/(?:[w]ork|[f]arm|[r]oot)/", "a path of one machine"),
    (r"(?<![\w.~$}])/(?:[h]ome|[U]sers)/[a-z]", "a path of one machine"),
    (r"\b(?:static|index)[.]crates[.]io", "a registry host"),
    (r"[r]egistry\.npmjs|[p]ythonhosted|[r]epo1?\.maven|[p]roxy\.golang", "a registry host"),
    (r"\b(?:F[I]XME|X[X]X|H[A]CK)\b", "unfinished"),
]
CODE = [
    (r"\b(?:t[o]do|u[n]implemented)!\(", "unfinished"),
    (r"#\[i[g]nore\]", "a test ignored without a reason"),
    (r"//! To be [w]ritten", "an empty crate"),
    (r"\bT[O]DO\b(?!\(\w+\): \S)", "T" + "ODO without a name and a condition"),
]
# Lock files name registries by design.
EXEMPT = ("Cargo.lock", "package-lock.json", "LICENSE")
CODE_ENDINGS = (".rs", ".py", ".js", ".sh", ".proto")


def findings(name, text):
    """Every finding in one file, as `path:line: what: the line`."""
    if name.rsplit("/", 1)[-1] in EXEMPT or "\0" in text[:8000]:
        return []
    rules = EVERYWHERE + (CODE if name.endswith(CODE_ENDINGS) else [])
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, what in rules:
            if re.search(pattern, line):
                found.append(f"{name}:{number}: {what}: {line.strip()[:100]}")
    return found


def self_test():
    bad = {
        "a.md": ["see /" + "root/notes", "in /" + "home/ada/x", "https://index" + ".crates.io/x"],
        "a.rs": ["t" + "odo!()", "#[i" + "gnore]", "// T" + "ODO: later", "//! To be w" + "ritten."],
    }
    for name, lines in bad.items():
        for line in lines:
            assert len(findings(name, line)) == 1, line
    good = {
        "a.md": ["$HOME/.cache", "~/.cargo", "https://crates.io", "src/root/x", "t" + "odo!()"],
        "a.rs": ['#[i' + 'gnore = "needs an hour"]', "// T" + "ODO(ada): when kube 6 is out"],
        "Cargo.lock": ["https://index" + ".crates.io/"],
    }
    for name, lines in good.items():
        for line in lines:
            assert findings(name, line) == [], line


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    found = [finding for name in tree.files() for finding in findings(name, tree.text(name))]
    return tree.report(found, "Say it without, or finish it.")


if __name__ == "__main__":
    sys.exit(main())
