//! Owners and intake: what is asked and answered arrives, and what the transport says is no outcome.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{Epoch, Fault, FaultKind, Offset, ShardId, Timestamp};
use entente_proto::intake::{Ephemeral, Intake, Taken, Topic};
use entente_proto::owners::{ELSEWHERE, Owners};
use entente_proto::{IntakeClient, OwnersClient};
use parking_lot::Mutex;

use crate::bench::{Bench, WAYS, Way, account, soon};

type Appended = (Topic, u32, Vec<Bytes>);

/// Keeps shard 1, and shard 3 without ever answering.
#[derive(Debug, Default)]
struct Keeper {
    appended: Mutex<Vec<Appended>>,
    passed: Mutex<Vec<Ephemeral>>,
}

const TAKEN: Taken = Taken {
    first: Offset::new(7),
    last: Offset::new(9),
    at: Timestamp::from_millis(11),
};

#[async_trait]
impl Intake for Keeper {
    async fn append(
        &self,
        topic: Topic,
        partition: u32,
        records: Vec<Bytes>,
    ) -> Result<Taken, Fault> {
        if partition != 1 && partition != 3 {
            return Err(ELSEWHERE);
        }
        self.appended.lock().push((topic, partition, records));
        if partition == 3 {
            std::future::pending::<()>().await;
        }
        Ok(TAKEN)
    }

    async fn pass(&self, shard: ShardId, stanzas: Vec<Ephemeral>) -> Result<(), Fault> {
        if shard.index() != 1 {
            return Err(ELSEWHERE);
        }
        self.passed.lock().extend(stanzas);
        Ok(())
    }
}

fn owned() -> Vec<(ShardId, Epoch)> {
    let shard = |shard, epoch| (ShardId::new(shard), Epoch::new(epoch));
    vec![shard(1, 5), shard(3, 0)]
}

#[async_trait]
impl Owners for Keeper {
    async fn owned(&self) -> Result<Vec<(ShardId, Epoch)>, Fault> {
        Ok(owned())
    }
}

async fn handles(way: Way) -> (Arc<Keeper>, IntakeClient, OwnersClient, Option<Bench>) {
    let keeper = Arc::<Keeper>::default();
    let intake = IntakeClient::local(Arc::<Keeper>::clone(&keeper));
    let owners = OwnersClient::local(Arc::<Keeper>::clone(&keeper));
    if way == Way::Local {
        return (keeper, intake, owners, None);
    }
    let bench = Bench::serving(|served| served.intake(intake).owners(owners)).await;
    let channel = || bench.channel.clone();
    let (intake, owners) = (
        IntakeClient::remote(channel()),
        OwnersClient::remote(channel()),
    );
    (keeper, intake, owners, Some(bench))
}

#[tokio::test]
async fn records_and_stanzas_arrive_as_they_were() {
    for way in WAYS {
        let (keeper, intake, _, _bench) = handles(way).await;
        let records = vec![Bytes::from_static(b"one"), Bytes::from(vec![0; 300_000])];
        for topic in [Topic::Input, Topic::Wake] {
            let taken = soon(intake.append(topic, 1, records.clone())).await;
            assert_eq!(taken, Ok(TAKEN));
        }
        let both = [
            (Topic::Input, 1, records.clone()),
            (Topic::Wake, 1, records),
        ];
        assert_eq!(*keeper.appended.lock(), both);
        let stanza = Ephemeral {
            from: account(1, 2),
            to: account(3, 4),
            payload: Bytes::from_static(b"<message/>"),
        };
        let passed = soon(intake.pass(ShardId::new(1), vec![stanza.clone()])).await;
        assert_eq!(passed, Ok(()));
        assert_eq!(*keeper.passed.lock(), [stanza]);
    }
}

#[tokio::test]
async fn who_keeps_nothing_of_it_says_so_and_names_who_does() {
    for way in WAYS {
        let (_, intake, owners, _bench) = handles(way).await;
        let records = vec![Bytes::from_static(b"one")];
        let refused = soon(intake.append(Topic::Input, 2, records)).await;
        assert_eq!(refused, Err(ELSEWHERE));
        let refused = soon(intake.pass(ShardId::new(2), Vec::new())).await;
        assert_eq!(refused, Err(ELSEWHERE));
        assert_eq!(soon(owners.owned()).await, Ok(owned()));
    }
}

#[tokio::test]
async fn an_append_whose_answer_is_lost_has_no_known_outcome() {
    let (keeper, intake, _, bench) = handles(Way::Wire).await;
    let bench = bench.unwrap();
    let append = intake.append(Topic::Input, 3, vec![Bytes::from_static(b"one")]);
    let cut = async {
        while keeper.appended.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        bench.cut();
    };
    let (lost, ()) = soon(async { tokio::join!(append, cut) }).await;
    assert_eq!(lost.unwrap_err().kind(), FaultKind::Deadline);
    assert_eq!(keeper.appended.lock().len(), 1);
    let large = vec![Bytes::from(vec![0; 1024 * 1024])];
    let refused = soon(intake.append(Topic::Input, 1, large)).await;
    assert_eq!(refused.unwrap_err().kind(), FaultKind::Internal);
}
