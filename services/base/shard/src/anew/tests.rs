use bytes::Bytes;
use entente_core::{
    AccountId, Class, Enlistment, Envelope, PartnerId, Placement, Position, SealKey, Sequence,
    SessionId, SignedPrekey, VisibleId,
};
use entente_log::MemoryLog;

use super::*;
use crate::record::{Fenced, Output};

const SHARDS: u32 = 2;
/// The shard that loses its rows, and the other one.
const LOST: ShardId = ShardId::new(1);
const OTHER: ShardId = ShardId::new(0);
const QUIET: Duration = Duration::from_millis(20);

fn partner() -> PartnerId {
    PartnerId::new(1).unwrap()
}

struct World {
    input: Arc<MemoryLog>,
    journals: Arc<MemoryLog>,
    placement: Placement,
    seal: SealKey,
}

/// An owner without sessions: what it folds and what it says.
struct Owner<'a> {
    world: &'a World,
    shard: Shard,
}

impl World {
    fn new() -> Self {
        Self {
            input: Arc::new(MemoryLog::new(SHARDS)),
            journals: Arc::new(MemoryLog::new(SHARDS)),
            placement: Placement::new(SHARDS, &[3; 16]),
            seal: SealKey::new(&[4; 32]),
        }
    }

    fn anew(&self, shard: ShardId) -> Anew {
        Anew {
            config: ShardConfig {
                shard,
                placement: self.placement.clone(),
                seal: self.seal.clone(),
            },
            input: Arc::<MemoryLog>::clone(&self.input),
            journals: Arc::<MemoryLog>::clone(&self.journals),
        }
    }

    async fn own(&self, shard: ShardId) -> Result<Owner<'_>, AnewError> {
        let anew = self.anew(shard);
        let rows = anew.journal(shard).take_over(random_array(), empty).await?;
        let shard = anew.replayed(shard, Arc::new(rows)).await?;
        assert!(shard.next() >= self.input.floor(shard.id().index()));
        let mut owner = Owner { world: self, shard };
        let claim = Command::Claim {
            nonce: random_array(),
        };
        let epoch = owner.shard.epoch().next();
        owner.commands_of(epoch, vec![claim]).await;
        Ok(owner)
    }

    /// An account of a shard.
    fn account(&self, shard: ShardId, from: u64) -> AccountId {
        let mut accounts = (from..).map(|number| AccountId::new(partner(), number));
        let is_there = |account: &AccountId| self.placement.of_account(*account) == shard;
        accounts.find(is_there).unwrap()
    }

    async fn send(&self, from: AccountId, to: AccountId, id: &str) {
        let now = Timestamp::now();
        let envelope = Envelope {
            from,
            from_device: 1,
            to,
            epoch: Epoch::new(1),
            position: Position::new(1),
            class: Class::Durable,
            id: Bytes::copy_from_slice(id.as_bytes()),
            wants_receipt: true,
            trace: None,
            admitted: now,
            expires: now.plus(Duration::from_secs(3600)),
            payload: Bytes::copy_from_slice(id.as_bytes()),
        };
        let partition = self.placement.of_account(to).index();
        let record = Record::envelope(&envelope, &self.seal);
        self.input.append(partition, vec![record]).await.unwrap();
    }

    /// Loses all of the rows but what was appended last.
    async fn lose(&self, but: u64) {
        let partition = LOST.index();
        let end = self.journals.end(partition).value();
        let floor = Offset::new(end - but);
        self.journals.raise_floor(partition, floor).await.unwrap();
    }
}

