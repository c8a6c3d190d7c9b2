//! Questions of a person on call arrive as they were asked, and so do answers and refusals.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{Fault, FaultKind, MAX_STANZA_ID_BYTES, ShardId};
use entente_proto::InspectClient;
use entente_proto::inspect::{Inspect, NOT_SEEN, Question};
use parking_lot::Mutex;

use crate::bench::{Bench, WAYS, Way, account, soon};

/// Knows everything but stanzas.
#[derive(Debug, Default)]
struct Knows(Mutex<Vec<Question>>);

const ANSWER: &str = r#"{"of a later version":1}"#;

#[async_trait]
impl Inspect for Knows {
    async fn inspect(&self, question: Question) -> Result<String, Fault> {
        let is_stanza = matches!(question, Question::Stanza { .. });
        self.0.lock().push(question);
        if is_stanza {
            return Err(NOT_SEEN);
        }
        Ok(ANSWER.to_owned())
    }
}

fn stanza(id: Bytes) -> Question {
    Question::Stanza {
        from: account(1, 2),
        from_device: 3,
        to: account(4, 5),
        id,
    }
}

#[tokio::test]
async fn questions_and_answers_arrive_as_they_were() {
    for way in WAYS {
        let knows = Arc::<Knows>::default();
        let local = InspectClient::local(Arc::<Knows>::clone(&knows));
        let (client, _bench) = if way == Way::Local {
            (local, None)
        } else {
            let bench = Bench::serving(|served| served.inspect(local)).await;
            (InspectClient::remote(bench.channel.clone()), Some(bench))
        };
        let questions = [
            Question::Device(account(7, 8)),
            Question::Quarantine(ShardId::new(6)),
            Question::Shard(ShardId::new(9)),
        ];
        for question in questions.clone() {
            let answer = soon(client.inspect(question)).await;
            assert_eq!(answer.as_deref(), Ok(ANSWER));
        }
        let last = stanza(Bytes::from(vec![0xff; MAX_STANZA_ID_BYTES]));
        let refused = soon(client.inspect(last.clone())).await;
        assert_eq!(refused, Err(NOT_SEEN), "{way:?}");
        assert_eq!(knows.0.lock()[..3], questions);
        assert_eq!(knows.0.lock()[3], last);
    }
}

#[tokio::test]
async fn an_id_that_nobody_can_have_sent_is_refused() {
    let knows = Arc::<Knows>::default();
    let local = InspectClient::local(Arc::<Knows>::clone(&knows));
    let bench = Bench::serving(|served| served.inspect(local)).await;
    let client = InspectClient::remote(bench.channel.clone());
    let long = stanza(Bytes::from(vec![b'x'; MAX_STANZA_ID_BYTES + 1]));
    let refused = soon(client.inspect(long)).await.unwrap_err();
    assert_eq!(refused.kind(), FaultKind::PeerMisbehaved);
    assert!(knows.0.lock().is_empty());
}

#[test]
fn a_question_names_nobody_in_a_log_line() {
    let asked = format!("{:?}", stanza(Bytes::from_static(b"an id")));
    assert_eq!(asked, "stanza");
    assert_eq!(format!("{:?}", Question::Device(account(7, 8))), "device");
}
