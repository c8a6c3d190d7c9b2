//! Any schedule of records, checkpoints, lost checkpoints and reloads gives the shard that the plain
//! model says, the same effects, and the same outputs with the same counters.

mod model;

use std::sync::Arc;
use std::time::Duration;

use entente_core::{AccountId, Counter, Epoch, Sequence, SessionId, ShardId, Timestamp};
use proptest::prelude::*;

use self::model::Model;
use super::bed::{Bed, enlistment, one_time, seal};
use crate::effect::Effect;
use crate::outbox::Target;
use crate::record::{Command, Record};
use crate::store::{FjallStore, MemoryStore, StateStore};

const USERS: usize = 4;

/// What happens. Users are 0 to 2 in this shard and 3 in the other one.
#[derive(Clone, Debug)]
enum Step {
    Again,
    Block {
        who: usize,
        other: usize,
        add: bool,
    },
    Checkpoint {
        lost: bool,
    },
    Claim {
        by: u64,
    },
    Enlist {
        who: usize,
        identity: u8,
    },
    Erase(usize),
    Expire(usize),
    Leave {
        who: usize,
        stale: bool,
    },
    Open(usize),
    Output {
        counter: u64,
        to: usize,
    },
    Pass(u64),
    Rejoin {
        who: usize,
        stale: bool,
    },
    Reload,
    Send {
        from: usize,
        to: usize,
        id: u8,
    },
    Sent(u64),
    Settle {
        who: usize,
        stale: bool,
        through: u64,
    },
    Silent(usize),
    Take(usize),
    Upload {
        who: usize,
        first: u32,
    },
    Zombie(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let user = || 0..USERS - 1;
    prop_oneof![
        2 => Just(Step::Again),
        1 => (user(), 0..USERS, any::<bool>()).prop_map(|(who, other, add)| Step::Block { who, other, add }),
        4 => any::<bool>().prop_map(|lost| Step::Checkpoint { lost }),
        1 => (0..3_u64).prop_map(|by| Step::Claim { by }),
        3 => (user(), 1..3_u8).prop_map(|(who, identity)| Step::Enlist { who, identity }),
        1 => user().prop_map(Step::Erase),
        1 => user().prop_map(Step::Expire),
        2 => (user(), any::<bool>()).prop_map(|(who, stale)| Step::Leave { who, stale }),
        3 => user().prop_map(Step::Open),
        3 => (0..12_u64, user()).prop_map(|(counter, to)| Step::Output { counter, to }),
        3 => prop_oneof![1..100_u64, Just(3_600), Just(50_000), Just(86_400 * 29)].prop_map(Step::Pass),
        2 => (user(), any::<bool>()).prop_map(|(who, stale)| Step::Rejoin { who, stale }),
        3 => Just(Step::Reload),
        12 => (0..USERS, 0..USERS - 1, 0..20_u8).prop_map(|(from, to, id)| Step::Send { from, to, id }),
        2 => (0..8_u64).prop_map(Step::Sent),
        4 => (user(), any::<bool>(), 0..30_u64).prop_map(|(who, stale, through)| Step::Settle { who, stale, through }),
        1 => user().prop_map(Step::Silent),
        2 => user().prop_map(Step::Take),
        1 => (user(), 0..12_u32).prop_map(|(who, first)| Step::Upload { who, first }),
        1 => user().prop_map(Step::Zombie),
    ]
}

struct Run {
    bed: Bed,
    /// Applies the same records and never stores anything.
    plain: Bed,
    model: Model,
    users: Vec<AccountId>,
    /// The last stanza that was sent.
    sent: Option<(usize, usize, u8, Timestamp)>,
}

impl Run {
    fn new(store: Arc<dyn StateStore>) -> Self {
        let bed = Bed::over(2, store);
        let plain = Bed::over(2, Arc::new(MemoryStore::default()));
        let placed = |shard| {
            let bed = &bed;
            let all = (1..).map(super::bed::account);
            all.filter(move |account| bed.shard_of(*account) == ShardId::new(shard))
        };
        let users: Vec<_> = placed(0).take(USERS - 1).chain(placed(1).take(1)).collect();
        let model = Model::new(&users);
        Self {
            bed,
            plain,
            model,
            users,
            sent: None,
        }
    }