impl Owner<'_> {
    async fn commands_of(&mut self, epoch: Epoch, commands: Vec<Command>) {
        let fenced = Fenced { epoch, commands };
        let record = Record::commands(self.shard.id(), &fenced, &self.world.seal);
        let partition = self.shard.id().index();
        let appended = self.world.input.append(partition, vec![record]).await;
        appended.unwrap();
        self.catch_up().await;
    }

    async fn command(&mut self, command: Command) {
        self.commands_of(self.shard.epoch(), vec![command]).await;
    }

    async fn catch_up(&mut self) {
        let (input, partition) = (&self.world.input, self.shard.id().index());
        while self.shard.next() < input.end(partition) {
            let records = input.read(partition, self.shard.next(), 1 << 20).await;
            for record in records.unwrap() {
                self.shard.apply(&record).unwrap();
            }
        }
        self.shard.take_effects();
    }

    async fn enlist(&mut self, name: &str, account: AccountId) {
        let enlistment = Box::new(Enlistment {
            partner: partner(),
            visible: VisibleId::new(name).unwrap(),
            transport: [1; 32],
            registration: 1,
            identity: [1; 32],
            signed: SignedPrekey {
                id: 1,
                key: [1; 32],
                signature: Bytes::from_static(&[0; 64]),
            },
        });
        let (request, number) = (1, account.number());
        self.command(Command::Enlist {
            request,
            number,
            enlistment,
        })
        .await;
    }

    /// Delivers and settles everything that waits for an account. What it was.
    async fn receive(&mut self, account: AccountId) -> Vec<String> {
        self.catch_up().await;
        let session = SessionId::new(7);
        self.command(Command::Open { account, session }).await;
        let (mut last, mut all) = (Sequence::default(), Vec::new());
        while let Some(next) = self.shard.waiting_after(account, last).unwrap() {
            last = next.sequence;
            all.push(match next.content {
                Content::Stanza(payload) => String::from_utf8(payload.to_vec()).unwrap(),
                Content::Delivered(_) => "delivered".to_owned(),
                Content::Failed(_) => "failed".to_owned(),
                Content::IdentityChanged { .. } => "changed".to_owned(),
            });
        }
        let (epoch, _) = self.shard.newest(account).unwrap().unwrap();
        self.command(Command::Settle {
            account,
            epoch,
            through: last,
            handled: 0,
        })
        .await;
        self.command(Command::Leave { account, epoch }).await;
        all
    }

    /// Sends what the shard has for the other one.
    async fn pass_on(&mut self, target: ShardId) {
        self.catch_up().await;
        let outputs = self
            .shard
            .take_outputs(Target::Shard(target), usize::MAX, usize::MAX);
        let Some(through) = outputs.last().map(|(counter, _)| *counter) else {
            return;
        };
        let source = self.shard.id();
        let outputs = outputs.into_iter().map(|(counter, item)| match item {
            OutputItem::Content { to, content } => Output {
                source,
                counter,
                to,
                content,
            },
            OutputItem::Wake { .. } => panic!("a wake-up for a shard"),
        });
        let outputs: Vec<_> = outputs.collect();
        let record = Record::outputs(target, &outputs, &self.world.seal);
        let appended = self.world.input.append(target.index(), vec![record]).await;
        appended.unwrap();
        let target = Target::Shard(target);
        self.command(Command::Sent { target, through }).await;
    }

    /// Stores the rows, and lets the input go below them.
    async fn store(&mut self) {
        let checkpoint = self.shard.checkpoint();
        let covered = checkpoint.replay_from();
        let committed = tokio::task::spawn_blocking(move || checkpoint.commit()).await;
        committed.unwrap().unwrap();
        self.shard.checkpointed();
        let partition = self.shard.id().index();
        let raised = self.world.input.raise_floor(partition, covered).await;
        raised.unwrap();
    }
}

