//! The users: enlisted, logged in, with prekeys at the gateway.

use std::sync::Arc;
use std::time::Duration;

use entente_kit::client::{ClientConfig, Credential, Mechanism, Transport};
use entente_kit::device::{Device, DeviceConfig, DeviceTally, Phase};
use entente_kit::enlist::EnlistForm;
use entente_kit::partner::Partner;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::book::Book;
use crate::error::{DemoError, check};
use crate::scene::{DOMAIN, Scene};
use crate::signal::SignalUser;
use crate::user::{Identity, User, attend};

/// One-time Curve25519 keys that each user uploads: more than it has peers.
const ONE_TIME: usize = 20;
/// One-time Kyber keys; afterwards the last-resort key serves.
const KYBER: usize = 4;
/// Messages of one user that may be under way. Small, so that a kill meets the storm in its middle
/// and not after it was all handed over.
const WINDOW: usize = 16;
/// How long a login may take.
const LOGIN: Duration = Duration::from_secs(10);
/// How long until all are online.
const ONLINE_WITHIN: Duration = Duration::from_secs(30);

/// Everybody, and the tasks that listen for them.
#[derive(Debug)]
pub(crate) struct Users {
    all: Vec<Arc<User>>,
    book: Arc<Book>,
    tasks: JoinSet<DeviceTally>,
    leave: watch::Sender<bool>,
}

impl Users {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn all(&self) -> &[Arc<User>] {
        &self.all
    }

    pub(crate) const fn book(&self) -> &Arc<Book> {
        &self.book
    }

    /// Everybody closes its stream; returns what the devices counted.
    pub(crate) async fn leave(mut self) -> Vec<DeviceTally> {
        self.leave.send_replace(true);
        let mut tallies = Vec::new();
        while let Some(tally) = self.tasks.join_next().await {
            tallies.extend(tally);
        }
        tallies
    }
}

/// Enlists users, party by party in turn, and brings them online.
pub(crate) async fn enlist(scene: &Scene, count: u32) -> Result<Users, DemoError> {
    let mut users = Users {
        all: Vec::new(),
        book: Arc::default(),
        tasks: JoinSet::new(),
        leave: watch::Sender::new(false),
    };
    let parties = scene.parties.iter().enumerate().cycle();
    for (number, (at, party)) in (1..=count).zip(parties) {
        let visible = format!("user-{number}@{}.example", party.name);
        let mut signal = SignalUser::generate()?;
        let form = EnlistForm {
            transport: signal.transport()?,
            registration: signal.registration(),
            identity: signal.identity()?,
            signed: signal.signed_prekey()?,
        };
        let token = party.server.mint(&visible)?;
        let account = form.send(&scene.https, party.id, &token).await?;
        check(
            account.partner() == party.id,
            "an internal id carries its partner's number",
            &account.to_string(),
        )?;
        let mut config = DeviceConfig::new(client(
            scene,
            (account.to_string(), users.all.len()),
            &visible,
            &party.server,
        ));
        config.window = WINDOW;
        let device = Device::start(config);
        let who = Identity {
            account,
            address: format!("{account}@{DOMAIN}"),
            visible,
            party: at,
        };
        let book = Arc::clone(&users.book);
        let user = Arc::new(User::new(who, signal, device.sender(), book));
        let leave = users.leave.subscribe();
        users.tasks.spawn(attend(device, Arc::clone(&user), leave));
        users.all.push(user);
    }
    for user in &users.all {
        let online = timeout(ONLINE_WITHIN, user.sender.wait_for(Phase::Online)).await;
        let why = || user.sender.tally().last_error.unwrap_or_default();
        check(matches!(online, Ok(Ok(()))), "every user logs in", &why())?;
        user.upload(ONE_TIME, KYBER).await?;
    }
    Ok(users)
}

fn client(
    scene: &Scene,
    (localpart, at): (String, usize),
    visible: &str,
    partner: &Arc<Partner>,
) -> ClientConfig {
    let (partner, visible) = (Arc::clone(partner), visible.to_owned());
    ClientConfig {
        addresses: scene.doors(at),
        domain: DOMAIN.to_owned(),
        tls: Arc::clone(&scene.tls),
        localpart,
        credential: Credential::Minted(Arc::new(move || partner.mint(&visible).ok())),
        mechanism: Mechanism::Plain,
        transport: Transport::DirectTls,
        stream_management: true,
        presence: true,
        login_within: LOGIN,
    }
}
