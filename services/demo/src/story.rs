//! The quiet part: texts and receipts both ways, and a user who was away.

use std::time::Duration;

use entente_kit::device::Phase;
use tokio::time::timeout;

use crate::cast::Users;
use crate::error::{DemoError, check};
use crate::message::Plain;
use crate::scene::Scene;
use crate::screen::Screen;
use crate::user::{Seen, User};

/// Messages that wait for the user who is away.
const BURST: u32 = 5;
/// How long a wake-up may take.
const WAKE_WITHIN: Duration = Duration::from_secs(15);

/// What the story found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// Texts sent in it.
    pub(crate) texts: u64,
    /// Wake-ups that the partner's endpoint verified.
    pub(crate) wakes: u64,
}

/// Tells it with the first three users: one of each partner, and one of the host.
pub(crate) async fn tell(
    scene: &Scene,
    users: &Users,
    screen: &mut Screen<'_>,
) -> Result<Told, DemoError> {
    let [one, two, host, ..] = users.all() else {
        return check(false, "there are three users", "fewer")
            .map(|()| Told { texts: 0, wakes: 0 });
    };
    screen.begin("texts both ways, delivered and read")?;
    converse(one, two).await?;
    converse(two, host).await?;
    converse(host, one).await?;
    screen.end("3 conversations, 6 delivered receipts, 6 read receipts")?;

    screen.begin("a user goes away, is woken once, and finds everything in order")?;
    let wakes = away(scene, one, two).await?;
    screen.end(&format!("{BURST} waited, {wakes} wake-up"))?;
    Ok(Told {
        texts: 6 + u64::from(BURST),
        wakes,
    })
}

/// Each says one thing; both receipts come back to each.
async fn converse(one: &User, other: &User) -> Result<(), DemoError> {
    one.meet(other).await?;
    for (from, to) in [(one, other), (other, one)] {
        let text = format!("{} to {}", from.account, to.account);
        let id = from.say(to, &Plain::Text(text.clone())).await?;
        to.until("a text is decrypted by its recipient", |notes| {
            notes.seen.iter().any(|seen| {
                matches!(seen, Seen::Text { from: who, text: said, .. }
                    if *who == from.account && *said == text)
            })
        })
        .await?;
        from.until("the gateway accepts a text", |notes| {
            notes.accepted.contains(&id)
        })
        .await?;
        from.until("the gateway's delivered receipt comes back", |notes| {
            notes.delivered.contains(&id)
        })
        .await?;
        to.mark_read(from, &id).await?;
        from.until("the peer's read receipt comes back", |notes| {
            notes.read.contains(&id)
        })
        .await?;
    }
    Ok(())
}

async fn away(scene: &Scene, one: &User, two: &User) -> Result<u64, DemoError> {
    let party = scene.parties.get(two.party);
    let Some(push) = party.map(|party| party.server.push()) else {
        return check(false, "a user has a partner", "none").map(|()| 0);
    };
    let before = push.calls_for(&two.visible);
    two.sender.go_offline();
    two.sender.wait_for(Phase::Offline).await?;
    two.forget();
    for number in 1..=BURST {
        let text = Plain::Text(format!("while away {number}"));
        let id = one.say(two, &text).await?;
        one.until("a message for an absent user is accepted", |notes| {
            notes.accepted.contains(&id)
        })
        .await?;
    }
    let mut counts = push.counts();
    let woken = counts.wait_for(|_| push.calls_for(&two.visible) > before);
    let woken = timeout(WAKE_WITHIN, woken).await.is_ok();
    let seen = *push.counts().borrow();
    check(
        woken,
        "the partner is asked to wake its user",
        &format!("{seen:?}"),
    )?;

    two.sender.come_online();
    let expected = usize::try_from(BURST).unwrap_or(usize::MAX) + 1;
    two.until("what waited arrives", |notes| notes.seen.len() >= expected)
        .await?;
    let wanted: Vec<String> = (1..=BURST).map(|n| format!("while away {n}")).collect();
    let seen = two.seen();
    let (first, rest) = seen
        .split_first()
        .map_or((None, &[][..]), |(f, r)| (Some(f), r));
    check(
        first == Some(&Seen::Waiting(BURST)),
        "the offline count comes first",
        &format!("{first:?}"),
    )?;
    let texts: Vec<String> = rest
        .iter()
        .filter_map(|seen| match seen {
            Seen::Text {
                text,
                delayed: true,
                ..
            } => Some(text.clone()),
            Seen::Text { .. } | Seen::Waiting(_) => None,
        })
        .collect();
    check(
        texts == wanted,
        "what waited arrives in order, once",
        &format!("{texts:?}"),
    )?;
    let wakes = push.calls_for(&two.visible) - before;
    check(wakes == 1, "one wake-up for one burst", &wakes.to_string())?;
    Ok(wakes)
}
