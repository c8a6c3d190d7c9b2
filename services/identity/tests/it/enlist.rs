//! The enlistment door from outside.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use entente_identity::test::{Client, body};
use entente_identity::{Kid, PATH};
use entente_keys::encode;
use entente_proto::Directory;
use entente_table::{Key, MemoryTable, Rate, Table, TableError, Taken};
use http::Request;
use http_body_util::Full;
use serde_json::json;
use tokio::task::JoinSet;

use crate::bench::{Bench, account, both, form_request, partner, reason, record};

/// A table that does not answer.
#[derive(Debug)]
pub(crate) struct DeadTable;

#[async_trait]
impl Table for DeadTable {
    async fn insert_if_absent(&self, _: &Key, _: Bytes, _: Duration) -> Result<bool, TableError> {
        Err(TableError::Unavailable)
    }

    async fn get(&self, _: &Key) -> Result<Option<Bytes>, TableError> {
        Err(TableError::Unavailable)
    }

    async fn put(&self, _: &Key, _: Bytes, _: Duration) -> Result<(), TableError> {
        Err(TableError::Unavailable)
    }

    async fn remove(&self, _: &Key) -> Result<bool, TableError> {
        Err(TableError::Unavailable)
    }

    async fn take(&self, _: &Key, _: Rate) -> Result<Taken, TableError> {
        Err(TableError::Unavailable)
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_enlists_and_enlists_again() {
    let bench = Bench::new();
    let client = Client::new(1);
    let first = bench.enlist(&client, "ada").await;
    assert_eq!(first.partner(), partner(7));
    assert_eq!(bench.enlist(&client, "ada").await, first);
    let facts = bench.directory.account(first).await.unwrap().unwrap();
    assert_eq!(facts.visible.as_str(), "ada");
    assert_eq!(facts.identity, *client.identity.public().unwrap().bytes());
    assert_eq!(facts.generation, 1);
    assert_eq!(bench.enlist(&Client::new(2), "ada").await, first);
    let facts = bench.directory.account(first).await.unwrap().unwrap();
    assert_eq!(facts.generation, 2);
    assert_ne!(bench.enlist(&client, "eve").await, first);
}

/// T51: the request names the partner, by number or host; the token is compared and never asked.
#[tokio::test(start_paused = true)]
async fn the_request_names_the_partner() {
    let bench = Bench::new();
    let client = Client::new(1);
    let seven = || body(&client.fields(&bench.seven.token(&bench.claims(7, "ada"))));
    let eight = || body(&client.fields(&bench.eight.token(&bench.claims(8, "ada"))));
    let by_host = |host: &str, target: &str, body: String| {
        let request = form_request(target).header("host", host);
        request.body(Full::new(Bytes::from(body))).unwrap()
    };
    for good in [
        bench.post_to("/3p/interop_reg?partner=7", seven()).await,
        bench.send(by_host("enlist7.example", PATH, seven())).await,
        bench
            .send(by_host("ENLIST7.example:443", PATH, seven()))
            .await,
        bench
            .post_to("https://enlist7.example/3p/interop_reg", seven())
            .await,
        bench
            .send(by_host(
                "gateway.example",
                "/3p/interop_reg?partner=7",
                seven(),
            ))
            .await,
    ] {
        assert_eq!(account(&good).partner(), partner(7));
    }
    let other = bench.post_to("/3p/interop_reg?partner=8", eight()).await;
    assert_eq!(account(&other).partner(), partner(8));
    for bad in [
        bench.post_to(PATH, seven()).await,
        bench.send(by_host("gateway.example", PATH, seven())).await,
        bench
            .send(by_host(
                "enlist8.example",
                "/3p/interop_reg?partner=7",
                seven(),
            ))
            .await,
        bench.post_to("/3p/interop_reg?partner=9", seven()).await,
        bench.post_to("/3p/interop_reg?partner=07", seven()).await,
        bench.post_to("/3p/interop_reg?partner=+7", seven()).await,
        bench
            .post_to("/3p/interop_reg?partner=65543", seven())
            .await,
        bench
            .post_to("/3p/interop_reg?partner=7&partner=7", seven())
            .await,
        bench.post_to("/3p/interop_reg?Partner=7", seven()).await,
    ] {
        assert_eq!(reason(&bad), "bad_integrator");
    }
    for crossed in [
        bench.post_to("/3p/interop_reg?partner=8", seven()).await,
        bench.post_to("/3p/interop_reg?partner=7", eight()).await,
        bench.send(by_host("enlist8.example", PATH, seven())).await,
    ] {
        assert_eq!(reason(&crossed), "bad_token");
    }
}

#[tokio::test(start_paused = true)]
async fn only_active_partners_enlist() {
    let bench = Bench::new();
    let client = Client::new(1);
    let form = || body(&client.fields(&bench.seven.token(&bench.claims(7, "ada"))));
    let jwks = "https://id7.example/jwks";
    for state in ["onboarding", "suspended", "removed"] {
        bench.rewrite(&record(7, state, jwks, ""));
        assert_eq!(reason(&bench.post(form()).await), "bad_integrator");
    }
    bench.rewrite(&both(""));
    account(&bench.post(form()).await);
}

/// T64, T65, T69: each refusal has its reason, and comes before any write.
#[tokio::test(start_paused = true)]
async fn refusals_write_nothing() {
    let bench = Bench::new();
    let client = Client::new(1);
    let token = bench.seven.token(&bench.claims(7, "ada"));
    let good = body(&client.fields(&token));
    let stolen = bench.seven.token(&bench.claims(7, "ada").with("aud", "x"));
    let other = Client::new(2).fields(&token);
    for (bad, why) in [
        (good.replace("e_keytype=BQ", "e_keytype=BA"), "bad_key"),
        (format!("{good}&token={token}"), "bad_request"),
        (format!("{good}{}", "A".repeat(6 * 1024)), "bad_request"),
        (good.replace("authkey", "Authkey"), "bad_request"),
        (
            body(&client.fields(&token)).replace(&client.fields("")[6].1, &other[6].1),
            "bad_signature",
        ),
        (body(&client.fields(&stolen)), "bad_token"),
        (body(&client.fields("a.b.c")), "bad_token"),
    ] {
        let answer = bench.post(bad).await;
        assert_eq!(reason(&answer), why);
    }
    for request in [
        Request::post("/3p/interop_reg?partner=7"),
        Request::post("/3p/interop_reg?partner=7").header("content-type", "text/plain"),
        form_request("/3p/interop_reg?partner=7").header("content-type", "text/plain"),
        form_request("/3p/interop_reg?partner=7").header("content-encoding", "gzip"),
    ] {
        let request = request.body(Full::new(Bytes::from(good.clone()))).unwrap();
        assert_eq!(reason(&bench.send(request).await), "bad_request");
    }
    assert_eq!(bench.directory.writes(), 0);
    account(&bench.post(good).await);
    assert_eq!(bench.directory.writes(), 1);
}

/// T57: a token enlists one set of keys; the same form may come again after a lost answer.
#[tokio::test(start_paused = true)]
async fn a_token_enlists_once() {
    let bench = Bench::new();
    let token = bench.seven.token(&bench.claims(7, "ada"));
    let first = bench.post(body(&Client::new(1).fields(&token))).await;
    let again = bench.post(body(&Client::new(1).fields(&token))).await;
    assert_eq!(account(&first), account(&again));
    let thief = bench.post(body(&Client::new(2).fields(&token))).await;
    assert_eq!(reason(&thief), "token_used");
    let facts = bench.directory.account(account(&first)).await.unwrap();
    assert_eq!(facts.unwrap().generation, 1);
}

/// T57: a token that is bound to a transport key enlists no other key, even the first time.
#[tokio::test(start_paused = true)]
async fn a_bound_token_enlists_its_key() {
    let bench = Bench::new();
    let client = Client::new(1);
    let print = encode(&client.transport.public().unwrap().thumbprint());
    let bound = || bench.claims(7, "ada").with("cnf", json!({"jkt": print}));
    let theft = body(&Client::new(2).fields(&bench.seven.token(&bound())));
    assert_eq!(reason(&bench.post(theft).await), "bad_token");
    let honest = body(&client.fields(&bench.seven.token(&bound())));
    account(&bench.post(honest).await);
}

/// T57, T59: without the table nobody is enlisted; after a wipe a replay is held by the token's end.
#[tokio::test(start_paused = true)]
async fn used_tokens_fail_closed() {
    let bench = Bench::with("", Arc::new(DeadTable));
    let token = bench.seven.token(&bench.claims(7, "ada"));
    let answer = bench.post(body(&Client::new(1).fields(&token))).await;
    assert_eq!(reason(&answer), "unavailable");
    assert_eq!(bench.directory.writes(), 0);

    let table = Arc::new(MemoryTable::default());
    let bench = Bench::with("", Arc::clone(&table) as _);
    let token = bench.seven.token(&bench.claims(7, "ada"));
    let first = account(&bench.post(body(&Client::new(1).fields(&token))).await);
    table.wipe();
    let replayed = account(&bench.post(body(&Client::new(2).fields(&token))).await);
    assert_eq!(
        replayed, first,
        "visible: the directory raised the generation"
    );
    table.wipe();
    bench.set_now(crate::bench::NOW + 630);
    let late = bench.post(body(&Client::new(3).fields(&token))).await;
    assert_eq!(reason(&late), "bad_token");
}

/// T66: after a failure of the directory the same form is sent again and enlists.
#[tokio::test(start_paused = true)]
async fn a_failed_enlistment_is_repeated() {
    let bench = Bench::new();
    let form = body(&Client::new(1).fields(&bench.seven.token(&bench.claims(7, "ada"))));
    bench.directory.set_down(true);
    assert_eq!(reason(&bench.post(form.clone()).await), "unavailable");
    bench.directory.set_down(false);
    account(&bench.post(form).await);
}

/// T67: a hundred posts at once give one login.
#[tokio::test(start_paused = true)]
async fn racing_enlistments_agree() {
    let bench = Arc::new(Bench::new());
    let form = body(&Client::new(1).fields(&bench.seven.token(&bench.claims(7, "ada"))));
    let mut posts = JoinSet::new();
    for _ in 0..100 {
        let (bench, form) = (Arc::clone(&bench), form.clone());
        posts.spawn(async move { account(&bench.post(form).await) });
    }
    let mut logins = posts.join_all().await;
    logins.dedup();
    assert_eq!(logins.len(), 1);
}

/// A partner's budget is its own, and only verified tokens spend it.
#[tokio::test(start_paused = true)]
async fn budgets_are_spent_by_good_tokens() {
    let rest = "quotas = { enlistments_per_minute = 2 }";
    let bench = Bench::with(rest, Arc::new(MemoryTable::default()));
    let client = Client::new(1);
    for _ in 0..10 {
        let answer = bench.post(body(&client.fields("a.b.c"))).await;
        assert_eq!(reason(&answer), "bad_token");
    }
    let form = |user: &str| body(&client.fields(&bench.seven.token(&bench.claims(7, user))));
    account(&bench.post(form("a")).await);
    account(&bench.post(form("b")).await);
    assert_eq!(reason(&bench.post(form("c")).await), "overloaded");
    let eight = body(&client.fields(&bench.eight.token(&bench.claims(8, "a"))));
    account(&bench.post_to("/3p/interop_reg?partner=8", eight).await);
    tokio::time::sleep(Duration::from_secs(31)).await;
    account(&bench.post(form("c")).await);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_enlists_nobody() {
    let bench = Bench::new();
    let form = || body(&Client::new(1).fields(&bench.seven.token(&bench.claims(7, "ada"))));
    account(&bench.post(form()).await);
    let kid = Kid::new("k1").unwrap();
    assert!(bench.built.registry.revoke(partner(7), kid));
    assert_eq!(reason(&bench.post(form()).await), "bad_token");
}

/// The route answers POST alone.
#[tokio::test(start_paused = true)]
async fn the_route_is_the_frameworks() {
    use axum::body::Body;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    let bench = Bench::new();
    let router = TowerToHyperService::new(Arc::clone(&bench.built.enlist).router());
    let form = body(&Client::new(1).fields(&bench.seven.token(&bench.claims(7, "ada"))));
    let post = |path: &str| {
        let request = form_request(path).body(Body::from(form.clone()));
        router.call(request.unwrap())
    };
    let target = format!("{PATH}?partner=7");
    assert_eq!(post(&target).await.unwrap().status(), 200);
    assert_eq!(post("/3p/other").await.unwrap().status(), 404);
    let read = Request::get(target).body(Body::empty()).unwrap();
    assert_eq!(router.call(read).await.unwrap().status(), 405);
    let counted = bench.metrics.encode().unwrap();
    let line = "entente_identity_enlistments_total{outcome=\"ok\"} 1";
    assert!(counted.contains(line), "{counted}");
}
