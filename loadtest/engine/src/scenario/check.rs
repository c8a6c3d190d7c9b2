//! Values out of range, and values that do not go together.

use super::error::Wrong;
use super::{Arrivals, Kind, Pattern, Scenario, Trusted};

/// Largest body: below what servers take as one stanza, with room for the rest of it.
pub(super) const MAX_BODY: usize = 128 * 1024;
/// Smallest body: a mark of the sender and number.
pub(super) const MIN_BODY: usize = 16;
/// Most users of one process.
const MAX_USERS: usize = 1_000_000;

impl Scenario {
    /// Says the first thing that is wrong.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        self.check_run()?;
        self.check_target()?;
        self.check_load()?;
        self.check_events()
    }

    fn check_run(&self) -> Result<(), Wrong> {
        require(
            !self.run.time.is_zero(),
            "run.time",
            "must be longer than 0",
        )?;
        require(!self.run.cores.is_empty(), "run.cores", "name at least one")?;
        let users = self.sessions.users;
        require(
            (1..=MAX_USERS).contains(&users),
            "sessions.users",
            "must be 1 to 1000000",
        )?;
        require(
            self.sessions.at_once >= 1,
            "sessions.at_once",
            "must be at least 1",
        )?;
        require(
            (1..=254).contains(&self.sessions.sources),
            "sessions.sources",
            "must be 1 to 254",
        )?;
        require(
            users >= self.run.cores.len() * 2,
            "sessions.users",
            "must be at least two for each core of run.cores",
        )
    }

    fn check_target(&self) -> Result<(), Wrong> {
        let target = &self.target;
        require(
            !target.domain.is_empty(),
            "target.domain",
            "must not be empty",
        )?;
        if target.kind != Kind::Start {
            require(
                target.address.is_some(),
                "target.address",
                "is needed when the server runs already",
            )?;
        }
        if target.kind == Kind::Entente {
            require(
                target.enlist.is_some(),
                "target.enlist",
                "is needed with kind = \"entente\"",
            )?;
            require(
                target.partner.is_some(),
                "target.partner",
                "is needed with kind = \"entente\"",
            )?;
        }
        require(
            target.tls.trust != Trusted::File || target.tls.authority.is_some(),
            "target.tls.authority",
            "is needed with trust = \"file\"",
        )?;
        require(
            target.partner_number >= 1,
            "target.partner_number",
            "must be at least 1",
        )?;
        let partners = self.sessions.partners;
        require(partners >= 1, "sessions.partners", "must be at least 1")?;
        require(
            target.partner_number.checked_add(partners).is_some(),
            "sessions.partners",
            "partner numbers end at 65535",
        )?;
        require(
            partners == 1 || target.kind != Kind::Xmpp,
            "sessions.partners",
            "an XMPP server has no partners: leave it at 1",
        )
    }

    fn check_load(&self) -> Result<(), Wrong> {
        let load = &self.load;
        require(
            load.rate.is_finite() && load.rate >= 0.0,
            "load.rate",
            "must be 0 or more",
        )?;
        require(load.window >= 1, "load.window", "must be at least 1")?;
        require(load.contacts >= 1, "load.contacts", "must be at least 1")?;
        share(load.receipts, "load.receipts")?;
        share(load.delivered_receipts, "load.delivered_receipts")?;
        require(
            load.delivered_receipts == 0.0 || self.target.kind != Kind::Xmpp,
            "load.delivered_receipts",
            "an XMPP server gives none of its own: they are entente's",
        )?;
        require(
            load.delivered_receipts == 0.0 || self.sessions.manage,
            "load.delivered_receipts",
            "need sessions.manage: they say what XEP-0198 acknowledged",
        )?;
        share(load.typing, "load.typing")?;
        require(
            !load.sizes.is_empty(),
            "load.sizes",
            "name at least one size",
        )?;
        for size in &load.sizes {
            require(
                (MIN_BODY..=MAX_BODY).contains(&size.bytes),
                "load.sizes",
                "bytes must be 16 to 131072",
            )?;
            require(
                size.weight > 0.0 && size.weight.is_finite(),
                "load.sizes",
                "weight must be above 0",
            )?;
        }
        let good = |factor: &f64| factor.is_finite() && *factor >= 0.0;
        require(
            load.curve.iter().all(good),
            "load.curve",
            "factors must be 0 or more",
        )?;
        require(
            load.curve.is_empty() || load.arrivals != Arrivals::Closed,
            "load.curve",
            "a closed loop has no rate: use constant or poisson arrivals",
        )?;
        let fan = matches!(load.pattern, Pattern::FanIn | Pattern::FanOut);
        let each = self.sessions.users / self.run.cores.len().max(1);
        require(
            !fan || (load.hubs >= 1 && load.hubs < each),
            "load.hubs",
            "must be at least 1 and fewer than the users of a core",
        )
    }

    fn check_events(&self) -> Result<(), Wrong> {
        if let Some(offline) = &self.offline {
            share(offline.share, "offline.share")?;
            require(
                self.sessions.manage,
                "sessions.manage",
                "what waits is only known with XEP-0198",
            )?;
        }
        if let Some(reconnect) = &self.reconnect {
            share(reconnect.share, "reconnect.share")?;
            require(
                !reconnect.every.is_zero(),
                "reconnect.every",
                "must be longer than 0",
            )?;
        }
        if let Some(slow) = &self.slow {
            share(slow.share, "slow.share")?;
            require(slow.bytes >= 1, "slow.bytes", "must be at least 1")?;
        }
        if let Some(logins) = &self.logins {
            require(
                logins.rate.is_finite() && logins.rate >= 0.0,
                "logins.rate",
                "must be 0 or more",
            )?;
            require(
                self.load.pattern == Pattern::None,
                "load.pattern",
                "must be \"none\" with [logins]: who logs in and out writes nothing",
            )?;
        }
        if let Some(prekeys) = &self.prekeys {
            require(
                self.target.kind != Kind::Xmpp,
                "prekeys",
                "an XMPP server has no key bundles: they are entente's",
            )?;
            require(
                prekeys.rate.is_finite() && prekeys.rate > 0.0,
                "prekeys.rate",
                "must be above 0",
            )?;
            require(
                prekeys.one_time <= 100,
                "prekeys.one_time",
                "must be at most 100",
            )?;
        }
        if let Some(noisy) = &self.noisy {
            require(
                self.sessions.partners >= 2,
                "sessions.partners",
                "must be at least 2 with [noisy]",
            )?;
            require(
                noisy.factor >= 1.0 && noisy.factor.is_finite(),
                "noisy.factor",
                "must be at least 1",
            )?;
            require(
                self.load.arrivals != Arrivals::Closed,
                "load.arrivals",
                "[noisy] needs constant or poisson arrivals",
            )?;
        }
        Ok(())
    }
}

fn share(value: f64, key: &str) -> Result<(), Wrong> {
    require((0.0..=1.0).contains(&value), key, "must be 0 to 1")
}

fn require(holds: bool, key: &str, what: &str) -> Result<(), Wrong> {
    if holds {
        return Ok(());
    }
    Err(Wrong {
        key: key.to_owned(),
        what: what.to_owned(),
    })
}
