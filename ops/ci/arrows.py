#!/usr/bin/env python3
"""Checks which crate may depend on which, from `cargo metadata`.

A crate has a folder and a level, and depends on crates of lower levels only; so a service never
names a service, and nothing but the program names a backend. Crates for tests alone may be
dev-dependencies of any crate. Heavy libraries stay in the crates that exist for them. Every
external crate is declared once, in the root's [workspace.dependencies].
"""

import json
import re
import subprocess
import sys

import tree

BASE, SERVICES, BACKENDS, TEST, LOAD = (
    "services/base",
    "services",
    "services/backends",
    "services/test",
    "loadtest",
)
# crate without its `entente-`: (folder above it, level)
CRATES = {
    "core": (BASE, 0),
    "audit": (BASE, 1),
    "egress": (BASE, 1),
    "keys": (BASE, 1),
    "log": (BASE, 1),
    "node": (BASE, 1),
    "noise": (BASE, 1),
    "stanza": (BASE, 1),
    "table": (BASE, 1),
    "trace": (BASE, 2),
    "mesh": (BASE, 2),
    "proto": ("", 2),
    "shard": (BASE, 2),
    "kafka": (BACKENDS, 3),
    "kube": (BACKENDS, 3),
    "redis": (BACKENDS, 3),
    "kit": (TEST, 3),
    "model": (TEST, 3),
    "connection": (SERVICES, 3),
    "identity": (SERVICES, 3),
    "media": (SERVICES, 3),
    "operator": (SERVICES, 3),
    "push": (SERVICES, 3),
    "router": (SERVICES, 3),
    "demo": (SERVICES, 4),
    "gateway": (SERVICES, 5),
    "acceptance": (TEST, 6),
    "fleet": (LOAD, 1),
    "history": (LOAD, 1),
    "probe": (LOAD, 1),
    "relay": (LOAD, 2),
    "report": (LOAD, 2),
    "engine": (LOAD, 4),
    "campaign": (LOAD, 5),
    "loadtest": ("", 6),
    "signal-peer": ("ops/clients", 6),
}
# Stand-ins and models: no service depends on them.
TEST_ONLY = {"kit", "model"}
# These play clients and partners against a gateway, and may use the stand-ins in their own code.
PLAYERS = {"acceptance", "campaign", "demo", "engine", "loadtest", "signal-peer"}

# External crates that cost much to build, to audit or to license, and who may have them.
# A dev-dependency is free: it ships with nothing.
HEAVY = {
    "k8s-openapi": {"kube", "operator"},
    "kube": {"kube", "operator"},
    "libsignal-protocol-syft": {"demo"},
    "opentelemetry-proto": {"trace"},
    "proptest": set(),
    "rdkafka": {"kafka"},
    "redis": {"redis"},
    "stateright": {"model"},
}
FORBIDDEN = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}


def crate_findings(crate, declared):
    """What is wrong with one crate of `cargo metadata`."""
    name = crate["name"].removeprefix("entente-")
    if name not in CRATES or name == crate["name"]:
        yield f"{crate['name']}: not in the table of {__file__.rsplit('/', 1)[-1]}; give it a level"
        return
    folder, _ = CRATES[name]
    home = f"{folder}/{name}" if folder else name
    if crate["folder"] != home:
        yield f"{crate['name']}: lives in {crate['folder']}, belongs in {home}"
    for dependency in crate["dependencies"]:
        yield from dependency_findings(name, dependency, declared)


def dependency_findings(name, dependency, declared):
    """What is wrong with one dependency of the crate `name`."""
    target, kind = dependency["name"], dependency["kind"] or "normal"
    edge = f"entente-{name} -> {target} ({kind})"
    inner = target.removeprefix("entente-")
    if inner == target:
        if target in HEAVY and name not in HEAVY[target] and kind != "dev":
            owners = ", ".join(f"entente-{each}" for each in sorted(HEAVY[target]))
            yield f"{edge}: allowed in {owners or 'no crate, except as a dev-dependency'}"
        if (dependency.get("rename") or target) not in declared:
            yield f"{edge}: not declared in the root's [workspace.dependencies]"
    elif inner not in CRATES:
        yield f"{edge}: unknown crate"
    elif inner in TEST_ONLY:
        if kind != "dev" and name not in PLAYERS:
            yield f"{edge}: only for tests; make it a dev-dependency"
    elif inner == name and kind == "dev":
        pass  # How a crate's tests turn on a feature of the crate itself.
    elif CRATES[inner][1] >= CRATES[name][1]:
        yield f"{edge}: points up or sideways (level {CRATES[name][1]} to {CRATES[inner][1]})"


