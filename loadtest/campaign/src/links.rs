//! The network between the processes of a cluster, which can be cut link by link, both ways or one.
//!
//! In: a plan, a line for each link: where to listen, who connects there, whom it reaches, and where that
//! one listens. Then orders, a line each, over connections to another address: `cut A B` (no bytes pass
//! between the two), `cut A B one-way` (none from A to B), `heal A B`, `heal`; A or B may be
//! `all`. Out: a line for
//! each order, `done` or `error: WHY`.
//!
//! **Invariants**
//! - A link carries what one process sends to another and nothing else: whoever connects has an address of
//!   its own for each process that it reaches.
//! - An order is answered when it holds for every byte that comes after it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, timeout};

use crate::parting::ALL;
use crate::proxy::{Held, Proxy, Weather};

/// The longest order, in bytes.
const ORDER_BYTES: u64 = 256;
/// How long somebody who connected may take for an order; others wait meanwhile.
const ORDER_WITHIN: Duration = Duration::from_secs(5);

/// See the module. Dropping it breaks all connections.
#[derive(Debug)]
pub struct Links {
    links: Vec<Link>,
    /// From whom to whom nothing passes.
    cuts: BTreeSet<(String, String)>,
}

#[derive(Debug)]
struct Link {
    from: String,
    to: String,
    proxy: Proxy,
}

impl Links {
    /// Listens as a plan says, in the runtime of the caller.
    ///
    /// # Errors
    /// If a line is none of a plan, with its number, or an address cannot be listened on.
    pub async fn open(plan: &str) -> anyhow::Result<Self> {
        let mut links = Vec::new();
        for (number, line) in (1..).zip(plan.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let &[at, from, to, target] = &*words else {
                bail!("line {number}: a link is LISTEN FROM TO TARGET, not {line:?}");
            };
            let address = |text: &str| -> anyhow::Result<SocketAddr> {
                let wrong = || format!("line {number}: {text:?} is no address with a port");
                text.parse().with_context(wrong)
            };
            let (at, target) = (address(at)?, address(target)?);
            let proxy = Proxy::listen(at, vec![target]).await;
            links.push(Link {
                from: from.to_owned(),
                to: to.to_owned(),
                proxy: proxy.with_context(|| format!("line {number}: listening on {at}"))?,
            });
        }
        Ok(Self {
            links,
            cuts: BTreeSet::new(),
        })
    }

    /// Follows the orders of whoever connects, one after the other. Never returns but with an error.
    ///
    /// # Errors
    /// If nobody can connect any more.
    pub async fn obey(mut self, listener: TcpListener) -> anyhow::Result<()> {
        loop {
            let (stream, _) = listener.accept().await.context("waiting for orders")?;
            // Who goes away or says nothing has no order.
            let _unheard = timeout(ORDER_WITHIN, self.hear(stream)).await;
        }
    }

