//! Marked users: what they send and are must be in no log line, no metric, no trace and no panic.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use entente_core::AccountId;
use entente_kit::partner::PushMode;
use entente_kit::signing::SigningPair;
use entente_stanza::{Element, ns};

use crate::collector::Collector;
use crate::raw::Raw;
use crate::stand::{DOMAIN, PATIENCE, Stand};

/// Where the marked users come from.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 77, 66, 55);
/// Words that stand where a user can put a word. Nothing else in the program begins so.
const WORD: &str = "canary7f3a";

/// What must not be found, with what it is.
#[derive(Default)]
struct Marks(Vec<(String, String)>);

impl Marks {
    fn text(&mut self, what: &str, text: &str) {
        assert!(
            text.len() >= 6,
            "{what} is too short to be told from chance"
        );
        self.0.push((what.to_owned(), text.to_owned()));
    }

    /// A word as a library might show it.
    fn word(&mut self, what: &str, word: &str) {
        self.text(what, word);
        self.bytes(what, word.as_bytes());
    }

    /// Bytes in every form in which they are shown.
    fn bytes(&mut self, what: &str, bytes: &[u8]) {
        let hex = |upper: bool| -> String {
            let show = |byte: &u8| {
                if upper {
                    format!("{byte:02X}")
                } else {
                    format!("{byte:02x}")
                }
            };
            bytes.iter().map(show).collect()
        };
        let listed: Vec<String> = bytes.iter().take(8).map(u8::to_string).collect();
        // The end of a base64 text depends on what follows.
        let whole = bytes.len() / 3 * 3;
        self.text(
            &format!("{what}, base64"),
            &STANDARD.encode(&bytes[..whole]),
        );
        self.text(
            &format!("{what}, base64url"),
            &URL_SAFE_NO_PAD.encode(&bytes[..whole]),
        );
        self.text(&format!("{what}, hex"), &hex(false));
        self.text(&format!("{what}, hex"), &hex(true));
        self.text(&format!("{what}, listed"), &listed.join(", "));
    }

    /// Each line of a file of keys, and each of its values.
    fn key_file(&mut self, path: &Path) {
        let text = std::fs::read_to_string(path).unwrap();
        for line in text.lines().filter(|line| !line.starts_with(['#', '-'])) {
            let value = line.split_once(" = ").map_or(line, |(_, value)| value);
            let value = value.trim_matches('"');
            if value.len() >= 16 {
                self.text(&path.display().to_string(), value);
            }
        }
    }

    fn found_in(&self, place: &str, text: &str) -> Vec<String> {
        let found = self
            .0
            .iter()
            .filter(|(_, mark)| text.contains(mark.as_str()));
        let shown = |(what, mark): &(String, String)| {
            let line = text.lines().find(|line| line.contains(mark.as_str()));
            let line: String = line.unwrap_or_default().chars().take(300).collect();
            format!("{what} is in {place}: {line}")
        };
        found.map(shown).collect()
    }
}

/// An enlisted user, everything of whom is marked.
struct Marked {
    account: AccountId,
    token: String,
}

async fn enlist(stand: &Stand, marks: &mut Marks, name: &str) -> Marked {
    let visible = format!("{WORD}-{name}@partner.example");
    let pair = SigningPair::generate();
    let form = pair.enlist_form();
    marks.word("visible id", &visible);
    marks.bytes("identity key", &form.identity);
    marks.bytes("transport key", &form.transport);
    marks.bytes("signed prekey", &form.signed.key);
    let token = stand.token(&visible);
    let account = stand.enlist_with(&form, &token).await.unwrap();
    marks.text("internal id", &account.to_string());
    marks.text("number of an account", &account.number().to_string());
    for part in token.split('.') {
        marks.text("token", part);
    }
    Marked { account, token }
}

async fn bound(stand: &Stand, user: &Marked, resource: &str) -> Raw {
    let mut raw = Raw::connect(stand, SOURCE).await;
    raw.login(user.account, &user.token).await;
    raw.bind(resource).await;
    raw
}

