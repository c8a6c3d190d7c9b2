//! What must hold for any bytes; the fuzz targets and a test over the corpus call it.
//!
//! Each function panics when its property does not hold. rxml is the oracle: an XML parser written by
//! others for the same restricted XML.

mod oracle;

use bytes::{Bytes, BytesMut};

use crate::element::Element;
use crate::error::StreamFault;
use crate::framer::Framing;
use crate::inbound::{Inbound, Received};
use crate::jid::Jid;
use crate::limits::Limits;
use crate::ns;
use crate::splice;
use crate::stanza::Stanza;

/// The header in front of input that has none.
pub const HEADER: &[u8] = b"<stream:stream xmlns='jabber:client' version='1.0' \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:p='urn:example:p'>";

/// Limits for what was written here: larger than any input, as escaping makes text longer.
const WRITTEN: Limits = Limits::with_stanza_bytes(8 * 1024 * 1024);

/// Any chunking gives the same events and the same fault, and nothing comes after the fault (T5, T17).
pub fn stream(data: &[u8]) {
    for input in [data.to_vec(), [HEADER, data].concat()] {
        let whole = events(&input, input.len().max(1), Limits::BEFORE_AUTH);
        let single = events(&input, 1, Limits::BEFORE_AUTH);
        assert_eq!(whole, single, "one byte at a time");
        let size = data.first().map_or(3, |byte| usize::from(*byte % 61) + 2);
        assert_eq!(
            whole,
            events(&input, size, Limits::BEFORE_AUTH),
            "chunks of {size}"
        );
    }
    let mut socket = Inbound::new(Framing::WebSocket, Limits::BEFORE_AUTH);
    let opened = socket.message(Bytes::from_static(
        b"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0'/>",
    ));
    assert!(opened.is_ok(), "the honest opening passes");
    if let Err(fault) = socket.message(Bytes::copy_from_slice(data)) {
        let again = socket.message(Bytes::from_static(b"<a xmlns='urn:a'/>"));
        assert_eq!(again, Err(fault), "after a fault nothing comes");
    }
}

/// All events of a stream in chunks of one size, and the fault that ended it.
pub fn events(input: &[u8], chunk: usize, limits: Limits) -> (Vec<Received>, Option<StreamFault>) {
    let mut inbound = Inbound::new(Framing::Stream, limits);
    let mut out = Vec::new();
    for part in input.chunks(chunk) {
        inbound.push(part);
        loop {
            match inbound.next_event() {
                Ok(Some(event)) => out.push(event),
                Ok(None) => break,
                Err(fault) => {
                    inbound.push(b"</a></b><message/>");
                    assert_eq!(
                        inbound.next_event(),
                        Err(fault),
                        "after a fault nothing comes"
                    );
                    return (out, Some(fault));
                }
            }
        }
        assert!(
            inbound.buffered() <= limits.stanza_bytes,
            "the buffer is bounded"
        );
    }
    (out, None)
}

/// What is accepted here the oracle accepts, and reads as the same tree (T16).
pub fn differential(data: &[u8]) {
    for input in [data.to_vec(), [HEADER, data].concat()] {
        let chunk = data.last().map_or(7, |byte| usize::from(*byte % 127) + 1);
        let ours = elements(&input, chunk);
        let theirs = oracle::elements(&input, chunk);
        assert!(
            theirs.len() >= ours.len(),
            "the oracle refuses what is accepted here"
        );
        for (own, their) in ours.iter().zip(&theirs) {
            assert_eq!(&oracle::sorted(own), their, "read differently");
        }
    }
}

/// Writing and reading gives the same element, on both doors and for the oracle (T15).
pub fn roundtrip(data: &[u8]) {
    let input = [HEADER, data].concat();
    for element in elements(&input, input.len()) {
        check_roundtrip(&element);
    }
}

/// The same for one element.
pub fn check_roundtrip(element: &Element) {
    let bytes = element.to_bytes();
    assert_eq!(
        parse_one(&bytes).as_ref(),
        Some(element),
        "written and read"
    );
    let theirs = oracle::elements(&[HEADER, &bytes].concat(), 64);
    assert_eq!(
        theirs,
        [oracle::sorted(element)],
        "written, read by the oracle"
    );

    let mut framed = BytesMut::new();
    splice::framed(&bytes).write_into(&mut framed);
    let mut socket = Inbound::new(Framing::WebSocket, WRITTEN);
    let opened = socket.message(Bytes::from_static(
        b"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0'/>",
    ));
    assert!(opened.is_ok(), "the honest opening passes");
    let special = element.ns() == &ns::FRAMING || element.ns().is_none();
    if !special {
        let read = socket.message(framed.freeze());
        assert_eq!(
            read,
            Ok(Received::Element(element.clone())),
            "on a WebSocket"
        );
    }

    let child = Element::new("delay", ns::DELAY).with_attribute("stamp", "now");
    let mut spliced = BytesMut::new();
    splice::with_child(&bytes, &child.to_bytes()).write_into(&mut spliced);
    let whole = element.clone().with_child(child);
    assert_eq!(
        parse_one(&spliced).as_ref(),
        Some(&whole),
        "a child is added"
    );
    if element.ns() == &ns::CLIENT {
        assert_eq!(spliced, whole.to_bytes(), "and as it would be written");
    }

    if let Ok(stanza) = Stanza::from_element(element.clone()) {
        let typed = stanza.clone().into_element();
        let again = Stanza::from_element(typed);
        assert_eq!(again, Ok(stanza), "a typed stanza is stable");
    }
}

/// A prepared address is stable, and the short way prepares as the long one (T20).
pub fn jid(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(jid) = Jid::parse(text) else {
        return;
    };
    assert_eq!(Jid::parse(jid.as_str()).as_ref(), Ok(&jid), "stable");
    assert_eq!(
        Jid::prepare(text).as_ref(),
        Ok(&jid),
        "the short way is the long way"
    );
    assert_eq!(
        Jid::prepare(jid.as_str()).as_ref(),
        Ok(&jid),
        "stable the long way"
    );
    let parts = [
        jid.local().map(|local| format!("{local}@")),
        Some(jid.domain().to_owned()),
        jid.resource().map(|resource| format!("/{resource}")),
    ];
    let joined: String = parts.into_iter().flatten().collect();
    assert_eq!(joined, jid.as_str(), "the parts are the whole");
    assert_eq!(jid.to_bare().as_str(), jid.bare_str(), "bare");
}

fn elements(input: &[u8], chunk: usize) -> Vec<Element> {
    let (events, _) = events(input, chunk.max(1), Limits::AFTER_AUTH);
    let element = |event| match event {
        Received::Element(element) => Some(element),
        Received::Open(_) | Received::Close => None,
    };
    events.into_iter().filter_map(element).collect()
}

fn parse_one(bytes: &[u8]) -> Option<Element> {
    let mut inbound = Inbound::new(Framing::Stream, WRITTEN);
    inbound.push(HEADER);
    inbound.push(bytes);
    assert!(
        matches!(inbound.next_event(), Ok(Some(Received::Open(_)))),
        "honest header"
    );
    match inbound.next_event() {
        Ok(Some(Received::Element(element))) => Some(element),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