    async fn hear(&mut self, stream: TcpStream) -> anyhow::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut order = String::new();
        (&mut stream)
            .take(ORDER_BYTES)
            .read_line(&mut order)
            .await?;
        let said = match self.order(&order) {
            Ok(()) => "done\n".to_owned(),
            Err(error) => format!("error: {error:#}\n"),
        };
        stream.write_all(said.as_bytes()).await?;
        stream.shutdown().await?;
        Ok(())
    }

    /// Does what an order says.
    fn order(&mut self, order: &str) -> anyhow::Result<()> {
        let words: Vec<&str> = order.split_whitespace().collect();
        match *words {
            ["heal"] => self.cuts.clear(),
            ["heal", one, other] => {
                for (from, to) in self.ways(one, other)? {
                    self.cuts.remove(&(from.clone(), to.clone()));
                    self.cuts.remove(&(to, from));
                }
            }
            ["cut", one, other] => {
                for (from, to) in self.ways(one, other)? {
                    self.cuts.insert((to.clone(), from.clone()));
                    self.cuts.insert((from, to));
                }
            }
            ["cut", from, to, "one-way"] => {
                let ways = self.ways(from, to)?;
                self.cuts.extend(ways);
            }
            _ => bail!("no order: {:?}", order.trim()),
        }
        for link in &self.links {
            let cut = |from: &String, to: &String| self.cuts.contains(&(from.clone(), to.clone()));
            let held = Held {
                forth: cut(&link.from, &link.to),
                back: cut(&link.to, &link.from),
            };
            link.proxy.set(Weather {
                held,
                ..Weather::default()
            });
        }
        Ok(())
    }

    /// From one to another, where a link joins them; each may stand for all.
    fn ways(&self, from: &str, to: &str) -> anyhow::Result<BTreeSet<(String, String)>> {
        let is = |name: &str, wanted: &str| wanted == ALL || name == wanted;
        let both = self.links.iter().flat_map(|link| {
            [
                (link.from.clone(), link.to.clone()),
                (link.to.clone(), link.from.clone()),
            ]
        });
        let ways: BTreeSet<_> = both.filter(|(a, b)| is(a, from) && is(b, to)).collect();
        if ways.is_empty() {
            bail!("no link joins {from} with {to}");
        }
        Ok(ways)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::task::JoinSet;

    use super::*;

    /// A listener, and a line of a plan for a link to it.
    async fn target(from: &str, to: &str) -> (TcpListener, SocketAddr, String) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        // Free a moment ago; nobody else of this test takes it.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (at, to_at) = (free.local_addr().unwrap(), listener.local_addr().unwrap());
        (listener, at, format!("{at} {from} {to} {to_at}\n"))
    }

    async fn told(control: SocketAddr, order: &str) -> String {
        let mut stream = TcpStream::connect(control).await.unwrap();
        stream.write_all(order.as_bytes()).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        said
    }

    #[tokio::test]
    async fn a_link_is_cut_one_way_or_both_and_heals_with_all_it_held() {
        let (r2, at, first) = target("r1", "r2").await;
        let (_b1, _, second) = target("r1", "b1").await;
        let links = Links::open(&(first + &second)).await.unwrap();
        let control = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let door = control.local_addr().unwrap();
        let mut obeying = JoinSet::new();
        obeying.spawn(links.obey(control));
        let mut near = TcpStream::connect(at).await.unwrap();
        let (mut far, _) = r2.accept().await.unwrap();
        let short = Duration::from_millis(100);
        let mut byte = [0];
        // Which of the two ways is closed after each order: forth, back.
        let orders = [
            ("cut r1 r2 one-way\n", true, false),
            ("heal r1 r2\n", false, false),
            ("cut r2 r1 one-way\n", false, true),
            ("cut r1 r2\n", true, true),
            ("heal r2 r1\n", false, false),
            ("cut r1 all\n", true, true),
            ("heal all r1\n", false, false),
            ("cut all r1 one-way\n", false, true),
            ("heal\n", false, false),
            ("cut r1 b1\n", false, false),
        ];
        for (order, forth, back) in orders {
            assert_eq!(told(door, order).await, "done\n", "{order}");
            for turned in [false, true] {
                let (closed, from, to) = if turned {
                    (back, &mut far, &mut near)
                } else {
                    (forth, &mut near, &mut far)
                };
                from.write_all(b"x").await.unwrap();
                let came = timeout(short, to.read_exact(&mut byte)).await;
                assert_eq!(came.is_err(), closed, "{order}");
                if closed {
                    // What is held now comes with the next that passes: leave the ways as they were.
                    assert_eq!(told(door, "heal\n").await, "done\n");
                    to.read_exact(&mut byte).await.unwrap();
                    assert_eq!(told(door, order).await, "done\n");
                }
            }
        }
        obeying.shutdown().await;
    }

    #[tokio::test]
    async fn what_is_no_order_and_no_plan_is_told() {
        let (_r2, _, line) = target("r1", "r2").await;
        let mut links = Links::open(&line).await.unwrap();
        for (order, wanted) in [
            ("cut r1 r3", "no link joins r1 with r3"),
            ("cut r3 all", "no link joins r3 with all"),
            ("cut r1", "no order: \"cut r1\""),
            ("cut r1 r2 twice", "no order"),
            ("", "no order"),
        ] {
            let error = links.order(order).unwrap_err().to_string();
            assert!(error.contains(wanted), "{order}: {error}");
        }
        for (plan, wanted) in [
            ("127.0.0.1:0 a b", "line 1: a link is"),
            ("\n", "line 1: a link is"),
            ("here a b 127.0.0.1:1", "line 1: \"here\" is no address"),
        ] {
            let error = format!("{:#}", Links::open(plan).await.unwrap_err());
            assert!(error.contains(wanted), "{plan}: {error}");
        }
    }
}
