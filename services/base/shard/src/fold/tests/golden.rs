//! T152: records of every kind as this version writes them. They are in logs: a later version opens
//! them or gives the kind a new byte, and never changes a vector here.

use bytes::Bytes;
use entente_core::{
    Content, Counter, Epoch, FailReason, Failed, Sequence, SessionId, ShardId, TAG_BYTES,
    Timestamp, TraceContext,
};

use super::bed::{Bed, account, seal};
use crate::outbox::Target;
use crate::record::{Command, Fenced, Output, Record};
use crate::wake::WakeUp;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Bytes {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

fn commands() -> Fenced {
    let (account, epoch) = (account(300), Epoch::new(5));
    Fenced {
        epoch: Epoch::new(2),
        commands: vec![
            Command::Claim { nonce: [7; 16] },
            Command::Open {
                account,
                session: SessionId::new(9),
            },
            Command::Leave { account, epoch },
            Command::Resumable {
                account,
                epoch,
                digest: [6; 16],
            },
            Command::Settle {
                account,
                epoch,
                through: Sequence::new(11),
                handled: 12,
            },
            Command::Unenlist {
                request: 13,
                account,
            },
            Command::Take {
                request: 14,
                target: account,
            },
            Command::Block {
                request: 15,
                account,
                clear: true,
                add: vec![account],
                remove: vec![],
            },
            Command::Contacted {
                account,
                peers: vec![account],
            },
            Command::Expire { account },
            Command::Silent { account },
            Command::Sent {
                target: Target::Wake,
                through: Counter::new(16),
            },
        ],
    }
}

fn outputs() -> Vec<Output> {
    let id = Bytes::from_static(b"abc");
    let why = FailReason::Expired;
    let content = Content::Failed(Failed {
        to: account(4),
        id,
        why,
    });
    vec![Output {
        source: ShardId::new(1),
        counter: Counter::new(2),
        to: account(3),
        content,
    }]
}

fn envelope() -> entente_core::Envelope {
    let mut envelope = Bed::new().envelope(account(1), account(2), "id");
    (envelope.admitted, envelope.expires) = (Timestamp::from_secs(5), Timestamp::from_secs(6));
    envelope
}

#[test]
fn records_of_this_version_stay_readable() {
    let shard = ShardId::new(3);
    let cases = [
        (
            "commands",
            Record::commands(shard, &commands(), &seal()),
            Record::Commands(commands()),
        ),
        (
            "envelope",
            Record::envelope(&envelope(), &seal()),
            Record::Envelope(envelope()),
        ),
        (
            "outputs",
            Record::outputs(shard, &outputs(), &seal()),
            Record::Outputs(outputs()),
        ),
    ];
    for ((name, written, record), vector) in cases.into_iter().zip(VECTORS) {
        assert_eq!(
            Record::open(shard, &unhex(vector), &seal()),
            Ok(record),
            "{name}"
        );
        assert_eq!(hex(&written), vector, "{name}");
    }
}

/// A command that came later, behind those above.
#[test]
fn rejoins_of_this_version_stay_readable() {
    let shard = ShardId::new(3);
    let fenced = Fenced {
        epoch: Epoch::new(2),
        commands: vec![Command::Rejoin {
            account: account(300),
            session: SessionId::new(9),
            epoch: Epoch::new(5),
        }],
    };
    let written = Record::commands(shard, &fenced, &seal());
    assert_eq!(hex(&written), REJOIN);
    let read = Record::open(shard, &unhex(REJOIN), &seal());
    assert_eq!(read, Ok(Record::Commands(fenced)));
}

#[test]
fn wake_ups_of_this_version_stay_readable() {
    let wake = WakeUp {
        source: ShardId::new(1),
        counter: Counter::new(2),
        account: account(3),
        trace: None,
    };
    assert_eq!(WakeUp::open(&unhex(WAKE), &seal()), Ok(wake.clone()));
    assert_eq!(hex(&wake.record(&seal())), WAKE);
}

/// A wake-up of a sampled message is the same and a trace: what does not know it reads the rest.
#[test]
fn wake_ups_with_a_trace_read_without_it_too() {
    let plain = WakeUp {
        source: ShardId::new(1),
        counter: Counter::new(2),
        account: account(3),
        trace: None,
    };
    let trace = Some(TraceContext {
        trace_id: [4; 16],
        span_id: [5; 8],
        flags: 1,
    });
    let traced = WakeUp {
        trace,
        ..plain.clone()
    };
    let record = traced.record(&seal());
    assert_eq!(hex(&record), TRACED);
    assert_eq!(WakeUp::open(&record, &seal()), Ok(traced));
    let body = &record[..record.len() - TAG_BYTES];
    assert_eq!(postcard::from_bytes(body), Ok(plain), "the older reader");
}

const VECTORS: [&str; 3] = [
    "02020c00070707070707070707070707070707070101ac02090201ac02050301ac02050606060606\
     06060606060606060606060401ac02050b0c060d01ac02080e01ac02090f01ac02010101ac02000a\
     01ac020101ac020b01ac020c01ac020d0110253690ae9de5e7538ed5b80b1164b764",
    "01010101000100000000000000010001000100000000000000020000000000000001000000000000\
     00010000000000001388000000000000177000026964000000123c6d6573736167652069643d2769\
     64272f3ef3780c6428e3fcf4db5ac35a9e7e0bb7",
    "03010102010301010403616263000fe4be72fa9247da1d4fcb9c667eb80b",
];
const WAKE: &str = "01020103bd28b17d3b734f4cc0f0dc84cc2f28cc";
const TRACED: &str =
    "0102010304040404040404040404040404040404050505050505050501cc02c562c6c61e9c76658adb08cd28c6";
const REJOIN: &str = "0202010e01ac0209053cf466d736e9f9451cdfc04d0953a823";
