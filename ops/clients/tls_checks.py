"""Checks of the TLS of the XMPP door with OpenSSL, as Python's `ssl` has it."""

import asyncio
import contextlib
import ssl
import warnings

from person import AUTHORITY, DOMAIN, PORT, WITHIN
from stage import check, equal, main

HEADER = (
    f"<?xml version='1.0'?><stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)
# That these are deprecated is the point.
warnings.simplefilter("ignore", DeprecationWarning)
V1_1, V1_2, V1_3 = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def context(least=V1_2, most=V1_3, alpn=("xmpp-client",)):
    """Trusts the gateway's authority alone."""
    made = ssl.create_default_context(cafile=AUTHORITY)
    made.minimum_version, made.maximum_version = least, most
    if alpn:
        made.set_alpn_protocols(list(alpn))
    return made


@contextlib.asynccontextmanager
async def connected(tls, name=DOMAIN):
    """A connection; `name` is what the certificate is checked against and what SNI says."""
    opening = asyncio.open_connection("127.0.0.1", PORT, ssl=tls, server_hostname=name)
    reader, writer = await asyncio.wait_for(opening, WITHIN)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            await writer.wait_closed()


async def features(reader, writer):
    """What the door offers after a stream header."""
    writer.write(HEADER.encode())
    text = await asyncio.wait_for(reader.readuntil(b"</stream:features>"), WITHIN)
    return text.decode()


async def refused(tls, name=DOMAIN):
    """The reason for which there is no connection."""
    try:
        async with connected(tls, name) as (reader, writer):
            # In TLS 1.3 a client learns of a refusal with its first read.
            await features(reader, writer)
    except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError) as error:
        return str(error)
    raise AssertionError("connected")


@check("TLS 1.3 is spoken, and nothing older")
async def versions(_):
    async with connected(context()) as (reader, writer):
        equal(writer.get_extra_info("ssl_object").version(), "TLSv1.3", "version")
        assert "PLAIN" in await features(reader, writer)
    for version in (V1_2, V1_1):
        old = context(version, version)
        # Or OpenSSL does not even try.
        old.set_ciphers("ALL:@SECLEVEL=0")
        reason = await refused(old)
        assert "alert" in reason.lower(), reason


@check("a client may name the protocol, name none, and not name the host")
async def names(_):
    for alpn, wanted in ((("xmpp-client",), "xmpp-client"), (("h2", "xmpp-client"), "xmpp-client"), ((), None)):
        async with connected(context(alpn=alpn)) as (reader, writer):
            equal(writer.get_extra_info("ssl_object").selected_alpn_protocol(), wanted, "protocol")
            assert "urn:xmpp:sasl:2" in await features(reader, writer)
    # OpenSSL sends no SNI for an address.
    async with connected(context(), "127.0.0.1") as (reader, writer):
        assert "PLAIN" in await features(reader, writer)


@check("another protocol is refused in the handshake (RFC 7301)")
async def other_protocol(_):
    reason = await refused(context(alpn=("h2", "http/1.1")))
    assert "no application protocol" in reason.lower().replace("_", " "), reason


@check("the certificate holds for the domain and for no other name")
async def other_name(_):
    reason = await refused(context(), "elsewhere.example")
    assert "Hostname mismatch" in reason, reason


@check("bytes that are no TLS end the connection")
async def no_tls(_):
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    writer.write(HEADER.encode())
    try:
        rest = await asyncio.wait_for(reader.read(), WITHIN)
    except ConnectionResetError:
        rest = b""
    writer.close()
    assert b"stream" not in rest, rest


@check("everything in one flight, and everything byte by byte")
async def pieces(_):
    async with connected(context()) as (reader, writer):
        # A client that does not wait: header and login together.
        writer.write(HEADER.encode())
        writer.write(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>")
        text = await asyncio.wait_for(reader.readuntil(b"</failure>"), WITHIN)
        assert b"not-authorized" in text, text
    async with connected(context()) as (reader, writer):
        for byte in HEADER.encode():
            writer.write(bytes([byte]))
            await writer.drain()
        text = await asyncio.wait_for(reader.readuntil(b"</stream:features>"), WITHIN)
        assert b"PLAIN" in text


main("tls")
