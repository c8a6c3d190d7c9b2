"""Prosody: how it is configured, given accounts and started."""

USER = "prosody"
PACKAGES = ("prosody", "lua5.4", "lua-sec", "lua-expat", "lua-socket")

# Its heap, in per cent of what was alive, at which Lua collects anew. Prosody's own default is 105.
THRESHOLDS = {"prosody": 400, "prosody-lean": 105}


def command(place, program, options):
    """Writes the configuration and the accounts; returns the command and its environment."""
    file = place.fill(
        "prosody.cfg.lua",
        options.template,
        threshold=THRESHOLDS[place.name],
        domain=options.domain,
        port=options.port,
        starttls_port=options.starttls_port,
    )
    accounts = place.folder / "data" / encoded(options.domain) / "accounts"
    accounts.mkdir(parents=True)
    for number in range(1, options.users + 1):
        name = encoded(f"{options.prefix}{number}")
        text = f'return {{ ["password"] = "{options.password}{number}" }};\n'
        (accounts / f"{name}.dat").write_text(text)
    return [program, "--config", file, "-F"], {}


def is_prepared(_):
    """The accounts are there before it starts."""
    return True


def encoded(name):
    """A name as Prosody writes it in paths."""
    return "".join(each if each.isalnum() else f"%{ord(each):02x}" for each in name)
