"""Puts links between the nodes of a cluster: a configuration for each node, and the plan of the links.

    ops/kafka via | links.py FOLDER FIRST_PORT BROKERS REDIS

FOLDER has the `entente.toml` that all nodes would share. For each node NAME comes an `entente.NAME.toml` in
which whatever it connects to has an address that nobody else connects to: node K's are FIRST_PORT + 16 * K
and on, for the nodes in their order, then Redis, then the brokers. `links` is the plan for
`entente-loadtest links`. BROKERS and REDIS are the addresses in the shared file. Standard input says for
each client of the brokers where they say they are, and where they listen for it.
"""

import re
import sys
import tomllib
from pathlib import Path

# As `link_of` of ops/cluster has it.
ROOM = 16


def main() -> None:
    folder, first, brokers, redis = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    shared = (folder / "entente.toml").read_text(encoding="utf-8")
    nodes = tomllib.loads(shared)["mesh"]["nodes"]
    doors = {}
    for line in sys.stdin:
        name, at, *listens = line.split()
        doors[name] = (int(at), listens)
    plan = []
    for place, node in enumerate(nodes):
        text, name, base = shared, node["name"], first + ROOM * place

        def link(port: int, to: str, target: str) -> str:
            plan.append(f"127.0.0.1:{port} {name} {to} {target}\n")
            return f"127.0.0.1:{port}"

        for other, far in enumerate(nodes):
            if far is not node:
                at = link(base + other, far["name"], far["address"])
                text = swap(text, f'\naddress = "{far["address"]}"', f'\naddress = "{at}"')
        text = swap(text, f"//{redis}/", f"//{link(base + len(nodes), 'redis', redis)}/")
        if name in doors:
            at, listens = doors[name]
            links = [link(at + n, f"b{n + 1}", door) for n, door in enumerate(listens)]
            text = swap(text, f"//{brokers}/", f"//{','.join(links)}/")
        (folder / f"entente.{name}.toml").write_text(text, encoding="utf-8")
    (folder / "links").write_text("".join(plan), encoding="utf-8")


def swap(text: str, old: str, new: str) -> str:
    """Replaces what is there once; what is not there would be reached directly, and never cut."""
    if len(re.findall(re.escape(old), text)) != 1:
        sys.exit(f"links.py: not once in entente.toml: {old.strip()}")
    return text.replace(old, new)


main()
