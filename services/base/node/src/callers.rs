//! How many connections may be open, and how fast they may come, before they show who they are.
//!
//! In: the arrival of a connection, and its address once that is known. Out: a [`Stranger`], held
//! until the peer is authenticated or gone, or a refusal to be followed by a close. There are three
//! bounds: strangers in all, so that the rest of the connections is left to those who are known;
//! strangers of one address; and arrivals of one address over time (a token bucket: the generic
//! cell rate algorithm, ITU-T I.371).
//!
//! An address is an IPv4 address or an IPv6 network of 64 bits, which is what one customer gets at
//! least. An IPv6 network of 48 bits, which one customer gets at most, has a multiple of it.
//!
//! **Invariants**
//! - Addresses are in memory only, and an address is forgotten when it has no stranger and its
//!   bucket is full.
//! - The table has a ceiling: four places for each stranger that there may be, and some.
//! - What is refused costs no token and leaves nothing behind.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use entente_core::Span;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::accept::Door;
use crate::{Counters, Gauges, Label, LabelValue, Metrics, MetricsError, Network};

/// Places in the table beside four for each stranger.
const SPARE_PLACES: usize = 1024;

/// The `[callers]` section of the configuration: bounds for those who did not log in yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallerLimits {
    /// Connections at one time, over all listeners of clients, that are not logged in. What is left
    /// of `connection.limits.connections` is for those that are; it is never less than half.
    pub strangers: usize,
    /// Of these, from one IPv4 address or IPv6 /64. Behind the address of a carrier are thousands
    /// of phones, but each is a stranger for a second only.
    pub per_address: u32,
    /// Connections that an address may make at once after a pause.
    pub burst: u32,
    /// Afterwards, one in this time. A handshake costs us a fraction of a millisecond.
    pub interval: Span,
    /// An IPv6 /48 may have so many times what an address may.
    pub network_multiple: u32,
    /// Networks without these bounds, such as load balancers that pass on no address. They count as
    /// strangers all the same.
    pub exempt: Vec<Network>,
}

impl Default for CallerLimits {
    fn default() -> Self {
        Self {
            strangers: 10_000,
            per_address: 128,
            burst: 512,
            interval: Span::new(Duration::from_millis(20)),
            network_multiple: 8,
            exempt: ["127.0.0.0/8", "::1/128"]
                .iter()
                .filter_map(|network| network.parse().ok())
                .collect(),
        }
    }
}

/// A bound that lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("callers.{0} must not be zero")]
pub struct CallerLimitsError(&'static str);

impl CallerLimits {
    /// Names the first bound that cannot work.
    ///
    /// # Errors
    /// [`CallerLimitsError`] for a bound of zero.
    pub fn check(&self) -> Result<(), CallerLimitsError> {
        let bounds = [
            ("strangers", self.strangers == 0),
            ("per_address", self.per_address == 0),
            ("burst", self.burst == 0),
            ("interval", self.interval.get().is_zero()),
            ("network_multiple", self.network_multiple == 0),
        ];
        let zero = bounds.into_iter().find(|(_, zero)| *zero);
        zero.map_or(Ok(()), |(name, _)| Err(CallerLimitsError(name)))
    }
}

/// Why a connection is closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallerRefusal {
    /// The address has as many strangers as it may.
    AddressOpen,
    /// The address comes too fast.
    AddressRate,
    /// The IPv6 /48 has as many strangers as it may.
    NetworkOpen,
    /// The IPv6 /48 comes too fast.
    NetworkRate,
    /// There are as many strangers as there may be.
    Strangers,
}

impl Label for CallerRefusal {
    const NAME: &'static str = "reason";

    fn value(&self) -> LabelValue {
        LabelValue::Word(match self {
            Self::AddressOpen => "address_open",
            Self::AddressRate => "address_rate",
            Self::NetworkOpen => "network_open",
            Self::NetworkRate => "network_rate",
            Self::Strangers => "strangers",
        })
    }
}

/// The strangers of a process. Clones share them.
#[derive(Clone, Debug)]
pub struct Callers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: CallerLimits,
    table: Mutex<Table>,
    refused: Counters<(Door, CallerRefusal)>,
    open: Gauges<()>,
}

#[derive(Debug, Default)]
struct Table {
    strangers: usize,
    /// The standard hasher is keyed, so addresses cannot be chosen to collide.
    places: HashMap<Place, Entry>,
}

/// Where a connection comes from, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Four(u32),
    /// The first 64 bits.
    Six(u64),
    /// The first 48 bits.
    Site(u64),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    open: u32,
    /// When the bucket is full again.
    full: Instant,
}

/// A connection that did not show yet who it is. Dropped, it counts no more.
#[derive(Debug)]
pub struct Stranger {
    callers: Callers,
    door: Door,
    places: [Option<Place>; 2],
}

