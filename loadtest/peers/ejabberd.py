"""ejabberd: how it is configured, given accounts and started."""

import re
from pathlib import Path

from place import Refused

USER = "ejabberd"
PACKAGES = ("ejabberd", "erlang-base", "erlang-p1-tls", "erlang-p1-xml")
# One process for each connection, and some more.
PROCESSES = 1_000_000
PORTS = 1_000_000
# One scheduler of each kind when there is one core; and none that waits busily, which would cost
# the core that others are measured on.
ONE_CORE = ["+S", "1:1", "+SDcpu", "1:1", "+SDio", "1"]
NO_BUSY_WAIT = ["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"]
# Is written behind the last account.
DONE = "accounts-made"
# Runs in the server itself, once it listens.
ACCOUNTS = """
    lists:foreach(
        fun(N) ->
            Number = integer_to_binary(N),
            User = <<"{prefix}", Number/binary>>,
            ok = ejabberd_auth:try_register(User, <<"{domain}">>, <<"{password}", Number/binary>>)
        end,
        lists:seq(1, {users})),
    ok = file:write_file("{done}", <<>>).
"""


def command(place, program, options):
    """Writes the configuration; returns the command and its environment."""
    place.fill(
        "ejabberd.yml",
        options.template,
        domain=options.domain,
        port=options.port,
        starttls_port=options.starttls_port,
    )
    accounts = ACCOUNTS.format(
        prefix=options.prefix,
        password=options.password,
        domain=options.domain,
        users=options.users,
        done=place.folder / "data" / DONE,
    )
    # The program of `ejabberdctl foreground`, without a node name: then Erlang opens no port for
    # other nodes and starts no port mapper (epmd), which would outlive the server.
    arguments = [program, "-noinput", "+K", "true", "+P", PROCESSES, "+Q", PORTS, *NO_BUSY_WAIT]
    if options.core is not None:
        arguments += ONE_CORE
    arguments += ["-mnesia", "dir", f'"{place.folder}/data"', "-s", "ejabberd", "-eval"]
    arguments.append(" ".join(accounts.split()))
    environment = {
        "ERL_LIBS": str(library()),
        "EJABBERD_CONFIG_PATH": str(place.folder / "ejabberd.yml"),
        "EJABBERD_LOG_PATH": str(place.folder / "log" / "ejabberd.log"),
        "ERL_CRASH_DUMP": str(place.folder / "log" / "crash.dump"),
    }
    return arguments, environment


def is_prepared(place):
    """Whether the accounts are there."""
    return (place.folder / "data" / DONE).exists()


def library():
    """The folder in which Debian keeps libraries for Erlang, which its name does not tell."""
    for found in Path("/usr/lib").glob("*/ejabberd-*/ebin/ejabberd.app"):
        if re.search(r"\{vsn,", found.read_text()):
            return found.parents[2]
    raise Refused("ejabberd is installed, but not where Debian puts it")
