//! Stanzas a second and allocations a stanza on one core: `cargo bench -p entente-stanza`.

#![expect(clippy::print_stdout, reason = "the figures are what a bench is for")]

use std::alloc::System;
use std::hint::black_box;
#[expect(clippy::disallowed_types, reason = "a bench measures real time")]
use std::time::Instant;

use bytes::BytesMut;
use entente_stanza::{Framer, Framing, Inbound, Jid, Limits, Received, Stanza};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HEADER: &[u8] = b"<stream:stream xmlns='jabber:client' version='1.0' \
    xmlns:stream='http://etherx.jabber.org/streams'>";
const ROUNDS: usize = 20_000;
/// Repetitions of a round; the best counts, because others use the machine, too.
const TRIES: usize = 7;

/// A message of 607 bytes: four attributes, 400 bytes of base64, a receipt request.
fn message() -> String {
    let start = "<message from='1-10853634039893@interop.example/phone' \
        to='2-20853634039894@interop.example' id='3EB0C767D26B8A4F' type='chat'>\
        <enc xmlns='urn:entente:0'>";
    let end = "</enc><request xmlns='urn:xmpp:receipts'/></message>";
    let body = "QUJD".repeat((607 - start.len() - end.len()) / 4);
    format!("{start}{body}{end}")
}

/// Runs `work` over `stanzas` stanzas and prints the best rate and the allocations of each.
#[expect(clippy::disallowed_types, reason = "a bench measures real time")]
#[expect(
    clippy::cast_precision_loss,
    reason = "figures for people; counts stay far below 2^53"
)]
fn measure(name: &str, stanzas: usize, mut work: impl FnMut()) {
    work();
    let region = Region::new(ALLOCATOR);
    work();
    let change = region.change();
    let best = (0..TRIES)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    let each = |count: usize| count as f64 / stanzas as f64;
    println!(
        "{name:<34} {:>6.2} M/s  {:>5.1} allocations, {:>6.0} bytes",
        each(stanzas) * stanzas as f64 / best / 1e6,
        each(change.allocations + change.reallocations),
        each(change.bytes_allocated),
    );
}

/// The stream in chunks of pseudo-random sizes up to `largest`, the same each time.
fn chunks(input: &[u8], largest: usize) -> Vec<&[u8]> {
    let mut rest = input;
    let mut seed = 1_usize;
    let mut out = Vec::new();
    while !rest.is_empty() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let len = (seed >> 33) % largest + 1;
        let (chunk, after) = rest.split_at(len.min(rest.len()));
        out.push(chunk);
        rest = after;
    }
    out
}

fn main() {
    let message = message();
    let stream = message.repeat(ROUNDS);
    for largest in [4096, 1460, 100] {
        let pieces = chunks(stream.as_bytes(), largest);
        measure(&format!("frame, chunks to {largest}"), ROUNDS, || {
            let mut framer = Framer::new(Limits::AFTER_AUTH);
            framer.push(HEADER);
            for piece in &pieces {
                framer.push(piece);
                while let Ok(Some(frame)) = framer.next_frame() {
                    black_box(frame);
                }
            }
        });
        measure(
            &format!("parse to tree, chunks to {largest}"),
            ROUNDS,
            || {
                let mut inbound = Inbound::new(Framing::Stream, Limits::AFTER_AUTH);
                inbound.push(HEADER);
                for piece in &pieces {
                    inbound.push(piece);
                    while let Ok(Some(event)) = inbound.next_event() {
                        black_box(event);
                    }
                }
            },
        );
    }
    let mut inbound = Inbound::new(Framing::Stream, Limits::AFTER_AUTH);
    inbound.push(HEADER);
    inbound.push(message.as_bytes());
    let mut element = None;
    while let Ok(Some(event)) = inbound.next_event() {
        if let Received::Element(read) = event {
            element = Some(read);
        }
    }
    let Some(element) = element else {
        println!("the message was refused");
        return;
    };
    let mut out = BytesMut::with_capacity(1 << 20);
    measure("write", ROUNDS, || {
        for _ in 0..ROUNDS {
            if out.len() > 1 << 19 {
                out.clear();
            }
            black_box(&element).write_into(&mut out);
        }
    });
    measure("clone, type, write", ROUNDS, || {
        for _ in 0..ROUNDS {
            if out.len() > 1 << 19 {
                out.clear();
            }
            if let Ok(stanza) = Stanza::from_element(element.clone()) {
                black_box(stanza).into_element().write_into(&mut out);
            }
        }
    });
    measure("address", ROUNDS, || {
        for _ in 0..ROUNDS {
            black_box(Jid::parse(black_box("1-10853634039893@interop.example/phone")).ok());
        }
    });
}
