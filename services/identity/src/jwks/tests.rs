use std::path::Path;

use entente_egress::test::Answers;
use entente_egress::{Policy, Response};
use entente_node::Metrics;
use tokio::time::{advance, sleep, timeout};

use super::*;
use crate::test::Issuer;

/// Partners 7 and 8; the test decides what each publishes now.
struct Bench {
    registry: Arc<Registry>,
    jwks: Arc<Jwks>,
    http: Answers,
    seven: Arc<Mutex<Result<Response, EgressError>>>,
    _tasks: JoinSet<()>,
}

fn record(number: u16, host: &str, state: &str) -> String {
    format!(
        r#"
        [[partner]]
        number = {number}
        name = "{number}"
        kind = "partner"
        state = "{state}"
        issuer = "https://id{number}.example"
        audience = "https://gateway.example"
        jwks = "https://{host}/jwks"
        algorithms = ["EdDSA"]
        "#
    )
}

fn keys(issuers: &[&Issuer]) -> Result<Response, EgressError> {
    Ok(Response::json(Issuer::set(issuers)))
}

impl Bench {
    fn new(seven: Result<Response, EgressError>, eight: &[&Issuer]) -> Self {
        let text = record(7, "id7.example", "active") + &record(8, "id8.example", "active");
        let policy = Policy::production();
        let registry = Registry::from_text(Path::new("partners.toml"), &text, policy).unwrap();
        let registry = Arc::new(registry);
        let seven = Arc::new(Mutex::new(seven));
        let (now, eight) = (Arc::clone(&seven), keys(eight));
        let http = Answers::new(move |request| match request.target.host() {
            "id8.example" => eight.clone(),
            _ => now.lock().clone(),
        });
        let events = Events::new(&Metrics::new()).unwrap();
        let port = Arc::new(http.clone());
        let settings = JwksSettings::default();
        let jwks = Jwks::new(Arc::clone(&registry), port, settings, events);
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&jwks).run());
        Self {
            registry,
            jwks,
            http,
            seven,
            _tasks: tasks,
        }
    }

    async fn find(&self, partner: u16, kid: &str) -> Result<(), KeyError> {
        let partner = self.registry.partner(PartnerId::new(partner).unwrap());
        let kid = Kid::new(kid).unwrap();
        let found = self
            .jwks
            .find(&partner.unwrap(), &kid, Algorithm::EdDsa)
            .await;
        found.map(drop)
    }

    fn publish(&self, answer: Result<Response, EgressError>) {
        *self.seven.lock() = answer;
    }

    fn hits(&self, host: &str) -> usize {
        let seen = self.http.seen();
        let mine = seen.iter().filter(|request| request.target.host() == host);
        mine.count()
    }
}

fn key(kid: &str) -> Issuer {
    Issuer::new(Algorithm::EdDsa, kid)
}

/// T53: ten thousand unknown key ids cost one fetch per cool-down, and the other partner nothing.
#[tokio::test(start_paused = true)]
async fn unknown_key_ids_cause_no_stampede() {
    let (seven, eight) = (key("a"), key("b"));
    let bench = Arc::new(Bench::new(keys(&[&seven]), &[&eight]));
    let start = Instant::now();
    let mut asked = JoinSet::new();
    for number in 0..10_000 {
        let bench = Arc::clone(&bench);
        asked.spawn(async move { bench.find(7, &format!("unknown{number}")).await });
    }
    let (mut unknown, mut unavailable) = (0, 0);
    while let Some(answer) = asked.join_next().await {
        match answer.unwrap() {
            Err(KeyError::Unknown) => unknown += 1,
            Err(KeyError::Unavailable) => unavailable += 1,
            Ok(()) => panic!("an unknown key was found"),
        }
    }
    assert_eq!(unknown + unavailable, 10_000);
    assert!(unknown <= MAX_WAITERS, "{unknown}");
    let cool_downs = start.elapsed().as_secs() / 10;
    let allowed = usize::try_from(cool_downs).unwrap() + 1;
    assert!(bench.hits("id7.example") <= allowed);
    assert_eq!(bench.hits("id8.example"), 1);
    assert_eq!(bench.find(8, "b").await, Ok(()));
    assert_eq!(bench.find(7, "a").await, Ok(()));
}

/// T53: an id that a fetch did not bring is refused from memory for a while, which is bounded.
#[tokio::test(start_paused = true)]
async fn missing_ids_are_remembered_within_a_bound() {
    let bench = Bench::new(keys(&[]), &[]);
    assert_eq!(bench.find(7, "gone").await, Err(KeyError::Unknown));
    let hits = bench.hits("id7.example");
    for _ in 0..100 {
        assert_eq!(bench.find(7, "gone").await, Err(KeyError::Unknown));
    }
    assert_eq!(bench.hits("id7.example"), hits);
    let issuers = bench.jwks.issuers.load();
    let issuer = issuers.get(&PartnerId::new(7).unwrap()).unwrap();
    for number in 0..2 * MAX_MISSING {
        issuer.remember_missing(&Kid::new(&number.to_string()).unwrap());
    }
    assert_eq!(issuer.missing.lock().len(), MAX_MISSING);
    advance(MISSING_FOR).await;
    issuer.remember_missing(&Kid::new("later").unwrap());
    assert_eq!(issuer.missing.lock().len(), 1);
}

