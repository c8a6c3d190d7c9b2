//! The user: enlistment, prekeys, and messages that are encrypted and decrypted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entente_core::{AccountId, PartnerId};
use entente_demo::signal::{Ciphertext, Form, SignalUser};
use entente_kit::client::{
    Client, ClientConfig, Credential, Event, Incoming, Mechanism, Transport,
};
use entente_kit::enlist::EnlistForm;
use entente_kit::http::HttpTarget;
use entente_kit::keys;
use entente_kit::trust::Trust;
use entente_stanza::{Element, Jid, Ns};

/// The element around a ciphertext; the gateway hands it on unread.
const ENC: Ns = Ns::known("urn:entente:signal:0");
/// The number of the sample partner.
const PARTNER: u16 = 7;
const LOGIN_WITHIN: Duration = Duration::from_secs(10);

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) domain: String,
    pub(crate) xmpp: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) authority: String,
    pub(crate) partner: SocketAddr,
}

/// A user that is logged in.
#[derive(Debug)]
pub(crate) struct Peer {
    client: Client,
    signal: SignalUser,
    address: String,
    sent: u64,
}

impl Peer {
    /// Enlists fresh keys under a visible id and logs in.
    pub(crate) async fn enlist(gateway: Gateway, visible: &str) -> anyhow::Result<Self> {
        let asked = HttpTarget::plain(gateway.partner)
            .fetch(&format!("/token?sub={visible}"))
            .await?;
        ensure!(asked.status().is_success(), "the partner gave no token");
        let token = String::from_utf8(asked.into_body().to_vec())?;

        let mut signal = SignalUser::generate()?;
        let form = EnlistForm {
            transport: signal.transport()?,
            registration: signal.registration(),
            identity: signal.identity()?,
            signed: signal.signed_prekey()?,
        };
        let trust = Trust::Roots(gateway.authority.as_str().into());
        let door = HttpTarget::tls(gateway.http, &gateway.domain, &trust)?;
        let partner = PartnerId::new(PARTNER).context("the partner's number")?;
        let account = form.send(&door, partner, &token).await?;

        let transport = Transport::DirectTls;
        let client = Client::connect(ClientConfig {
            addresses: vec![gateway.xmpp],
            domain: gateway.domain.clone(),
            tls: trust.client_config(transport.alpn())?,
            localpart: account.to_string(),
            credential: Credential::Token(Arc::from(token)),
            mechanism: Mechanism::OauthBearer,
            transport,
            stream_management: true,
            presence: true,
            login_within: LOGIN_WITHIN,
        })
        .await?;
        Ok(Self {
            client,
            signal,
            address: format!("{account}@{}", gateway.domain),
            sent: 0,
        })
    }

    /// The bare address.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Uploads so many one-time keys of each kind, and a last-resort key.
    pub(crate) async fn upload(&mut self, one_time: usize) -> anyhow::Result<()> {
        let upload = self.signal.upload(one_time, one_time)?;
        let answer = self.client.iq("set", None, keys::upload(&upload)).await?;
        let count = keys::read_count(&answer).context("the upload was not counted")?;
        let counted = (count.one_time, count.kyber);
        let wanted = u32::try_from(one_time)?;
        ensure!(counted == (wanted, wanted), "counted {counted:?}");
        Ok(())
    }

    /// Opens a session from a peer's bundle and says hello.
    pub(crate) async fn greet(&mut self, address: &str) -> anyhow::Result<()> {
        let request = keys::bundle_request(address);
        let answer = self.client.iq("get", None, request).await?;
        let bundle = keys::read_bundle(&answer).context("no bundle was served")?;
        self.signal.open(&bundle)?;
        self.send(bundle.account, address, "hello from Rust").await
    }

    /// Waits for an event. Cancel-safe.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Event> {
        Ok(self.client.recv().await?)
    }

    /// Answers what is encrypted.
    pub(crate) async fn take(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Message(incoming) => self.answer(&incoming).await,
            Event::Refused { condition, .. } => bail!("a message was refused: {condition}"),
            _ => Ok(()),
        }
    }

    async fn answer(&mut self, incoming: &Incoming) -> anyhow::Result<()> {
        let from = Jid::parse(&incoming.from)?;
        let account = from.account().context("a sender that is no account")?;
        let sealed = disclose(&incoming.element).context("a message without a ciphertext")?;
        let plain = self.signal.decrypt(account, &sealed)?;
        let text = String::from_utf8(plain)?;
        // What is already an answer is not answered.
        if text.starts_with("re: ") {
            return Ok(());
        }
        let to = from.to_bare();
        self.send(account, to.as_str(), &format!("re: {text}"))
            .await
    }

    async fn send(&mut self, account: AccountId, to: &str, text: &str) -> anyhow::Result<()> {
        let sealed = self.signal.encrypt(account, text.as_bytes())?;
        self.sent += 1;
        let id = format!("peer-{}", self.sent);
        self.client.send_message(to, &id, [enclose(&sealed)])?;
        Ok(self.client.flush().await?)
    }

    /// Ends the stream in order.
    pub(crate) async fn leave(mut self) -> anyhow::Result<()> {
        Ok(self.client.close().await?)
    }
}

fn enclose(sealed: &Ciphertext) -> Element {
    Element::new("enc", ENC)
        .with_attribute("type", sealed.form.word())
        .with_text(&STANDARD.encode(&sealed.bytes))
}

fn disclose(message: &Element) -> Option<Ciphertext> {
    let enc = message.child("enc", &ENC)?;
    Some(Ciphertext {
        form: Form::from_word(enc.attribute("type")?)?,
        bytes: STANDARD.decode(enc.text()).ok()?,
    })
}