    fn both(&mut self, payload: bytes::Bytes) -> Vec<Effect> {
        let effects = self.bed.apply(payload.clone());
        self.plain.now = self.bed.now;
        assert_eq!(self.plain.apply(payload), effects, "the same effects");
        effects
    }

    fn command(&mut self, command: Command) -> Vec<Effect> {
        let epoch = self.bed.shard.epoch();
        self.commands_of(epoch, vec![command])
    }

    fn commands_of(&mut self, epoch: Epoch, commands: Vec<Command>) -> Vec<Effect> {
        let fenced = crate::record::Fenced { epoch, commands };
        let record = Record::commands(self.bed.shard.id(), &fenced, &seal());
        self.both(record)
    }

    fn epoch(&self, who: usize, stale: bool) -> Epoch {
        let epoch = self.model.epoch(who);
        Epoch::new(if stale { epoch.wrapping_sub(1) } else { epoch })
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Again => {
                if let Some(last) = self.bed.log.iter().rev().find(|last| last.payload[0] == 1) {
                    let payload = last.payload.clone();
                    self.both(payload);
                    if let Some((from, to, id, expires)) = self.sent {
                        self.model.send(from, to, id, expires);
                    }
                }
            }
            Step::Block { who, other, add } => {
                let (account, other_id) = (self.users[who], vec![self.users[other]]);
                let (add_ids, remove) = if add {
                    (other_id, vec![])
                } else {
                    (vec![], other_id)
                };
                self.command(Command::Block {
                    request: 1,
                    account,
                    clear: false,
                    add: add_ids,
                    remove,
                });
                self.model.block(who, other, add);
            }
            Step::Checkpoint { lost: false } => self.bed.checkpoint(),
            Step::Checkpoint { lost: true } => {
                drop(self.bed.shard.checkpoint());
                self.bed.reload();
            }
            Step::Claim { by } => {
                let epoch = Epoch::new(self.bed.shard.epoch().value() + by);
                let nonce = [9; 16];
                let effects = self.commands_of(epoch, vec![Command::Claim { nonce }]);
                assert_eq!(effects.len(), usize::from(by > 0));
            }
            Step::Pass(secs) => {
                self.bed.pass(Duration::from_secs(secs));
                self.model.now = self.bed.now;
            }
            Step::Reload => self.bed.reload(),
            Step::Sent(through) => {
                let (target, through) = (Target::Shard(ShardId::new(1)), Counter::new(through));
                let most = self.model.outputs_given();
                let through = through.min(Counter::new(most));
                self.command(Command::Sent { target, through });
                self.model.sent(through.value());
            }
            Step::Zombie(who) => self.zombie(who),
            _ => self.use_mailboxes(step),
        }
    }

    fn zombie(&mut self, who: usize) {
        let account = self.users[who];
        let epoch = Epoch::new(self.bed.shard.epoch().value() - 1);
        let session = SessionId::new(1);
        let commands = vec![
            Command::Open { account, session },
            Command::Unenlist {
                request: 1,
                account,
            },
            Command::Take {
                request: 1,
                target: account,
            },
            Command::Settle {
                account,
                epoch: self.epoch(who, false),
                through: Sequence::new(99),
                handled: 0,
            },
        ];
        assert_eq!(self.commands_of(epoch, commands), []);
    }

