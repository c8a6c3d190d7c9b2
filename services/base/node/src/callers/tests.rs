use tokio::time::advance;

use super::*;

const DOOR: &str = "xmpp";

fn limits() -> CallerLimits {
    CallerLimits {
        strangers: 100,
        per_address: 4,
        burst: 6,
        interval: Span::secs(1),
        network_multiple: 2,
        exempt: Vec::new(),
    }
}

fn callers(limits: CallerLimits) -> Callers {
    Callers::new(limits, 10_000, &Metrics::new()).unwrap()
}

fn come(callers: &Callers, address: &str) -> Result<Stranger, CallerRefusal> {
    let mut stranger = callers.arrive(DOOR)?;
    stranger.comes_from(address.parse().unwrap())?;
    Ok(stranger)
}

fn kept(callers: &Callers) -> (usize, usize) {
    let table = callers.0.table.lock();
    (table.strangers, table.places.len())
}

/// T155: one address has its share of strangers, and others are served beside it.
#[tokio::test(start_paused = true)]
async fn an_address_has_its_share_and_no_more() {
    let callers = callers(limits());
    let mut held: Vec<_> = (0..4)
        .map(|_| come(&callers, "192.0.2.1").unwrap())
        .collect();
    let refused = come(&callers, "192.0.2.1").unwrap_err();
    assert_eq!(refused, CallerRefusal::AddressOpen);
    assert_eq!(
        come(&callers, "::ffff:192.0.2.1").unwrap_err(),
        CallerRefusal::AddressOpen,
        "the same address as IPv6"
    );
    drop(come(&callers, "192.0.2.2").unwrap());
    // A login is dropped as a stranger, and makes room.
    held.pop();
    held.push(come(&callers, "192.0.2.1").unwrap());
    let count = |refusal| callers.0.refused.value((Door(DOOR), refusal));
    assert_eq!(count(CallerRefusal::AddressOpen), 2);
    assert_eq!(callers.0.open.value(()), 4);
    drop(held);
    assert_eq!(callers.0.open.value(()), 0);
    assert_eq!(kept(&callers).0, 0);
}

/// T80: arrivals of one address beyond its bucket are closed, and the bucket fills again.
#[tokio::test(start_paused = true)]
async fn an_address_that_comes_too_fast_waits() {
    let callers = callers(limits());
    for _ in 0..6 {
        drop(come(&callers, "192.0.2.1").unwrap());
    }
    for _ in 0..100 {
        let refused = come(&callers, "192.0.2.1").unwrap_err();
        assert_eq!(refused, CallerRefusal::AddressRate);
    }
    drop(come(&callers, "192.0.2.2").unwrap());
    advance(Duration::from_secs(1)).await;
    drop(come(&callers, "192.0.2.1").unwrap());
    assert!(come(&callers, "192.0.2.1").is_err(), "one a second");
    advance(Duration::from_secs(6)).await;
    for _ in 0..6 {
        drop(come(&callers, "192.0.2.1").unwrap());
    }
    assert!(come(&callers, "192.0.2.1").is_err());
}

/// T155: addresses of one IPv6 /64 are one; the /48 around it has a multiple, over all its /64.
#[tokio::test(start_paused = true)]
async fn networks_of_ipv6_are_counted_at_64_and_48_bits() {
    let callers = callers(limits());
    let mut held = Vec::new();
    for host in 0..4 {
        held.push(come(&callers, &format!("2001:db8:1:1::{host}")).unwrap());
    }
    assert_eq!(
        come(&callers, "2001:db8:1:1:ffff::9").unwrap_err(),
        CallerRefusal::AddressOpen
    );
    for subnet in 2..6 {
        held.push(come(&callers, &format!("2001:db8:1:{subnet}::1")).unwrap());
    }
    assert_eq!(
        come(&callers, "2001:db8:1:6::1").unwrap_err(),
        CallerRefusal::NetworkOpen
    );
    held.push(come(&callers, "2001:db8:2:1::1").unwrap());
    drop(held);
    for subnet in 7..11 {
        drop(come(&callers, &format!("2001:db8:1:{subnet}::1")).unwrap());
    }
    assert_eq!(
        come(&callers, "2001:db8:1:11::1").unwrap_err(),
        CallerRefusal::NetworkRate
    );
}

/// T155: strangers leave room for those who are known, whatever the limits say.
#[tokio::test(start_paused = true)]
async fn strangers_have_half_of_the_connections_at_most() {
    let callers = Callers::new(limits(), 10, &Metrics::new()).unwrap();
    let held: Vec<_> = (0..5)
        .map(|last| come(&callers, &format!("192.0.2.{last}")).unwrap())
        .collect();
    let refused = come(&callers, "192.0.2.99").unwrap_err();
    assert_eq!(refused, CallerRefusal::Strangers);
    drop(held);
    assert!(come(&callers, "192.0.2.99").is_ok());
}

/// T159: a hundred thousand addresses leave no more than the table may hold, and nothing for long.
#[tokio::test(start_paused = true)]
async fn the_table_is_bounded_and_forgets() {
    let callers = callers(limits());
    let most = 4 * 100 + SPARE_PLACES;
    let held = come(&callers, "198.51.100.1").unwrap();
    for number in 0..100_000_u32 {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number);
        drop(come(&callers, &address.to_string()).unwrap());
        assert!(kept(&callers).1 <= most);
    }
    let held_too = come(&callers, "198.51.100.1").unwrap();
    drop((held, held_too));
    advance(Duration::from_secs(10)).await;
    // A visit of each forgets it; so does a full table.
    for number in 0..3_000_u32 {
        let address = std::net::Ipv4Addr::from_bits(0x0b00_0000 + number);
        drop(come(&callers, &address.to_string()).unwrap());
    }
    assert!(kept(&callers).1 <= most);
    assert_eq!(kept(&callers).0, 0);
}

#[tokio::test(start_paused = true)]
async fn exempt_networks_are_strangers_without_an_address() {
    let callers = callers(CallerLimits {
        exempt: vec!["127.0.0.0/8".parse().unwrap()],
        ..limits()
    });
    let held: Vec<_> = (0..100)
        .map(|_| come(&callers, "127.0.0.1").unwrap())
        .collect();
    assert_eq!(kept(&callers), (100, 0));
    assert_eq!(
        come(&callers, "127.0.0.1").unwrap_err(),
        CallerRefusal::Strangers
    );
    drop(held);
}

#[test]
fn a_bound_of_zero_is_named() {
    assert_eq!(CallerLimits::default().check(), Ok(()));
    assert_eq!(CallerLimits::default().exempt.len(), 2);
    let none = CallerLimits {
        burst: 0,
        ..limits()
    };
    let said = none.check().unwrap_err().to_string();
    assert_eq!(said, "callers.burst must not be zero");
}