/// T54, T56: whatever comes instead of a key set, the old keys serve until the limit, and then none.
#[tokio::test(start_paused = true)]
async fn bad_answers_leave_the_old_keys_until_the_limit() {
    let issuer = key("a");
    let html = Response {
        content_type: Some("text/html".to_owned()),
        ..keys(&[&issuer]).unwrap()
    };
    let untyped = Response {
        content_type: None,
        ..keys(&[&issuer]).unwrap()
    };
    for bad in [
        Err(EgressError::Tls),
        Err(EgressError::Deadline),
        Err(EgressError::Unreachable),
        Err(EgressError::Encoded),
        Err(EgressError::AddressRefused),
        Ok(Response::new(StatusCode::INTERNAL_SERVER_ERROR)),
        Ok(Response::new(StatusCode::NO_CONTENT)),
        Ok(Response::new(StatusCode::FOUND)),
        Ok(html),
        Ok(untyped),
        Ok(Response::json("{")),
        Ok(Response::json(vec![b' '; MAX_SET_BYTES + 1])),
        keys(&[&issuer, &key("b"), &key("b")]),
    ] {
        let bench = Bench::new(keys(&[&issuer]), &[]);
        assert_eq!(bench.find(7, "a").await, Ok(()));
        bench.publish(bad.clone());
        let limit = bench.jwks.settings.stale_limit.get();
        sleep(limit - Duration::from_secs(60)).await;
        assert!(bench.hits("id7.example") > 60, "it was tried again");
        assert_eq!(bench.find(7, "a").await, Ok(()), "{bad:?}");
        let unknown = bench.find(7, "b").await;
        assert_eq!(unknown, Err(KeyError::Unavailable), "{bad:?}");
        sleep(Duration::from_secs(600)).await;
        let stale = bench.find(7, "a").await;
        assert_eq!(stale, Err(KeyError::Unavailable), "{bad:?}");
        bench.publish(keys(&[&issuer]));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(bench.find(7, "a").await, Ok(()), "it recovers");
    }
}

/// T55: a key that was just published is accepted after one fetch; a removed one is refused within
/// the interval; honest tokens are never refused meanwhile.
#[tokio::test(start_paused = true)]
async fn keys_rotate() {
    let (old, new) = (key("old"), key("new"));
    let bench = Bench::new(keys(&[&old]), &[]);
    assert_eq!(bench.find(7, "old").await, Ok(()));
    bench.publish(keys(&[&old, &new]));
    let asked = Instant::now();
    assert_eq!(bench.find(7, "new").await, Ok(()));
    assert!(asked.elapsed() <= bench.jwks.settings.patience.get());
    assert_eq!(bench.hits("id7.example"), 2);
    assert_eq!(bench.find(7, "old").await, Ok(()));
    bench.publish(keys(&[&new]));
    let interval = bench.jwks.settings.interval.get();
    sleep(interval + interval / 10 + Duration::from_secs(1)).await;
    assert_eq!(bench.find(7, "new").await, Ok(()));
    assert_eq!(bench.find(7, "old").await, Err(KeyError::Unknown));
}

/// Clients that go away neither stop a fetch nor use up its cool-down.
#[tokio::test(start_paused = true)]
async fn a_fetch_outlives_who_asked() {
    let (old, new) = (key("old"), key("new"));
    let bench = Bench::new(keys(&[&old]), &[]);
    assert_eq!(bench.find(7, "old").await, Ok(()));
    bench.publish(keys(&[&old, &new]));
    let hasty = timeout(Duration::from_millis(1), bench.find(7, "new")).await;
    assert!(hasty.is_err());
    bench.http.wait_for(3).await;
    sleep(Duration::from_millis(1)).await;
    let hits = bench.hits("id7.example");
    assert_eq!(bench.find(7, "new").await, Ok(()));
    assert_eq!(bench.hits("id7.example"), hits, "it was there already");
}

/// T51: keys fetched from one address never serve a record with another.
#[tokio::test(start_paused = true)]
async fn records_own_their_keys() {
    let issuer = key("a");
    let bench = Bench::new(keys(&[&issuer]), &[]);
    assert_eq!(bench.find(7, "a").await, Ok(()));
    let before = bench.registry.partner(PartnerId::new(7).unwrap()).unwrap();
    bench.publish(keys(&[&key("b")]));
    let moved = record(7, "moved.example", "active");
    bench.registry.replace(&moved).unwrap();
    sleep(Duration::from_millis(1)).await;
    assert_eq!(bench.find(7, "a").await, Err(KeyError::Unknown));
    assert_eq!(bench.find(7, "b").await, Ok(()));
    let kid = Kid::new("b").unwrap();
    let by_old = bench.jwks.find(&before, &kid, Algorithm::EdDsa).await;
    assert_eq!(by_old.err(), Some(KeyError::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn stopped_partners_are_not_fetched() {
    let issuer = key("a");
    let bench = Bench::new(keys(&[&issuer]), &[]);
    assert_eq!(bench.find(7, "a").await, Ok(()));
    let stopped = record(7, "id7.example", "suspended");
    bench.registry.replace(&stopped).unwrap();
    sleep(Duration::from_millis(1)).await;
    let hits = bench.http.seen().len();
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(bench.http.seen().len(), hits);
    assert_eq!(bench.find(7, "a").await, Err(KeyError::Unavailable));
    let again = record(7, "id7.example", "onboarding");
    bench.registry.replace(&again).unwrap();
    sleep(Duration::from_millis(1)).await;
    assert_eq!(bench.find(7, "a").await, Ok(()));
}

/// What is asked of a partner's server is bounded and says what is wanted.
#[tokio::test(start_paused = true)]
async fn a_fetch_is_bounded() {
    let bench = Bench::new(keys(&[]), &[]);
    let seen = bench.http.wait_for(2).await;
    for request in seen {
        assert_eq!(request.max_body, 64 * 1024);
        assert_eq!(request.deadline, Duration::from_secs(5));
        assert_eq!(request.headers.get(header::ACCEPT), Some(&ACCEPTED));
    }
}