    fn use_mailboxes(&mut self, step: &Step) {
        match *step {
            Step::Enlist { who, identity } => {
                let number = self.users[who].number();
                let enlistment = Box::new(enlistment(&format!("user{who}"), identity));
                self.command(Command::Enlist {
                    request: 1,
                    number,
                    enlistment,
                });
                self.model.enlist(who, identity);
            }
            Step::Erase(who) => {
                self.command(Command::Unenlist {
                    request: 1,
                    account: self.users[who],
                });
                self.model.erase(who);
            }
            Step::Expire(who) => {
                self.command(Command::Expire {
                    account: self.users[who],
                });
                self.model.expire(who);
            }
            Step::Leave { who, stale } => {
                let (account, epoch) = (self.users[who], self.epoch(who, stale));
                self.command(Command::Leave { account, epoch });
                self.model.leave(who, epoch.value());
            }
            Step::Rejoin { who, stale } => {
                let (account, epoch) = (self.users[who], self.epoch(who, stale));
                self.command(Command::Rejoin {
                    account,
                    session: SessionId::new(1),
                    epoch,
                });
                self.model.rejoin(who, epoch.value());
            }
            Step::Open(who) => {
                let session = SessionId::new(self.bed.log.len() as u64);
                self.command(Command::Open {
                    account: self.users[who],
                    session,
                });
                self.model.open(who);
            }
            Step::Output { counter, to } => {
                let output = self.model.incoming(counter, to);
                self.both(Record::outputs(self.bed.shard.id(), &[output], &seal()));
            }
            Step::Send { from, to, id } => {
                let envelope =
                    self.bed
                        .envelope(self.users[from], self.users[to], &format!("i{id}"));
                self.both(Record::envelope(&envelope, &seal()));
                self.sent = Some((from, to, id, envelope.expires));
                self.model.send(from, to, id, envelope.expires);
            }
            Step::Settle {
                who,
                stale,
                through,
            } => {
                let (account, epoch) = (self.users[who], self.epoch(who, stale));
                let settle = Command::Settle {
                    account,
                    epoch,
                    through: Sequence::new(through),
                    handled: 0,
                };
                self.command(settle);
                self.model.settle(who, epoch.value(), through);
            }
            _ => self.use_keys(step),
        }
    }

    fn use_keys(&mut self, step: &Step) {
        match *step {
            Step::Silent(who) => {
                self.command(Command::Silent {
                    account: self.users[who],
                });
                self.model.silent(who);
            }
            Step::Take(who) => {
                let effects = self.command(Command::Take {
                    request: 1,
                    target: self.users[who],
                });
                self.model.take(who, &effects);
            }
            Step::Upload { who, first } => {
                let keys = Box::new(one_time(first..first + 5));
                self.command(Command::Upload {
                    request: 1,
                    account: self.users[who],
                    keys,
                });
                self.model.upload(who, first);
            }
            _ => {}
        }
    }

    fn check(&mut self) {
        for (who, account) in self.users.iter().enumerate().take(USERS - 1) {
            assert_eq!(
                self.bed.waiting(*account),
                self.model.waiting(who),
                "user {who}"
            );
        }
        for target in [Target::Shard(ShardId::new(1)), Target::Wake] {
            let mut all = [&mut self.bed, &mut self.plain].map(|bed| {
                bed.shard.untake_outputs(target);
                bed.shard.take_outputs(target, usize::MAX, usize::MAX)
            });
            assert_eq!(all[0], all[1], "the same outputs");
            if target != Target::Wake {
                let all = std::mem::take(&mut all[0]);
                let all: Vec<_> = all
                    .into_iter()
                    .map(|(counter, item)| (counter.value(), format!("{item:?}")))
                    .collect();
                assert_eq!(all, self.model.outputs());
            }
        }
    }
}

fn play(store: Arc<dyn StateStore>, steps: &[Step]) {
    let mut run = Run::new(store);
    for who in 0..USERS - 1 {
        run.take(&Step::Enlist { who, identity: 1 });
    }
    for step in steps {
        run.take(step);
        run.check();
    }
    run.bed.reload();
    run.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// T145: an owner that loads rows and replays what they do not cover holds what the log says.
    #[test]
    fn reload_and_replay_change_nothing(steps in prop::collection::vec(step(), 1..70)) {
        play(Arc::new(MemoryStore::default()), &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_on_disk_are_as_good(steps in prop::collection::vec(step(), 1..50)) {
        let folder = tempfile::tempdir().unwrap();
        let database = FjallStore::database(folder.path()).unwrap();
        play(Arc::new(FjallStore::open(&database, ShardId::new(0)).unwrap()), &steps);
    }
}
