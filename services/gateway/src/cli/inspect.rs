//! `entente inspect`: asks the node on this machine where something is, and shows the answer.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::{Args, Subcommand};
use entente_core::AccountId;
use entente_gateway::config::Config;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::form_urlencoded;

use super::PlaceArgs;

/// Longer than a node waits for an owner.
const PATIENCE: Duration = Duration::from_secs(20);
/// The status with which the program ends if there is no such thing. Other troubles end it with 1.
const NOT_FOUND: u8 = 3;

#[derive(Args, Debug)]
pub(super) struct InspectArgs {
    /// The configuration file of the node that is asked, for the address of its admin port.
    #[arg(long, short, default_value = "entente.toml")]
    config: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    /// The admin port, instead of what the configuration says. Only callers on its machine are answered.
    #[arg(long, value_name = "ADDRESS")]
    at: Option<SocketAddr>,
    /// Shows the answer as it is, one JSON object.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The session of an account's device, its mailbox, and why something waits in it.
    Device {
        /// The account, as PARTNER-NUMBER.
        account: AccountId,
    },
    /// The node that is asked: its name, its roles, and what owners call its connections.
    Node,
    /// The records that a shard's owner set aside: where they are in the log, and why they were not applied.
    Quarantine {
        /// The number of the shard, from 0.
        shard: u32,
    },
    /// The owner of a shard, how far it is, and what waits there.
    Shard {
        /// Its number, from 0.
        number: u32,
    },
    /// A stanza by its id: whether it came, and for what it waits.
    Stanza {
        /// The id that the sender's device gave it.
        id: String,
        /// The account that sent it.
        #[arg(long)]
        from: AccountId,
        /// The device that sent it.
        #[arg(long, default_value_t = 1)]
        device: u16,
        /// The account for which it is.
        #[arg(long)]
        to: AccountId,
    },
}

impl What {
    fn page(&self) -> String {
        match self {
            Self::Device { account } => format!("/inspect/device/{account}"),
            Self::Node => "/inspect/node".to_owned(),
            Self::Quarantine { shard } => format!("/inspect/quarantine/{shard}"),
            Self::Shard { number } => format!("/inspect/shard/{number}"),
            Self::Stanza {
                id,
                from,
                device,
                to,
            } => {
                let mut query = form_urlencoded::Serializer::new(String::new());
                query
                    .append_pair("from", &from.to_string())
                    .append_pair("device", &device.to_string())
                    .append_pair("to", &to.to_string())
                    .append_pair("id", id);
                format!("/inspect/stanza?{}", query.finish())
            }
        }
    }
}

pub(super) async fn inspect(args: InspectArgs) -> anyhow::Result<ExitCode> {
    let at = match args.at {
        Some(at) => at,
        None => {
            let mut config = Config::read(&args.config)?;
            args.place.take(&mut config)?;
            on_this_machine(config.admin.bind)
        }
    };
    let asked = timeout(PATIENCE, fetch(at, &args.what.page())).await;
    let asked = asked.with_context(|| format!("the node at {at} does not answer"))?;
    let (status, body) = asked.with_context(|| format!("the node at {at} is not reached"))?;
    let mut out = io::stdout();
    match status {
        StatusCode::OK if args.json => writeln!(out, "{body}")?,
        StatusCode::OK => write!(out, "{}", for_people(&body)?)?,
        StatusCode::NOT_FOUND => {
            writeln!(io::stderr(), "entente: {}", body.trim())?;
            return Ok(ExitCode::from(NOT_FOUND));
        }
        _ => anyhow::bail!("{}", body.trim()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a port that is bound to every address is reached from here.
fn on_this_machine(bound: SocketAddr) -> SocketAddr {
    let address = match bound.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(address, bound.port())
}

async fn fetch(at: SocketAddr, page: &str) -> anyhow::Result<(StatusCode, String)> {
    let stream = TokioIo::new(TcpStream::connect(at).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let request = Request::get(page)
        .header(http::header::HOST, at.to_string())
        .body(Empty::<Bytes>::new())?;
    // With the sender the connection ends.
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::Ok((status, String::from_utf8(body.into())?))
    };
    let (answer, _told_by_the_exchange) = tokio::join!(exchange, connection);
    answer
}

/// Members in the order in which they were written.
struct Ordered(Vec<(String, Member)>);

enum Member {
    Object(Ordered),
    Plain(Value),
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Ordered;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Ordered(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        let object = serde_json::from_str(raw.get()).map(Self::Object);
        let plain = || serde_json::from_str(raw.get()).map(Self::Plain);
        object
            .or_else(|_| plain())
            .map_err(serde::de::Error::custom)
    }
}

/// One fact a line.
fn for_people(answer: &str) -> anyhow::Result<String> {
    let mut facts = Vec::new();
    let answer: Ordered = serde_json::from_str(answer).context("the answer is not an object")?;
    flatten("", answer, &mut facts);
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (name, value) in facts {
        writeln!(out, "{name:width$}  {value}")?;
    }
    Ok(out)
}

fn flatten(above: &str, object: Ordered, facts: &mut Vec<(String, String)>) {
    for (name, member) in object.0 {
        let name = format!("{above}{}", name.replace('_', " "));
        match member {
            Member::Object(object) => flatten(&format!("{name}: "), object, facts),
            Member::Plain(Value::Null) => facts.push((name, "-".to_owned())),
            Member::Plain(Value::Array(items)) => {
                let items = items.into_iter();
                facts.extend(items.map(|item| (name.clone(), item.to_string())));
            }
            Member::Plain(Value::String(text)) => facts.push((name, text)),
            Member::Plain(other) => facts.push((name, other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_fact_a_line_in_its_own_order() {
        let answer =
            r#"{"node":"r1","shard":5,"log":{"end":null,"lag_records":0},"a":[1,{"b":2}]}"#;
        let said = for_people(answer).unwrap();
        let wanted = "node              r1\nshard             5\nlog: end          -\n\
                      log: lag records  0\na                 1\na                 {\"b\":2}\n";
        assert_eq!(said, wanted);
        assert!(for_people("[]").is_err());
    }

    #[test]
    fn a_stanza_is_asked_for_with_whatever_id_it_has() {
        let account = |text: &str| text.parse().unwrap();
        let what = What::Stanza {
            id: "a b&c/ä".to_owned(),
            from: account("7-1"),
            device: 1,
            to: account("7-2"),
        };
        let page = "/inspect/stanza?from=7-1&device=1&to=7-2&id=a+b%26c%2F%C3%A4";
        assert_eq!(what.page(), page);
    }

    #[test]
    fn a_port_on_every_address_is_asked_here() {
        let at = |text: &str| on_this_machine(text.parse().unwrap()).to_string();
        assert_eq!(at("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(at("[::]:1"), "[::1]:1");
        assert_eq!(at("192.0.2.7:1"), "192.0.2.7:1");
    }
}
