//! Brokers behind TLS, which ask for a password or a certificate: `ENTENTE_KAFKA_TLS=yes ops/kafka up`.

use bytes::Bytes;
use entente_core::Offset;
use entente_kafka::{Group, KafkaLog, Settings, survey};
use entente_log::Log;

use crate::broker::{key, rules, settings_at, soon, told};
use crate::or_skip;

const TLS: &str = "kafka+tls";

pub(crate) fn missing() -> Option<&'static str> {
    let why = "no brokers with TLS: run `ops/kafka test`";
    told("ENTENTE_KAFKA_KEYS").is_none().then_some(why)
}

fn keys() -> String {
    told("ENTENTE_KAFKA_KEYS").unwrap()
}

/// At the door for passwords.
fn password(mechanism: &str, user: &str) -> Settings {
    let (keys, door) = (keys(), told("ENTENTE_KAFKA_PASSWORD").unwrap());
    let file = format!("{keys}/{user}.password");
    let sasl = format!("&sasl={mechanism}&user={user}&password_file={file}");
    settings_at(TLS, &door, &format!("&ca={keys}/ca.pem{sasl}"))
}

pub(crate) fn scram() -> Settings {
    password("scram-sha-512", "entente")
}

/// At the door for certificates.
fn certified(authority: &str, name: &str) -> Settings {
    let (keys, door) = (keys(), told("ENTENTE_KAFKA_CERTIFICATE").unwrap());
    let own = format!("&certificate={keys}/{name}.pem&key={keys}/{name}.key");
    settings_at(TLS, &door, &format!("&ca={keys}/{authority}.pem{own}"))
}

pub(crate) fn certificate() -> Settings {
    certified("ca", "entente")
}

async fn refused(settings: &Settings) -> String {
    let opened = soon(KafkaLog::open(settings, &rules(settings), key())).await;
    let said = opened.unwrap_err().to_string();
    let surveyed = soon(survey(settings, &[rules(settings)], &key())).await;
    let seen = surveyed.unwrap_err().to_string();
    println!("start: {said}\nsurvey: {seen}");
    said
}

/// Each way in takes a log to its end: the topic is made, records come back, and a group assigns.
#[tokio::test]
async fn every_way_in_is_good_for_all_that_a_log_does() {
    or_skip!(missing());
    let passwords = ["plain", "scram-sha-256", "scram-sha-512"];
    let ways = passwords.map(|mechanism| password(mechanism, "entente"));
    for settings in ways.into_iter().chain([certificate()]) {
        let log = crate::broker::open(&settings).await;
        let batch = vec![Bytes::from_static(b"through the door")];
        let appended = soon(log.append(0, batch)).await.unwrap();
        let records = soon(log.read(0, appended.first(), 1000)).await.unwrap();
        assert_eq!(records[0].payload, "through the door");
        soon(log.raise_floor(0, Offset::new(1))).await.unwrap();
        let group = Group::join(&settings, "owners", "input", "node").unwrap();
        let mut assigned = group.assigned();
        let all = soon(assigned.wait_for(|told| told.as_ref().is_some_and(|all| all.len() == 3)));
        all.await.unwrap();
    }
}

/// T151: a user without rights is let in, may do nothing, and is told so.
#[tokio::test]
async fn a_user_without_rights_is_told() {
    or_skip!(missing());
    let settings = password("scram-sha-256", "stranger");
    let said = refused(&settings).await;
    let names = said.contains(&rules(&settings).name);
    assert!(names && said.contains("authorization failed"), "{said}");
}

/// A password that is another's is named as such, and does not show.
#[tokio::test]
async fn a_wrong_password_is_said_to_be_one() {
    or_skip!(missing());
    for mechanism in ["plain", "scram-sha-512"] {
        let mut settings = password(mechanism, "stranger");
        settings.sasl.as_mut().unwrap().user = "entente".to_owned();
        let said = refused(&settings).await;
        assert!(said.contains("uthentication"), "{said}");
        let file = format!("{}/stranger.password", keys());
        let secret = std::fs::read_to_string(file).unwrap();
        assert!(!said.contains(secret.trim()), "{said}");
    }
}

/// A broker is who its certificate says, by an authority that was named, at the address that was asked.
#[tokio::test]
async fn brokers_that_cannot_prove_who_they_are_are_refused() {
    or_skip!(missing());
    let said = refused(&certified("other", "entente")).await;
    assert!(said.contains("certificate verify failed"), "{said}");
    let mut elsewhere = certificate();
    for broker in &mut elsewhere.brokers {
        broker.host = "localhost".to_owned();
    }
    let said = refused(&elsewhere).await;
    assert!(said.contains("certificate verify failed"), "{said}");
}

/// Who has no certificate of the authority that brokers trust does not get in.
#[tokio::test]
async fn brokers_refuse_who_has_no_certificate_of_theirs() {
    or_skip!(missing());
    let foreign = certified("ca", "foreign");
    let mut none = certificate();
    none.tls.as_mut().unwrap().identity = None;
    for settings in [foreign, none] {
        let said = refused(&settings).await;
        assert!(said.contains("SSL") || said.contains("ssl"), "{said}");
    }
}

/// Plain text at a door that speaks TLS ends in time.
#[tokio::test]
async fn plain_text_at_a_door_that_speaks_tls_is_refused() {
    or_skip!(missing());
    let door = told("ENTENTE_KAFKA_CERTIFICATE").unwrap();
    let said = refused(&settings_at("kafka", &door, "")).await;
    assert!(said.starts_with("none of the brokers"), "{said}");
}
