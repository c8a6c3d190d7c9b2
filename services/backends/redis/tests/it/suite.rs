//! The whole suite of the port.

use entente_table::{Table, conformance};

use crate::server::Server;

pub(crate) async fn conforms(table: &dyn Table) {
    conformance::a_key_is_inserted_once_until_its_end(table).await;
    conformance::a_value_lives_until_its_end(table).await;
    conformance::a_put_replaces_value_and_end(table).await;
    conformance::a_removed_key_may_be_inserted_again(table).await;
    conformance::one_of_many_racing_inserts_wins(table).await;
    conformance::a_bucket_gives_its_burst_and_refills(table).await;
    conformance::buckets_do_not_share_tokens(table).await;
    conformance::values_too_long_are_refused(table).await;
    conformance::binary_keys_and_values_are_kept(table).await;
}

#[tokio::test]
async fn one_server_is_a_table() {
    let server = Server::start(&[]);
    conforms(&server.table("")).await;
}
