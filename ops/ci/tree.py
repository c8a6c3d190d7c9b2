"""The files of the checkout, as git sees them: tracked, or new and not ignored."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def files(*patterns):
    """Yields paths relative to the root, as text, that match one of the git pathspecs."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in sorted(set(listing.stdout.decode().split("\0"))):
        if name and (ROOT / name).is_file():
            yield name


def text(name):
    """The content of a file; bytes that are no UTF-8 become replacement characters."""
    return (ROOT / name).read_text(encoding="utf-8", errors="replace")


def report(findings, fix):
    """Prints the findings and returns the exit status."""
    for finding in findings:
        print(finding)
    if findings:
        print(f"{len(findings)} found. {fix}")
    return 1 if findings else 0
