//! Who may do what: the user of the ACL, passwords, encryption, and what the survey says of it.

use std::fs;
use std::time::Duration;

use entente_redis::{Finding, RedisTable, Settings, SurveyError};
use entente_table::{Key, Table, TableError};

use crate::server::{Server, free_port};

/// A server whose only user with a password is the table's, as its own line of an ACL file says.
fn confined() -> (Server, String) {
    let server = Server::start(&[]);
    let mut settings = server.settings("&user=gate");
    settings.user = Some("gate".to_owned());
    let acl = settings.acl();
    let mut words: Vec<&str> = acl.split(' ').skip(1).collect();
    words.insert(1, ">secret");
    let set: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(words).collect();
    server.run(&set).unwrap();
    let file = server.folder().join("password");
    fs::write(&file, "secret\n").unwrap();
    let more = format!("&user=gate&password_file={}", file.display());
    (server, more)
}

/// T149: the table works with the rights that are published for it, and its user can do nothing else.
#[tokio::test]
async fn the_published_rights_are_enough_and_no_more() {
    let (server, more) = confined();
    let table = server.table(&more);
    assert_eq!(table.survey().await, Ok(vec![]));
    let client = format!("redis://gate:secret@127.0.0.1:{}", server.port);
    let mut connection = redis::Client::open(client)
        .unwrap()
        .get_connection()
        .unwrap();
    let forbidden: [&[&str]; 8] = [
        &["EVAL", "return 1", "0"],
        &["CONFIG", "GET", "*"],
        &["KEYS", "*"],
        &["FLUSHALL"],
        &["FUNCTION", "FLUSH"],
        &["ACL", "LIST"],
        &["SCRIPT", "LOAD", "return 1"],
        &["GET", "another:key"],
    ];
    for words in forbidden {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let refused = command.query::<redis::Value>(&mut connection).unwrap_err();
        assert_eq!(refused.code(), Some("NOPERM"), "{words:?}");
    }
}

/// T148: a login that is refused is not the end of the process, and the survey names it.
#[tokio::test]
async fn a_wrong_password_is_unavailable() {
    let (server, more) = confined();
    fs::write(server.folder().join("password"), "other").unwrap();
    let table = server.table(&more);
    let key = Key::new("a").unwrap();
    assert_eq!(table.get(&key).await, Err(TableError::Unavailable));
    assert_eq!(table.survey().await, Err(SurveyError::Away));
}

#[tokio::test]
async fn the_survey_names_a_server_that_forgets_and_a_right_that_lacks() {
    let (server, more) = confined();
    server
        .run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"])
        .unwrap();
    let table = server.table(&more);
    let evicts = Finding::Evicts("allkeys-lru".to_owned());
    assert_eq!(table.survey().await, Ok(vec![evicts]));
    server.run(&["ACL", "SETUSER", "gate", "-fcall"]).unwrap();
    let refused = table.survey().await.unwrap_err();
    assert!(refused.to_string().contains("FCALL"), "{refused}");
    server
        .run(&["ACL", "SETUSER", "gate", "+fcall", "-info"])
        .unwrap();
    assert_eq!(table.survey().await, Ok(vec![Finding::Unseen]));
}

/// Over TLS, with the server's name checked against an authority from a file.
#[tokio::test]
async fn connections_can_be_encrypted_and_strangers_are_refused() {
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority = rcgen::CertifiedIssuer::self_signed(authority, authority_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let named = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = named.signed_by(&key, &authority).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let ca = file("ca.pem", &authority.pem());
    let stranger = file("stranger.pem", &certificate.pem());
    let (crt, pem) = (
        file("crt.pem", &certificate.pem()),
        file("key.pem", &key.serialize_pem()),
    );
    let port = free_port().to_string();
    let options = [
        "--tls-port",
        &port,
        "--tls-cert-file",
        &crt,
        "--tls-key-file",
        &pem,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
    ];
    let _server = Server::start(&options);
    let table = |host: &str, ca: &str| {
        let url = format!("rediss://{host}:{port}/test?connect=5s&ca={ca}");
        RedisTable::open(&Settings::from_url(&url).unwrap()).unwrap()
    };
    let name = Key::new("a").unwrap();
    let good = table("localhost", &ca);
    assert_eq!(
        good.put(&name, "1".into(), Duration::from_secs(9)).await,
        Ok(())
    );
    for bad in [table("127.0.0.1", &ca), table("localhost", &stranger)] {
        assert_eq!(bad.get(&name).await, Err(TableError::Unavailable));
    }
}
