//! A Redis Cluster of three masters: the whole suite, and the death of one.

use std::process::{Command, Stdio};
use std::time::Duration;

use entente_redis::{RedisTable, Settings};
use entente_table::{Key, Table, TableError};
use tokio::time::Instant;

use crate::server::Server;
use crate::suite::conforms;

const PATIENCE: Duration = Duration::from_secs(60);
/// Enough for each master to have some of them.
const KEYS: usize = 24;

fn start() -> (Vec<Server>, RedisTable) {
    let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let servers: Vec<_> = (0..3).map(|_| Server::start(&options)).collect();
    let nodes = servers
        .iter()
        .map(|server| format!("127.0.0.1:{}", server.port));
    let nodes: Vec<_> = nodes.collect();
    let made = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(&nodes)
        .arg("--cluster-yes")
        .stdout(Stdio::null())
        .status();
    assert!(made.unwrap().success(), "redis-cli made no cluster");
    let url = format!(
        "redis-cluster://{}/test?connect=5s&answer=1s",
        nodes.join(",")
    );
    let table = RedisTable::open(&Settings::from_url(&url).unwrap()).unwrap();
    (servers, table)
}

async fn until_all_slots_answer(table: &dyn Table) {
    let end = Instant::now() + PATIENCE;
    for n in 0..KEYS {
        let key = Key::new(format!("slot {n}")).unwrap();
        while table
            .put(&key, "".into(), Duration::from_secs(60))
            .await
            .is_err()
        {
            assert!(Instant::now() < end, "the cluster never served all slots");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// One cluster for all stories, and then one of its masters dies.
///
/// T148: what the others hold is served on; what was its own is unavailable, not wrong.
#[tokio::test]
async fn a_cluster_is_a_table_and_loses_no_more_than_a_part() {
    let (mut servers, table) = start();
    until_all_slots_answer(&table).await;
    conforms(&table).await;

    for server in &servers {
        server
            .run(&["CONFIG", "SET", "cluster-require-full-coverage", "no"])
            .unwrap();
    }
    servers[0].kill();
    let end = Instant::now() + PATIENCE;
    loop {
        let (mut there, mut away) = (0, 0_usize);
        for n in 0..KEYS {
            let key = Key::new(format!("slot {n}")).unwrap();
            match table.get(&key).await {
                Ok(value) => {
                    assert_eq!(value, Some("".into()), "what was stored is what is found");
                    there += 1;
                }
                Err(TableError::Unavailable) => away += 1,
                Err(other) => unreachable!("{other}"),
            }
        }
        if there > 0 && away > 0 && there + away == KEYS {
            break;
        }
        assert!(Instant::now() < end, "{there} answered, {away} did not");
    }
}