def name_findings(paths):
    """Source files and folders whose name says nothing."""
    for path in paths:
        parts = path.removesuffix(".rs").split("/")
        bad = FORBIDDEN.intersection(parts)
        if bad:
            yield f"{path}: nothing is called {', '.join(sorted(bad))}; name it for what it does"


def metadata():
    """The workspace's crates, each with its folder relative to the root."""
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"]
    listing = subprocess.run(command, cwd=tree.ROOT, check=True, capture_output=True)
    for crate in json.loads(listing.stdout)["packages"]:
        manifest = crate["manifest_path"]
        folder = manifest.removeprefix(f"{tree.ROOT}/").removesuffix("/Cargo.toml")
        yield crate | {"folder": folder}


def declared_names():
    """The keys of the root's [workspace.dependencies]."""
    section = tree.text("Cargo.toml").split("[workspace.dependencies]", 1)[1]
    section = re.split(r"^\[", section, maxsplit=1, flags=re.MULTILINE)[0]
    return set(re.findall(r"^([\w-]+)\s*=", section, flags=re.MULTILINE))


def self_test():
    def check(name, *dependencies, folder=None):
        home, _ = CRATES.get(name, ("", 0))
        crate = {
            "name": f"entente-{name}",
            "folder": folder or (f"{home}/{name}" if home else name),
            "dependencies": [
                {"name": target, "kind": kind, "rename": None} for target, kind in dependencies
            ],
        }
        return list(crate_findings(crate, {"bytes", "rdkafka", "proptest"}))

    assert check("router", ("entente-proto", None), ("entente-shard", None)) == []
    assert check("router", ("entente-kit", "dev"), ("proptest", "dev"), ("bytes", None)) == []
    assert check("gateway", ("entente-router", None), ("entente-kafka", None)) == []
    assert check("acceptance", ("entente-gateway", None), ("entente-kit", None)) == []
    assert check("demo", ("entente-kit", None)) == []
    assert check("stanza", ("entente-stanza", "dev")) == []
    assert check("kafka", ("rdkafka", None)) == []

    assert len(check("router", ("entente-identity", None))) == 1, "service to service"
    assert len(check("router", ("entente-identity", "dev"))) == 1, "not even for tests"
    assert len(check("router", ("entente-kafka", None))) == 1, "service to backend"
    assert len(check("log", ("entente-shard", None))) == 1, "up"
    assert len(check("log", ("entente-table", None))) == 1, "sideways"
    assert len(check("core", ("entente-log", "build"))) == 1, "core stands on nothing"
    assert len(check("router", ("entente-kit", None))) == 1, "a stand-in that ships"
    assert len(check("connection", ("rdkafka", None))) == 1, "heavy"
    assert len(check("router", ("proptest", None))) == 1, "heavy everywhere"
    assert len(check("router", ("left-pad", None))) == 1, "undeclared"
    assert len(check("toolbox")) == 1, "no level"
    assert len(check("router", folder="loadtest/router")) == 1, "wrong folder"

    assert list(name_findings(["a/src/admit.rs", "a/src/commonly.rs"])) == []
    assert len(list(name_findings(["a/src/utils.rs", "a/src/misc/b.rs"]))) == 2


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    declared = declared_names()
    found = [each for crate in metadata() for each in crate_findings(crate, declared)]
    found += name_findings(tree.files("*.rs"))
    return tree.report(found, "services/ARCHITECTURE.md has the arrows.")


if __name__ == "__main__":
    sys.exit(main())
