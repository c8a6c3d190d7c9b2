//! What hostile input may cost, counted by the allocator. Alone in this binary and one at a time,
//! because the count is of the whole process.

use std::alloc::System;

use entente_stanza::limits::STANZA_BYTES_BEFORE_AUTH;
use entente_stanza::{Framing, Inbound, Limits, Received, StreamFault};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HEADER: &[u8] = b"<stream:stream xmlns='jabber:client' version='1.0' \
    xmlns:stream='http://etherx.jabber.org/streams'>";

fn opened(limits: Limits) -> Inbound {
    let mut inbound = Inbound::new(Framing::Stream, limits);
    inbound.push(HEADER);
    assert!(matches!(inbound.next_event(), Ok(Some(Received::Open(_)))));
    inbound
}

/// Bytes allocated while the input is parsed, and what came of it.
fn cost(input: &str, limits: Limits) -> (usize, Result<Option<Received>, StreamFault>) {
    let mut inbound = opened(limits);
    inbound.push(input.as_bytes());
    let region = Region::new(ALLOCATOR);
    let event = inbound.next_event();
    (region.change().bytes_allocated, event)
}

/// T9: namespace declarations as many and as long as the limits allow cost at most four times their
/// own size; one more is refused.
fn declarations_cost_what_they_weigh() {
    let element = |count: usize| {
        let mut tag = String::from("<a");
        for at in 0..count {
            tag += &format!(" xmlns:prefix{at}='urn:example:namespace:{at}'");
        }
        tag + "/>"
    };
    let stanza = format!("<m>{}</m>", element(31).repeat(6));
    assert!(stanza.len() < STANZA_BYTES_BEFORE_AUTH);
    let (bytes, event) = cost(&stanza, Limits::BEFORE_AUTH);
    assert!(matches!(event, Ok(Some(_))));
    assert!(
        bytes <= 4 * stanza.len(),
        "{bytes} bytes for {}",
        stanza.len()
    );
    let (bytes, event) = cost(&element(33), Limits::BEFORE_AUTH);
    assert_eq!(event, Err(StreamFault::TooComplex));
    assert!(bytes <= 4 * element(33).len(), "{bytes} bytes");
}

/// T8: a start tag of a megabyte costs nothing beyond its 65th attribute, be it twice as long.
fn attributes_cost_nothing_beyond_the_cap() {
    let tag = |count: usize| {
        let mut tag = String::from("<a");
        for at in 0..count {
            tag += &format!(" a{at}=''");
        }
        tag
    };
    let limits = Limits::with_stanza_bytes(16 << 20);
    for count in [80_000, 160_000] {
        let (bytes, event) = cost(&tag(count), limits);
        assert_eq!(event, Err(StreamFault::TooComplex));
        assert_eq!(bytes, 0, "a refusal allocates nothing");
    }
    let (_, honest) = cost(&(tag(60) + "/>"), limits);
    assert!(matches!(honest, Ok(Some(_))));
}

/// T11, T13: endless input holds one limit and one chunk, whatever it consists of, and idle streams
/// hold next to nothing.
fn endless_input_is_held_to_its_limit() {
    for piece in [" ", "<a ", "<a>", "<a b='", "<a>x"] {
        let region = Region::new(ALLOCATOR);
        let mut inbound = opened(Limits::BEFORE_AUTH);
        inbound.push(piece.as_bytes());
        let mut ended = inbound.next_event().is_err();
        for _ in 0..1000 {
            inbound.push(&[b' '; 1000]);
            ended |= inbound.next_event().is_err();
            let change = region.change();
            let held = change.bytes_allocated - change.bytes_deallocated;
            assert!(
                held <= 4 * STANZA_BYTES_BEFORE_AUTH,
                "{held} bytes held by {piece}"
            );
        }
        assert_eq!(ended, piece != " ", "{piece}");
    }
}

/// T13: after a stanza as large as allowed the stream gives its memory back.
fn a_large_stanza_leaves_nothing_behind() {
    let large = format!("<a>{}</a>", "x".repeat(250_000));
    let region = Region::new(ALLOCATOR);
    let mut inbound = opened(Limits::AFTER_AUTH);
    for _ in 0..3 {
        inbound.push(large.as_bytes());
        assert!(matches!(
            inbound.next_event(),
            Ok(Some(Received::Element(_)))
        ));
    }
    assert_eq!(inbound.next_event(), Ok(None));
    let change = region.change();
    let held = change.bytes_allocated - change.bytes_deallocated;
    assert!(held < 16 * 1024, "{held} bytes held");
}

#[test]
fn hostile_input_costs_little() {
    declarations_cost_what_they_weigh();
    attributes_cost_nothing_beyond_the_cap();
    endless_input_is_held_to_its_limit();
    a_large_stanza_leaves_nothing_behind();
}
