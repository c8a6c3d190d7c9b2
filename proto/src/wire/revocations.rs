//! Hears the revocations of a remote identity service and passes them on in this process.
//!
//! In: the server stream. Out: a broadcast, as the local service has one.
//!
//! A stream that breaks loses notices. What logins rest on comes first in the next one: the sessions of a
//! partner of whom that is what it was when the last stream broke may stay, and all others end. Of a
//! service that says nothing of the kind, and of one that lost notices itself, the rule is that of a reader
//! that is slow: it must end what it cannot clear. Hence all receivers are made to lag: as many
//! notices as the broadcast holds, and one more, are sent, of a key that no partner can have.
//!
//! **Invariants**
//! - A receiver gets every notice that the service gave since it subscribed, or one that ends whomever a
//!   missed one may have meant, or an error that says it lagged.
//! - A login is granted only if the stream stood from before it was asked for until it was answered.

use std::sync::Arc;
use std::time::Duration;

use entente_core::{Fault, FaultKind};
use entente_node::Tasks;
use tokio::sync::{broadcast, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Streaming;
use tonic::transport::Channel;

use crate::identity::{Grounds, Revocation};
use crate::wire::CALL_DEADLINE;
use crate::wire::fault::LOST;
use crate::wire::generated as proto;
use crate::wire::generated::identity_client::IdentityClient as Generated;
use crate::wire::words::read_partner;

/// Notices that a receiver may be behind; they are rare, and one that is further behind ends all.
const BEHIND: usize = 256;
/// How long to wait before the stream is opened again; it doubles up to the longest wait.
const PAUSE: Duration = Duration::from_millis(100);
/// A stream that stands.
type Notices = Streaming<proto::RevocationNotice>;

/// The longest wait: for so long after the service is back, nobody can log in.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A key id with a control character, which no JWK set of a partner may hold: it ends no session.
const NO_KEY: &str = "\u{0}";

const DEAF: Fault = Fault::new(
    FaultKind::Unavailable,
    "revocations cannot be heard at this time",
);

/// Listens for as long as it is kept.
#[derive(Debug)]
pub(super) struct Ear {
    told: broadcast::Sender<Revocation>,
    /// Which standing of the stream this is; even numbers are gaps.
    standing: watch::Receiver<u64>,
    _ends: DropGuard,
}

/// That revocations are heard since some time.
#[derive(Debug)]
pub(super) struct Heard {
    standing: watch::Receiver<u64>,
    at: u64,
}

impl Ear {
    pub(super) fn listen(client: Generated<Channel>, tasks: &Tasks) -> Self {
        let (told, _) = broadcast::channel(BEHIND);
        let (stands, standing) = watch::channel(0);
        let dropped = CancellationToken::new();
        let (cancelled, ends) = (tasks.cancelled(), dropped.clone().drop_guard());
        let listener = Listener {
            client,
            told: told.clone(),
            stands,
            known: None,
        };
        tasks.spawn("revocations", async move {
            tokio::select! {
                () = cancelled.cancelled() => {}
                () = dropped.cancelled() => {}
                () = listener.run() => {}
            }
        });
        Self {
            told,
            standing,
            _ends: ends,
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Revocation> {
        self.told.subscribe()
    }

    /// Waits until revocations are heard.
    ///
    /// # Errors
    /// `Unavailable` after the deadline of a call.
    pub(super) async fn hears(&self) -> Result<Heard, Fault> {
        let mut standing = self.standing.clone();
        let stands = timeout(CALL_DEADLINE, standing.wait_for(|at| at % 2 == 1)).await;
        let at = stands.ok().and_then(Result::ok).map(|at| *at);
        let at = at.ok_or(DEAF)?;
        Ok(Heard { standing, at })
    }
}

impl Heard {
    /// Whether they were heard without a gap up to now.
    ///
    /// # Errors
    /// `Unavailable` if they were not.
    pub(super) fn still(&self) -> Result<(), Fault> {
        if *self.standing.borrow() == self.at {
            Ok(())
        } else {
            Err(DEAF)
        }
    }
}

struct Listener {
    client: Generated<Channel>,
    told: broadcast::Sender<Revocation>,
    stands: watch::Sender<u64>,
    /// What logins rested on when that was heard last.
    known: Option<Grounds>,
}

/// For as long as the stream stands; also a listener that is cancelled leaves a gap behind.
struct Standing<'a>(&'a watch::Sender<u64>);

impl<'a> Standing<'a> {
    fn begin(stands: &'a watch::Sender<u64>) -> Self {
        stands.send_modify(|at| *at += 1);
        Self(stands)
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|at| *at += 1);
    }
}

impl Listener {
    async fn run(mut self) {
        let mut pause = PAUSE;
        loop {
            if let Ok((notices, now)) = self.open().await {
                pause = PAUSE;
                self.clear(now);
                let stands = self.stands.clone();
                let standing = Standing::begin(&stands);
                self.follow(notices).await;
                drop(standing);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// A stream, and what logins rest on at its begin. A service of the version before says nothing of
    /// that, and nothing at all before something is revoked.
    async fn open(&mut self) -> Result<(Notices, Option<Grounds>), Fault> {
        let opening = self.client.revocations(proto::RevocationsRequest {});
        let opened = timeout(CALL_DEADLINE, opening).await;
        let opened = opened.map_err(|_| LOST)?.map_err(|_| LOST)?;
        let mut notices = opened.into_inner();
        let Ok(first) = timeout(CALL_DEADLINE, notices.message()).await else {
            return Ok((notices, None));
        };
        let first = first.map_err(|_| LOST)?.ok_or(LOST)?;
        match read_notice(first) {
            Some(Said::Standing(now)) => Ok((notices, Some(now))),
            // Sessions that it means end with all others.
            Some(Said::Revoked(_)) | None => Ok((notices, None)),
        }
    }

    /// Ends whomever a notice may have meant that came since the last stream.
    fn clear(&mut self, now: Option<Grounds>) {
        let before = std::mem::replace(&mut self.known, now);
        match (before, &self.known) {
            // Before the first stream nobody was logged in through here: nothing was missed.
            _ if *self.stands.borrow() == 0 => {}
            (Some(before), Some(now)) => {
                let same = before
                    .iter()
                    .filter(|(who, ground)| now.get(who) == Some(*ground));
                let kept = same.map(|(who, _)| *who).collect();
                // Nobody listens yet, or nobody any more.
                drop(self.told.send(Revocation::AllBut(Arc::new(kept))));
            }
            (None, _) | (_, None) => self.lag(),
        }
    }

    async fn follow(&mut self, mut notices: Notices) {
        while let Ok(Some(notice)) = notices.message().await {
            match read_notice(notice) {
                Some(Said::Standing(now)) => self.known = Some(now),
                Some(Said::Revoked(revocation)) => drop(self.told.send(revocation)),
                None => self.lag(),
            }
        }
    }

    fn lag(&self) {
        let Some(partner) = entente_core::PartnerId::new(u16::MAX) else {
            return;
        };
        for _ in 0..=BEHIND {
            let filler = Revocation::Key {
                partner,
                kid: NO_KEY.into(),
            };
            if self.told.send(filler).is_err() {
                return;
            }
        }
    }
}

/// The notice of a revocation, or of a gap.
pub(super) fn notice(revocation: Option<Revocation>) -> proto::RevocationNotice {
    use proto::revocation_notice::Notice;
    let notice = match revocation {
        Some(Revocation::Key { partner, kid }) => Notice::Key(proto::KeyRevoked {
            partner: partner.number().into(),
            kid: kid.into_string(),
        }),
        Some(Revocation::Partner(partner)) => Notice::Partner(partner.number().into()),
        // A reader of ours tells partners apart by what it knows itself.
        Some(Revocation::AllBut(_)) | None => Notice::Lagged(proto::Lagged {}),
    };
    proto::RevocationNotice {
        notice: Some(notice),
    }
}

/// The notice of what logins rest on.
pub(super) fn standing(grounds: &Grounds) -> proto::RevocationNotice {
    let grounds = grounds.iter().map(|(partner, digest)| proto::Ground {
        partner: partner.number().into(),
        digest: digest.to_vec().into(),
    });
    let standing = proto::Standing {
        grounds: grounds.collect(),
    };
    proto::RevocationNotice {
        notice: Some(proto::revocation_notice::Notice::Standing(standing)),
    }
}

/// A notice.
enum Said {
    Revoked(Revocation),
    Standing(Grounds),
}

/// What a notice says; none for a gap, and for what cannot be read, as it may revoke anything.
fn read_notice(notice: proto::RevocationNotice) -> Option<Said> {
    use proto::revocation_notice::Notice;
    let revocation = match notice.notice? {
        Notice::Key(key) => Revocation::Key {
            partner: read_partner(key.partner).ok()?,
            kid: key.kid.into_boxed_str(),
        },
        Notice::Partner(number) => Revocation::Partner(read_partner(number).ok()?),
        Notice::Lagged(_) => return None,
        Notice::Standing(standing) => {
            let grounds = standing.grounds.into_iter().map(|ground| {
                let partner = read_partner(ground.partner).ok()?;
                Some((partner, ground.digest.to_vec().into_boxed_slice()))
            });
            return grounds.collect::<Option<_>>().map(Said::Standing);
        }
    };
    Some(Said::Revoked(revocation))
}
