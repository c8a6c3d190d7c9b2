//! One user: Signal keys, a device that stays connected, and what came to it.
//!
//! A task reads the device's events, decrypts, and notes; the story and the storm wait on the notes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use entente_core::AccountId;
use entente_kit::client::{Event, Incoming, receipt_request};
use entente_kit::device::{Device, DeviceTally, Sender};
use entente_kit::keys;
use entente_stanza::Jid;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::book::Book;
use crate::error::{DemoError, check};
use crate::message::{Plain, disclose, displayed, enclose, read_displayed};
use crate::signal::SignalUser;

/// How long anything may take that is waited for; the gateway may be restarting meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);
/// Attempts at a request whose session was lost.
const ATTEMPTS: usize = 10;

/// What a user saw outside the storm, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A text of a peer, and whether it had waited.
    Text {
        from: AccountId,
        id: Box<str>,
        text: String,
        delayed: bool,
    },
    /// The offline count.
    Waiting(u32),
}

/// What came to a user.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) seen: Vec<Seen>,
    pub(crate) accepted: HashSet<Box<str>>,
    pub(crate) delivered: HashSet<Box<str>>,
    pub(crate) read: HashSet<Box<str>>,
    pub(crate) refused: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) account: AccountId,
    pub(crate) address: String,
    pub(crate) visible: String,
    pub(crate) party: usize,
    pub(crate) sender: Sender,
    pub(crate) book: Arc<Book>,
    signal: Mutex<SignalUser>,
    notes: watch::Sender<Notes>,
}

/// Who a user is, as enlistment found out.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) account: AccountId,
    pub(crate) address: String,
    pub(crate) visible: String,
    pub(crate) party: usize,
}

impl User {
    pub(crate) fn new(who: Identity, signal: SignalUser, sender: Sender, book: Arc<Book>) -> Self {
        Self {
            account: who.account,
            address: who.address,
            visible: who.visible,
            party: who.party,
            sender,
            book,
            signal: Mutex::new(signal),
            notes: watch::Sender::new(Notes::default()),
        }
    }

    // === Doing ===

    /// Uploads prekeys.
    pub(crate) async fn upload(&self, one_time: usize, kyber: usize) -> Result<(), DemoError> {
        let upload = self.signal.lock().upload(one_time, kyber)?;
        let answer = self.ask("set", keys::upload(&upload)).await?;
        let count = keys::read_count(&answer);
        check(
            count.is_some_and(|count| count.one_time > 0 && count.kyber > 0),
            "uploaded prekeys are counted",
            &format!("{count:?} in <{}>", answer.name()),
        )
    }

    /// Opens a Signal session with a peer from its bundle, if there is none.
    pub(crate) async fn meet(&self, peer: &Self) -> Result<(), DemoError> {
        if self.signal.lock().knows(peer.account)? {
            return Ok(());
        }
        let answer = self.ask("get", keys::bundle_request(&peer.address)).await?;
        let Some(bundle) = keys::read_bundle(&answer) else {
            let said = String::from_utf8_lossy(&answer.to_bytes()).into_owned();
            return check(false, "a peer's key bundle is served", &said);
        };
        Ok(self.signal.lock().open(&bundle)?)
    }

    async fn ask(
        &self,
        kind: &'static str,
        payload: entente_stanza::Element,
    ) -> Result<entente_stanza::Element, DemoError> {
        let mut attempt = 1;
        loop {
            match self.sender.iq(kind, None, payload.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                Err(gone) => return Err(gone.into()),
            }
        }
    }

    /// Encrypts and sends; asks for the gateway's delivered receipt if it is a text.
    pub(crate) async fn say(&self, peer: &Self, plain: &Plain) -> Result<Box<str>, DemoError> {
        let sealed = self.signal.lock().encrypt(peer.account, &plain.encode())?;
        let mut children = vec![enclose(&sealed)];
        if matches!(plain, Plain::Text(_)) {
            children.push(receipt_request());
        }
        Ok(self.sender.send(&peer.address, children).await?)
    }

    /// Tells a peer that its message was read.
    pub(crate) async fn mark_read(&self, peer: &Self, id: &str) -> Result<(), DemoError> {
        self.sender.send(&peer.address, vec![displayed(id)]).await?;
        Ok(())
    }

    // === Watching ===

    /// Waits until the notes are as wanted.
    pub(crate) async fn until(
        &self,
        what: &'static str,
        wanted: impl FnMut(&Notes) -> bool,
    ) -> Result<(), DemoError> {
        let mut notes = self.notes.subscribe();
        let seen = timeout(PATIENCE, notes.wait_for(wanted)).await;
        check(matches!(seen, Ok(Ok(_))), what, "not within 30 s")
    }

    /// What was seen outside the storm.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.notes.borrow().seen.clone()
    }

    /// Forgets what was seen.
    pub(crate) fn forget(&self) {
        self.notes.send_modify(|notes| notes.seen.clear());
    }

    /// How many messages were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.notes.borrow().refused
    }

    fn note(&self, event: Event) {
        match event {
            Event::Accepted { id, .. } => self.change(|notes| {
                notes.accepted.insert(id);
            }),
            Event::Delivered { ids, .. } => self.change(|notes| notes.delivered.extend(ids)),
            Event::Message(message) => self.take(&message),
            Event::Refused { .. } => self.change(|notes| notes.refused += 1),
            Event::Waiting(count) => self.change(|notes| notes.seen.push(Seen::Waiting(count))),
            Event::Answer { .. } | Event::IdentityChanged { .. } => {}
        }
    }

    fn take(&self, message: &Incoming) {
        if let Some(id) = read_displayed(&message.element) {
            let id = Box::from(id);
            return self.change(|notes| {
                notes.read.insert(id);
            });
        }
        let from = Jid::parse(&message.from).ok().and_then(|jid| jid.account());
        let plain = from.and_then(|from| {
            let sealed = disclose(&message.element)?;
            let opened = self.signal.lock().decrypt(from, &sealed).ok()?;
            Some((from, Plain::decode(&opened)?))
        });
        match plain {
            None => self.book.fail(),
            Some((from, Plain::Storm { number, micros })) => {
                self.book.arrive(from, self.account, number, micros);
            }
            Some((from, Plain::Text(text))) => self.change(|notes| {
                notes.seen.push(Seen::Text {
                    from,
                    id: message.id.clone(),
                    text,
                    delayed: message.delayed,
                });
            }),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Notes)) {
        self.notes.send_modify(change);
    }
}

/// Reads a device's events for a user until everybody leaves; returns what the device counted.
pub(crate) async fn attend(
    mut device: Device,
    user: Arc<User>,
    mut leave: watch::Receiver<bool>,
) -> DeviceTally {
    loop {
        tokio::select! {
            event = device.next() => match event {
                Some(event) => user.note(event),
                None => break,
            },
            _ = leave.wait_for(|leave| *leave) => break,
        }
    }
    device.stop().await
}