/// Two shards that have exchanged some receipts, and whose rows cover everything.
async fn talked(world: &World) -> ([AccountId; 2], [Owner<'_>; 2]) {
    let (anne, bert) = (world.account(OTHER, 1), world.account(LOST, 1));
    let mut other = world.own(OTHER).await.unwrap();
    let mut lost = world.own(LOST).await.unwrap();
    other.enlist("anne", anne).await;
    lost.enlist("bert", bert).await;
    for id in ["1", "2", "3"] {
        world.send(anne, bert, id).await;
        world.send(bert, anne, id).await;
        assert_eq!(lost.receive(bert).await.last().unwrap(), id);
        assert_eq!(other.receive(anne).await.last().unwrap(), id);
        lost.pass_on(OTHER).await;
        other.pass_on(LOST).await;
        other.catch_up().await;
        lost.catch_up().await;
        other.store().await;
        lost.store().await;
    }
    ([anne, bert], [other, lost])
}

/// What the input still holds is there: whoever enlisted late, and what waits for them. Senders to whom
/// is gone hear it, and what both shards have for each other arrives.
#[tokio::test]
async fn a_shard_without_rows_goes_on_from_what_its_log_holds() {
    let world = World::new();
    let ([anne, bert], [_, mut before]) = talked(&world).await;
    let carl = world.account(LOST, 1_000);
    before.enlist("carl", carl).await;
    world.send(anne, carl, "for carl").await;
    world.send(anne, bert, "for bert").await;
    world.lose(0).await;
    let anew = world.anew(LOST);
    let remains = anew.look(QUIET).await.unwrap();
    assert!(remains.damage.is_none() && remains.unreadable.is_empty());
    assert_eq!(remains.covered, None);
    assert_eq!((remains.stanzas, remains.accounts), (2, 1));
    assert_eq!((remains.waiting, remains.notices), (1, 1));
    anew.begin(&remains).await.unwrap();

    let mut other = world.own(OTHER).await.unwrap();
    let mut lost = world.own(LOST).await.unwrap();
    assert_eq!(lost.shard.newest(bert).unwrap(), None);
    assert_eq!(lost.receive(carl).await, ["for carl"]);
    lost.pass_on(OTHER).await;
    // Bert's, and the receipt of carl's.
    let heard = other.receive(anne).await;
    assert!(
        heard.ends_with(&["failed".to_owned(), "delivered".to_owned()]),
        "{heard:?}"
    );
    world.send(carl, anne, "from carl").await;
    assert_eq!(other.receive(anne).await, ["from carl"]);
    other.pass_on(LOST).await;
    assert_eq!(lost.receive(carl).await, ["delivered"]);
    // A name that was taken can be had anew.
    let again = world.account(LOST, bert.number() + 1);
    lost.enlist("bert", again).await;
    assert!(lost.shard.newest(again).unwrap().is_some());
    lost.store().await;
    let refused = anew.look(QUIET).await.unwrap_err();
    assert!(matches!(refused, AnewError::Readable(_)), "{refused}");
}

#[tokio::test]
async fn a_shard_that_has_lost_nothing_is_refused() {
    let world = World::new();
    let fresh = world.anew(LOST).look(QUIET).await.unwrap_err();
    assert!(matches!(fresh, AnewError::Fresh), "{fresh}");
    let _talked = talked(&world).await;
    for shard in [LOST, OTHER] {
        let before = [world.journals.end(0), world.journals.end(1)];
        let refused = world.anew(shard).look(QUIET).await.unwrap_err();
        assert!(matches!(refused, AnewError::Readable(_)), "{refused}");
        let after = [world.journals.end(0), world.journals.end(1)];
        assert_eq!(before, after, "looking wrote something");
    }
}

/// Rows whose beginning is gone are not taken for all that there were, and are let go if somebody says so.
#[tokio::test]
async fn rows_that_begin_in_the_middle_are_lost() {
    let world = World::new();
    let ([anne, bert], _) = talked(&world).await;
    world.lose(1).await;
    let refused = world.own(LOST).await.err().unwrap();
    let torn = AnewError::Journal(JournalError::Store(StoreError::Torn));
    assert_eq!(refused.to_string(), torn.to_string());
    let anew = world.anew(LOST);
    let remains = anew.look(QUIET).await.unwrap();
    assert!(matches!(remains.damage, Some(StoreError::Torn)));
    anew.begin(&remains).await.unwrap();
    let mut lost = world.own(LOST).await.unwrap();
    world.send(anne, bert, "4").await;
    lost.pass_on(OTHER).await;
    let mut other = world.own(OTHER).await.unwrap();
    assert_eq!(other.receive(anne).await.last().unwrap(), "failed");
}

/// Whoever still writes rows has them in memory.
#[tokio::test]
async fn an_owner_that_writes_is_left_alone() {
    let world = World::new();
    let (_, [_, mut owner]) = talked(&world).await;
    world.lose(0).await;
    let anew = world.anew(LOST);
    let (looked, ()) = tokio::join!(anew.look(Duration::from_millis(500)), owner.store());
    let refused = looked.unwrap_err();
    assert!(matches!(refused, AnewError::Owned), "{refused}");
}

/// Rows of an older copy are better than none: their accounts are there, without what happened since.
#[tokio::test]
async fn rows_of_an_older_copy_are_kept() {
    let mut world = World::new();
    let ([anne, bert], [mut other, mut lost]) = talked(&world).await;
    let partition = LOST.index();
    let copy = {
        let floor = world.journals.floor(partition);
        world
            .journals
            .read(partition, floor, usize::MAX)
            .await
            .unwrap()
    };
    for id in ["4", "5"] {
        world.send(anne, bert, id).await;
        lost.receive(bert).await;
        lost.pass_on(OTHER).await;
        other.receive(anne).await;
        lost.store().await;
        other.store().await;
    }
    drop((other, lost));
    world.lose(0).await;
    let restored = MemoryLog::new(SHARDS);
    for shard in [OTHER.index(), LOST.index()] {
        let from = world.journals.floor(shard);
        let mut records = copy.clone();
        if shard == OTHER.index() {
            records = world.journals.read(shard, from, usize::MAX).await.unwrap();
        }
        let records = records.into_iter().map(|record| record.payload).collect();
        restored.append(shard, records).await.unwrap();
    }
    world.journals = Arc::new(restored);
    let anew = world.anew(LOST);
    let remains = anew.look(QUIET).await.unwrap();
    assert!(
        remains
            .covered
            .is_some_and(|covered| covered < remains.floor)
    );
    assert_eq!(remains.accounts, 1);
    anew.begin(&remains).await.unwrap();
    let mut lost = world.own(LOST).await.unwrap();
    let mut other = world.own(OTHER).await.unwrap();
    world.send(anne, bert, "6").await;
    assert_eq!(lost.receive(bert).await.last().unwrap(), "6");
    lost.pass_on(OTHER).await;
    assert_eq!(other.receive(anne).await, ["delivered"]);
}
