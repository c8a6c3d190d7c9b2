//! Envelopes as they are in logs: the bytes were made from the layout, not by the code that reads them.

#![cfg(test)]

use bytes::Bytes;
use entente_core::{
    AccountId, Class, Envelope, Epoch, PartnerId, Position, SealKey, Timestamp, TraceContext,
};

/// Without a trace context: the form of all records from before messages were traced.
const PLAIN: &str = "0101010007000000000000002a00010009000000000000002b0000000000000003000000000000000c000000\
     0000000005000000000000000600036162630000000a3c6d6573736167652f3e6e0875a8f806343fd3ff2fe6\
     f81021e0";
/// With one: trace id, span id and flags between the times and the stanza id.
const TRACED: &str = "0101030007000000000000002a00010009000000000000002b0000000000000003000000000000000c000000\
     0000000005000000000000000601010101010101010101010101010101020202020202020201000361626300\
     00000a3c6d6573736167652f3e885c184446f3f07640af5636ddc00de3";

fn bytes(hex: &str) -> Bytes {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    let pairs = hex.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

/// A record that was written before messages were traced reads, and is still written so.
#[test]
fn records_of_before_traces_read_and_are_written_the_same() {
    let key = SealKey::new(&[9; 32]);
    let context = TraceContext {
        trace_id: [1; 16],
        span_id: [2; 8],
        flags: 1,
    };
    for (hex, trace) in [(PLAIN, None), (TRACED, Some(context))] {
        let expected = Envelope {
            from: AccountId::new(PartnerId::new(7).unwrap(), 42),
            from_device: 1,
            to: AccountId::new(PartnerId::new(9).unwrap(), 43),
            epoch: Epoch::new(3),
            position: Position::new(12),
            class: Class::Durable,
            id: Bytes::from_static(b"abc"),
            wants_receipt: true,
            trace,
            admitted: Timestamp::from_millis(5),
            expires: Timestamp::from_millis(6),
            payload: Bytes::from_static(b"<message/>"),
        };
        let record = bytes(hex);
        assert_eq!(Envelope::open(&record, &key).as_ref(), Ok(&expected));
        assert_eq!(expected.seal(&key), record);
    }
}
