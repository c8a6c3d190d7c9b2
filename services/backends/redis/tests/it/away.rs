//! Redis gone, wiped, frozen, replaced: calls end, nothing is invented, and it heals by itself.

use std::time::Duration;

use entente_table::{Key, Rate, Table, TableError, Taken};
use rustix::process::Signal;
use tokio::time::Instant;

use crate::server::Server;

const LONG: Duration = Duration::from_secs(60);
/// Far beyond any wait that the table allows itself.
const PATIENCE: Duration = Duration::from_secs(20);

fn key(word: &str) -> Key {
    Key::new(word.to_owned()).unwrap()
}

async fn until_it_answers(table: &dyn Table) {
    let end = Instant::now() + PATIENCE;
    while table.get(&key("healed")).await.is_err() {
        assert!(Instant::now() < end, "it never came back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// T148, T59: a wipe forgets, and nothing else happens.
#[tokio::test]
async fn a_wiped_table_is_an_empty_one() {
    let server = Server::start(&[]);
    let table = server.table("");
    let rate = Rate::new(1, LONG);
    let used = key("used");
    let insert = || table.insert_if_absent(&used, "".into(), LONG);
    assert_eq!(insert().await, Ok(true));
    assert_eq!(insert().await, Ok(false));
    assert_eq!(table.take(&key("bucket"), rate).await, Ok(Taken::Allowed));
    server.run(&["FLUSHALL"]).unwrap();
    server.run(&["FUNCTION", "FLUSH"]).unwrap();
    assert_eq!(insert().await, Ok(true));
    assert_eq!(table.take(&key("bucket"), rate).await, Ok(Taken::Allowed));
    let again = table.take(&key("bucket"), rate).await;
    assert!(matches!(again, Ok(Taken::Denied { .. })), "{again:?}");
}

/// T148: killed and started again, empty.
#[tokio::test]
async fn a_server_that_dies_is_unavailable_and_then_there_again() {
    let mut server = Server::start(&[]);
    let table = server.table("");
    assert_eq!(table.put(&key("a"), "1".into(), LONG).await, Ok(()));
    server.kill();
    for _ in 0..3 {
        let refused = table.insert_if_absent(&key("token"), "".into(), LONG).await;
        assert_eq!(refused, Err(TableError::Unavailable));
    }
    server.start_again();
    until_it_answers(&table).await;
    assert_eq!(table.get(&key("a")).await, Ok(None));
    let taken = table.take(&key("bucket"), Rate::new(1, LONG)).await;
    assert_eq!(taken, Ok(Taken::Allowed));
}

/// T148: a server that is there and does nothing holds up nobody for longer than was said, and no
/// more callers than were said.
#[tokio::test]
async fn a_frozen_server_costs_its_time_out_and_no_more() {
    let server = Server::start(&[]);
    let table = server.table("&answer=300ms&calls=2");
    assert_eq!(table.put(&key("a"), "1".into(), LONG).await, Ok(()));
    server.signal(Signal::STOP);
    let (one, two, three) = (key("one"), key("two"), key("three"));
    let waiting = async { tokio::join!(table.get(&one), table.get(&two)) };
    tokio::pin!(waiting);
    tokio::select! {
        biased;
        _ = &mut waiting => unreachable!("a frozen server answered"),
        third = table.get(&three) => assert_eq!(third, Err(TableError::Unavailable)),
    }
    let unavailable = Err(TableError::Unavailable);
    assert_eq!(waiting.await, (unavailable.clone(), unavailable));
    server.signal(Signal::CONT);
    until_it_answers(&table).await;
    assert_eq!(table.get(&key("a")).await, Ok(Some("1".into())));
}

/// A table starts before its server does.
#[tokio::test]
async fn redis_may_come_later() {
    let mut server = Server::start(&[]);
    server.kill();
    let table = server.table("");
    assert_eq!(table.get(&key("a")).await, Err(TableError::Unavailable));
    server.start_again();
    until_it_answers(&table).await;
}

/// Entries that are not what they should be: foreign hands, or another version.
#[tokio::test]
async fn a_foreign_type_is_an_error_and_a_foreign_bucket_is_full() {
    let server = Server::start(&[]);
    let table = server.table("");
    server.run(&["RPUSH", "test:list", "x"]).unwrap();
    server.run(&["SET", "test:text", "many"]).unwrap();
    assert_eq!(table.get(&key("list")).await, Err(TableError::Unavailable));
    let rate = Rate::new(1, LONG);
    let list = table.take(&key("list"), rate).await;
    assert_eq!(list, Err(TableError::Unavailable));
    assert_eq!(table.take(&key("text"), rate).await, Ok(Taken::Allowed));
}
