//! What is done to the gateway, and what comes out.

pub mod idle;
pub mod login;
pub mod pairs;

use std::time::Duration;

use crate::machine::{Sample, Spent};
use crate::report::Row;

/// CPU times of the gateway and of the generator over the same span.
#[derive(Clone, Debug)]
pub struct Meter {
    server: Sample,
    own: Sample,
    pid: u32,
}

impl Meter {
    /// Begins now.
    ///
    /// # Errors
    /// If the gateway is gone.
    pub fn begin(pid: u32) -> anyhow::Result<Self> {
        Ok(Self {
            server: Sample::of(pid)?,
            own: Sample::of(std::process::id())?,
            pid,
        })
    }

    /// Ends now: the gateway's share and the generator's.
    ///
    /// # Errors
    /// If the gateway is gone.
    pub fn end(&self) -> anyhow::Result<(Spent, Spent)> {
        let own = Sample::of(std::process::id())?.since(&self.own);
        Ok((Sample::of(self.pid)?.since(&self.server), own))
    }
}

/// The figures that every scenario with a rate has.
fn costs(row: &mut Row, what: &str, count: u64, goal: Option<f64>, spent: &(Spent, Spent)) {
    let (server, own) = spent;
    let events = float(count).max(1.0);
    let micros = |span: Duration| span.as_secs_f64() * 1e6 / events;
    let per = format!("µs/{what}");
    row.add(
        &format!("{what}s/s"),
        float(count) / server.wall.as_secs_f64(),
        "/s",
    );
    row.goal("server", micros(server.cpu()), &per, goal);
    row.add("user", micros(server.user), &per);
    row.add("kernel", micros(server.system), &per);
    row.add("server load", server.load(), "%");
    row.add("generator load", own.load(), "%");
    row.add("generator", micros(own.cpu()), &per);
    row.add(
        "switches",
        float(server.switches) / events,
        &format!("/{what}"),
    );
    row.add(
        "forced switches",
        float(server.forced) / events,
        &format!("/{what}"),
    );
    row.add("steal", server.steal.as_secs_f64() * 1e3, "ms");
    for (name, ran) in &server.threads {
        if *ran > server.cpu() / 100 {
            row.add(&format!("thread {name}"), micros(*ran), &per);
        }
    }
}

/// For figures that people read: 53 bits are enough.
fn float(count: u64) -> f64 {
    let (high, low) = (count >> 32, count & u64::from(u32::MAX));
    let part = |part| u32::try_from(part).map_or(0.0, f64::from);
    part(high) * 4_294_967_296.0 + part(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_become_floats() {
        assert_eq!(float(7), 7.0);
        assert_eq!(float((1 << 40) + 3), 1_099_511_627_779.0);
    }
}