impl Callers {
    /// Nobody yet. At most `connections / 2` are strangers, whatever the limits say.
    ///
    /// # Errors
    /// If the metrics are registered already.
    pub fn new(
        mut limits: CallerLimits,
        connections: usize,
        metrics: &Metrics,
    ) -> Result<Self, MetricsError> {
        limits.strangers = limits.strangers.min(connections / 2).max(1);
        Ok(Self(Arc::new(Inner {
            limits,
            table: Mutex::default(),
            refused: metrics.counters(
                "entente_node_callers_refused",
                "Connections that were closed before they were served, by bound",
            )?,
            open: metrics.gauges(
                "entente_node_strangers",
                "Connections that are not logged in",
            )?,
        })))
    }

    /// Takes a connection whose address is not known yet.
    ///
    /// # Errors
    /// [`CallerRefusal::Strangers`].
    pub fn arrive(&self, listener: &'static str) -> Result<Stranger, CallerRefusal> {
        let door = Door(listener);
        let mut table = self.0.table.lock();
        if table.strangers >= self.0.limits.strangers {
            drop(table);
            return Err(self.count(door, CallerRefusal::Strangers));
        }
        table.strangers += 1;
        drop(table);
        self.0.open.add((), 1);
        Ok(Stranger {
            callers: self.clone(),
            door,
            places: [None; 2],
        })
    }

    fn count(&self, door: Door, refusal: CallerRefusal) -> CallerRefusal {
        self.0.refused.increment((door, refusal));
        refusal
    }
}

impl Stranger {
    /// Counts the connection for the address that it comes from. Called once.
    ///
    /// # Errors
    /// [`CallerRefusal`]; the connection is to be closed.
    pub fn comes_from(&mut self, address: IpAddr) -> Result<(), CallerRefusal> {
        let limits = &self.callers.0.limits;
        if limits.exempt.iter().any(|net| net.contains(address)) {
            return Ok(());
        }
        let places = places(address);
        let now = Instant::now();
        let mut table = self.callers.0.table.lock();
        let outcome = table.admit(places, limits, now);
        drop(table);
        match outcome {
            Ok(()) => {
                self.places = places;
                Ok(())
            }
            Err(refusal) => Err(self.callers.count(self.door, refusal)),
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut table = self.callers.0.table.lock();
        table.strangers = table.strangers.saturating_sub(1);
        for place in self.places.into_iter().flatten() {
            let Some(entry) = table.places.get_mut(&place) else {
                continue;
            };
            entry.open = entry.open.saturating_sub(1);
            if entry.open == 0 && entry.full <= now {
                table.places.remove(&place);
            }
        }
        drop(table);
        self.callers.0.open.add((), -1);
    }
}

impl Table {
    /// Counts a connection at all of its places, or at none.
    fn admit(
        &mut self,
        places: [Option<Place>; 2],
        limits: &CallerLimits,
        now: Instant,
    ) -> Result<(), CallerRefusal> {
        let mut entries = Vec::with_capacity(places.len());
        for place in places.into_iter().flatten() {
            let entry = self.places.get(&place).copied();
            let entry = entry.unwrap_or(Entry { open: 0, full: now });
            entries.push((place, entry.one_more(place, limits, now)?));
        }
        self.make_room(limits, now);
        self.places.extend(entries);
        Ok(())
    }

    fn make_room(&mut self, limits: &CallerLimits, now: Instant) {
        let most = limits.strangers.saturating_mul(4) + SPARE_PLACES;
        if self.places.len() + 2 <= most {
            return;
        }
        self.places
            .retain(|_, entry| entry.open > 0 || entry.full > now);
        // So many addresses at once are nobody's that a bucket would hold back. Half of the table
        // at most has strangers: two places each.
        if self.places.len() > most / 2 {
            self.places.retain(|_, entry| entry.open > 0);
        }
    }
}

impl Entry {
    fn one_more(
        self,
        place: Place,
        limits: &CallerLimits,
        now: Instant,
    ) -> Result<Self, CallerRefusal> {
        let (multiple, open, rate) = match place {
            Place::Four(_) | Place::Six(_) => {
                (1, CallerRefusal::AddressOpen, CallerRefusal::AddressRate)
            }
            Place::Site(_) => (
                limits.network_multiple,
                CallerRefusal::NetworkOpen,
                CallerRefusal::NetworkRate,
            ),
        };
        if self.open >= limits.per_address.saturating_mul(multiple) {
            return Err(open);
        }
        let interval = limits.interval.get() / multiple;
        let full = self.full.max(now) + interval;
        let whole = interval.saturating_mul(limits.burst.saturating_mul(multiple));
        if full - now > whole {
            return Err(rate);
        }
        Ok(Self {
            open: self.open + 1,
            full,
        })
    }
}

fn places(address: IpAddr) -> [Option<Place>; 2] {
    match address.to_canonical() {
        IpAddr::V4(four) => [Some(Place::Four(four.to_bits())), None],
        IpAddr::V6(six) => {
            let [a, b, c, d, e, f, g, h, ..] = six.octets();
            let first = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            [Some(Place::Six(first)), Some(Place::Site(first >> 16))]
        }
    }
}

#[cfg(test)]
mod tests;
