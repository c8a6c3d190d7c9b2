"""The relay: how it is started. It needs no configuration, and lets everybody in."""

USER = None
PACKAGES = ()


def command(place, program, options):
    """Returns the command and its environment."""
    tls = place.folder / "tls"
    arguments = [program, "--listen", f"127.0.0.1:{options.port}", "--domain", options.domain]
    arguments += ["--cert", tls / f"{options.domain}.crt", "--key", tls / f"{options.domain}.key"]
    arguments += ["--threads", 1 if options.core is not None else 2, "--ask"]
    if place.name == "relay-gather":
        arguments.append("--gather")
    return arguments, {}


def is_prepared(_):
    """There are no accounts."""
    return True
