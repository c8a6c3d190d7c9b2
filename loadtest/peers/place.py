"""A peer's folder: its certificates, its ports, and the file that says what runs there."""

import json
import os
import shutil
import socket
import string
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
STATE = "peer.json"
DAYS = "30"
# What belongs to the server.
OWN = ("tls", "data", "log")


class Refused(Exception):
    """What was asked for cannot be done; the text says why."""


class Place:
    """The folder of one peer, below one that the caller owns."""

    def __init__(self, name, above):
        self.name = name
        self.folder = Path(above).resolve() / name

    def state(self):
        """What `up` wrote, or None."""
        try:
            return json.loads((self.folder / STATE).read_text())
        except FileNotFoundError:
            return None

    def save(self, state):
        """Keeps what `down` and `status` need."""
        file = self.folder / f"{STATE}.new"
        file.write_text(json.dumps(state, indent=2) + "\n")
        file.rename(self.folder / STATE)

    def make(self, user):
        """Makes the folder, which the server's user must be able to enter (None: ours)."""
        if self.folder.exists():
            raise Refused(f"{self.folder} is there already; end what runs there, or remove it")
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        for above in self.folder.parents:
            if user and not above.stat().st_mode & 0o001:
                raise Refused(f"the user {user} may not enter {above}: chmod o+x it, or take another --dir")
        for each in OWN:
            (self.folder / each).mkdir(parents=True)
        self.save({})

    def hand_over(self, user):
        """Gives what the server reads and writes to its user; what `down` believes stays ours."""
        for each in OWN if user else ():
            for path in [self.folder / each, *(self.folder / each).rglob("*")]:
                shutil.chown(path, user, user)

    def remove(self):
        """Removes the folder."""
        shutil.rmtree(self.folder)

    def fill(self, template, other=None, **values):
        """Writes a template of this folder (or another file in its place) with its names filled in;
        returns where."""
        source = Path(other) if other else HERE / template
        text = string.Template(source.read_text()).substitute(values, folder=self.folder)
        file = self.folder / template
        file.write_text(text)
        return file

    def certify(self, domain):
        """Makes an authority and a certificate for the domain (both P-256, as Entente's own)."""
        tls = self.folder / "tls"
        extensions = tls / "extensions"
        extensions.write_text(
            f"subjectAltName=DNS:{domain}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n"
        )
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl(
            "req", "-x509", *key, "-keyout", tls / "ca.key", "-out", tls / "ca.crt", "-days", DAYS,
            "-subj", "/CN=development authority of a peer",
            "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign",
        )  # fmt: skip
        chain, private = tls / f"{domain}.crt", tls / f"{domain}.key"
        request = tls / "request"
        openssl("req", *key, "-keyout", private, "-out", request, "-subj", f"/CN={domain}")
        openssl(
            "x509", "-req", "-in", request, "-CA", tls / "ca.crt", "-CAkey", tls / "ca.key",
            "-CAcreateserial", "-days", DAYS, "-extfile", extensions, "-out", chain,
        )  # fmt: skip
        (tls / "server.pem").write_text(private.read_text() + chain.read_text())
        (tls / "ca.key").unlink()
        # Clients of other users read it.
        (tls / "ca.crt").chmod(0o644)


def openssl(*arguments):
    """Runs OpenSSL; its complaint becomes ours."""
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"openssl {arguments[0]}: {done.stderr.strip()}")


def free_ports(count):
    """So many ports that nobody listens on."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def user_of(name):
    """The system's user a server runs as: its own if we are root, else ours (None)."""
    return name if os.geteuid() == 0 else None