/// Logins, chats, requests, wake-ups: all that an honest user does.
async fn good(stand: &Stand, marks: &mut Marks, ada: &Marked, eve: &Marked) {
    let mut from = bound(stand, ada, &format!("{WORD}-resource-a")).await;
    let mut to = bound(stand, eve, &format!("{WORD}-resource-b")).await;
    from.say("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        .await;
    let enabled = from.until("/>").await;
    let id = enabled
        .split("id='")
        .nth(1)
        .or(enabled.split("id=\"").nth(1));
    let id = id.and_then(|rest| rest.split(['\'', '"']).next()).unwrap();
    marks.text("resume id", id);
    for raw in [&mut from, &mut to] {
        raw.say("<presence/>").await;
        raw.until("offline").await;
    }
    let message = |number: u32| {
        format!(
            "<message type='chat' id='{WORD}-message-{number}' to='{}@{DOMAIN}'>\
             <body>{WORD}-body-{number}</body><request xmlns='{}'/></message>",
            eve.account,
            ns::ENTENTE.as_str(),
        )
    };
    from.say(&message(1)).await;
    to.until(&format!("{WORD}-body-1")).await;
    to.say("<iq type='get' id='canary7f3a-iq'><query xmlns='jabber:iq:version'/></iq>")
        .await;
    to.until(&format!("{WORD}-iq")).await;
    // One that waits, for which the partner is asked to wake its user.
    drop(to);
    stand.partner.push().set_mode(PushMode::Refuse(500));
    for number in 2..5 {
        from.say(&message(number)).await;
    }
    from.say("<r xmlns='urn:xmpp:sm:3'/>").await;
    from.until("<a ").await;
    drop(from);
    let mut again = Raw::connect(stand, SOURCE).await;
    again.login(ada.account, &ada.token).await;
    again
        .say(&format!(
            "<resume xmlns='urn:xmpp:sm:3' h='0' previd='{id}'/>"
        ))
        .await;
    again.until("<resumed").await;
    let mut back = bound(stand, eve, &format!("{WORD}-resource-c")).await;
    back.say("<presence/>").await;
    back.until(&format!("{WORD}-body-4")).await;
    // The same account from elsewhere: the older session is told.
    let _newer = bound(stand, ada, &format!("{WORD}-resource-d")).await;
    again.until("conflict").await;
}

/// The same words where they are wrong.
async fn bad(stand: &Stand, ada: &Marked) {
    let text = "<message to='";
    for end in [
        format!(
            "{text}{WORD}-nobody@elsewhere.example' id='{WORD}-x'><body>{WORD}</body></message>"
        ),
        format!("{text}1-77@{DOMAIN}' id='{WORD}-y'><body>{WORD}</body></message>"),
        format!("<iq type='set' id='{WORD}-z'><query xmlns='urn:{WORD}'>{WORD}</query></iq>"),
        format!("<presence to='{WORD}@{DOMAIN}' type='subscribe'/>"),
        format!("<message from='{WORD}@{DOMAIN}'/>"),
        format!("<{WORD}:broken>"),
        format!("<message><!-- {WORD} --></message>"),
        format!("<message>&{WORD};</message>"),
    ] {
        let mut raw = bound(stand, ada, &format!("{WORD}-bad")).await;
        raw.say(&end).await;
        raw.say("<presence/></stream:stream>").await;
        raw.ended().await;
    }
    let mut raw = Raw::connect(stand, SOURCE).await;
    raw.try_login(&format!("{WORD}-user"), &format!("{WORD}.token.x"))
        .await;
    raw.until("failure").await;
    raw.try_login(&ada.account.to_string(), &format!("{WORD}.token.x"))
        .await;
    raw.until("failure").await;
    drop(raw);
    let raw = Raw::opened_to(stand, SOURCE, &format!("{WORD}.example")).await;
    raw.ended().await;
    let mut form = SigningPair::generate().enlist_form();
    form.identity = [0; 32];
    assert!(stand.enlist_with(&form, &ada.token).await.is_err());
    let form = SigningPair::generate().enlist_form();
    let wrong = stand
        .enlist_with(&form, &format!("{WORD}.{WORD}.{WORD}"))
        .await;
    assert!(wrong.is_err());
    for path in [
        format!("/{WORD}?partner={WORD}"),
        format!("/3p/interop_reg?partner={WORD}"),
    ] {
        let answer = stand.https.post_form(&path, &[(WORD, WORD)]).await.unwrap();
        assert!(answer.status() == 404 || answer.status() == 200);
        let answer = stand.admin.fetch(&path).await.unwrap();
        assert_eq!(answer.status(), 404);
    }
}

/// The same over WebSocket.
async fn websocket(stand: &Stand, marks: &mut Marks) {
    let mut ada = stand
        .websocket(&format!("{WORD}-ws-a@partner.example"))
        .await;
    let mut eve = stand
        .websocket(&format!("{WORD}-ws-b@partner.example"))
        .await;
    for client in [&mut ada, &mut eve] {
        let full = client.bound().unwrap().to_string();
        let (bare, resource) = full.split_once('/').unwrap();
        marks.text("internal id", bare.split_once('@').unwrap().0);
        marks.word("resource", resource);
    }
    let to = eve.bound().unwrap().to_bare().to_string();
    let body = Element::new("body", ns::CLIENT).with_text(&format!("{WORD}-ws-body"));
    ada.send_message(&to, &format!("{WORD}-ws-message"), [body])
        .unwrap();
    ada.flush().await.unwrap();
    let heard = tokio::time::timeout(PATIENCE, async {
        loop {
            if let entente_kit::client::Event::Message(message) = eve.recv().await.unwrap() {
                return message;
            }
        }
    });
    assert_eq!(&*heard.await.unwrap().id, format!("{WORD}-ws-message"));
}

async fn story(format: &str) {
    let collector = Collector::start().await;
    let change = |config: String| {
        let (before, _) = config.split_once("[log]").unwrap();
        let log = format!("[log]\nformat = \"{format}\"\nfilter = \"trace\"\n");
        // One user comes again and again here.
        format!(
            "{before}{log}[connection.limits]\nbind_burst = 1000\n{}",
            collector.section(1)
        )
    };
    let mut stand = Stand::start(change, None).await;
    let mut marks = Marks::default();
    marks.word("word", WORD);
    marks.text("address", &SOURCE.to_string());
    for file in [
        "secrets.toml",
        "tls.key",
        "push-key.pem",
        "data/log/deployment.toml",
    ] {
        marks.key_file(&stand.node().join(file));
    }
    let ada = enlist(&stand, &mut marks, "ada").await;
    let eve = enlist(&stand, &mut marks, "eve").await;
    Box::pin(good(&stand, &mut marks, &ada, &eve)).await;
    Box::pin(bad(&stand, &ada)).await;
    Box::pin(websocket(&stand, &mut marks)).await;
    let metrics = stand.admin.fetch("/metrics").await.unwrap();
    let metrics = String::from_utf8(metrics.body().to_vec()).unwrap();
    let ended = stand.process.stop(Duration::from_secs(60)).await.unwrap();
    let log = stand.log();
    assert!(ended.success(), "{log}");
    let mut found = marks.found_in("the log", &log);
    found.extend(marks.found_in("the metrics", &metrics));
    found.extend(marks.found_in("the traces", &collector.shown()));
    assert!(found.is_empty(), "{}", found.join("\n"));
    // The search looked at something: the lines of a session's life are there, and no panic.
    for wanted in [
        "session ended",
        "enlistment ended",
        "login ended",
        "drained",
    ] {
        assert!(log.contains(wanted), "{wanted} is not in\n{log}");
    }
    assert_eq!(
        log.contains("\"message\":\"session ended\""),
        format == "json"
    );
    assert!(!log.contains("panicked"), "{log}");
    assert!(metrics.contains("entente_connection_logins_total"));
    assert!(collector.spans().len() >= 4, "{}", collector.shown());
}

/// T164, T196: at the loudest level, nothing that is of a user is in a log line for people, a
/// metric or a span: visible and internal id, token, message, resource, request, address, keys.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_user_is_in_the_log_for_people() {
    Box::pin(story("human")).await;
}

/// T164, T196: the same for a log for machines.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_user_is_in_the_log_for_machines() {
    Box::pin(story("json")).await;
}

/// The search finds what is there, in each form.
#[test]
fn a_mark_is_found_in_each_form() {
    let mut marks = Marks::default();
    marks.word("word", WORD);
    for text in [
        format!("x {WORD} y"),
        format!("{:x?}", WORD.as_bytes())
            .replace(", ", "")
            .replace('[', " "),
        STANDARD.encode(format!("{WORD} and more")),
        format!("{:?}", WORD.as_bytes()),
    ] {
        assert!(!marks.found_in("here", &text).is_empty(), "{text}");
    }
    assert!(marks.found_in("here", "canary").is_empty());
}
