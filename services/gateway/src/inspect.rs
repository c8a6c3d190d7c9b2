//! What a person on call asks a node at its admin port: where something is, and why it waits.
//!
//! In: `/inspect/node`, `/inspect/shard/N`, `/inspect/quarantine/N`, `/inspect/device/ACCOUNT` and
//! `/inspect/stanza?from=ACCOUNT&device=N&to=ACCOUNT&id=ID`, of callers on this machine alone. Out: one
//! JSON object of internal ids and counters, with the node that answered; or a line that says why not.
//!
//! A router asks whoever owns the shard. Another node may not, for a process that faces strangers must
//! not be able to look at every account: it names the owner.

use bytes::Bytes;
use entente_core::{AccountId, FaultKind, MAX_STANZA_ID_BYTES, Placement, ShardId};
use entente_node::{Answering, Page, Pages};
use entente_proto::inspect::Question;
use entente_proto::{EdgeId, InspectClient};
use http::StatusCode;
use serde::de::IgnoredAny;
use serde_json::json;
use url::form_urlencoded;

use crate::cluster::Whereabouts;

/// Where the pages are.
const PAGES: &str = "/inspect/";
/// The one device that an account has, if nobody says which.
const DEVICE: u16 = 1;

/// See the module. Clones share what they stand on.
#[derive(Clone, Debug)]
pub(crate) struct Inspector {
    /// The owners, if this node may ask them.
    pub(crate) owners: Option<InspectClient>,
    /// Who owns what; none in a process that has every role.
    pub(crate) whereabouts: Option<Whereabouts>,
    pub(crate) placement: Placement,
    /// The name of this node.
    pub(crate) node: String,
    pub(crate) roles: Vec<String>,
    /// What owners call the connections of this process.
    pub(crate) edge: Option<EdgeId>,
}

impl Pages for Inspector {
    fn page(&self, path: &str, query: &str) -> Option<Answering> {
        let asked = path.strip_prefix(PAGES)?;
        let (inspector, question) = (self.clone(), read(asked, query));
        Some(Box::pin(async move { inspector.answer(question).await }))
    }
}

/// What a page asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Node,
    Owner(Question),
}

fn read(asked: &str, query: &str) -> Result<Asked, &'static str> {
    const ACCOUNT: &str = "an account is PARTNER-NUMBER, such as 7-1234";
    let account = |text: &str| text.parse::<AccountId>().map_err(|_| ACCOUNT);
    match asked.split_once('/') {
        None if asked == "node" => Ok(Asked::Node),
        None if asked == "stanza" => {
            let field = |name: &str| {
                let mut fields = form_urlencoded::parse(query.as_bytes());
                fields.find(|(key, _)| key == name).map(|(_, value)| value)
            };
            let needed = "a stanza is asked for with `from`, `to` and `id`";
            let id = field("id").ok_or(needed)?;
            if id.is_empty() || id.len() > MAX_STANZA_ID_BYTES {
                return Err("an id has 1 to 256 bytes");
            }
            let device = match field("device") {
                Some(device) => device
                    .parse()
                    .map_err(|_| "a device is a number up to 65535"),
                None => Ok(DEVICE),
            };
            Ok(Asked::Owner(Question::Stanza {
                from: account(&field("from").ok_or(needed)?)?,
                from_device: device?,
                to: account(&field("to").ok_or(needed)?)?,
                id: Bytes::copy_from_slice(id.as_bytes()),
            }))
        }
        Some(("device", id)) => Ok(Asked::Owner(Question::Device(account(id)?))),
        Some((about @ ("quarantine" | "shard"), number)) => {
            let number = number.parse().map_err(|_| "a shard is a number")?;
            let shard = ShardId::new(number);
            Ok(Asked::Owner(match about {
                "shard" => Question::Shard(shard),
                _ => Question::Quarantine(shard),
            }))
        }
        _ => Err("a node, a shard, a quarantine, a device or a stanza can be asked for"),
    }
}

impl Inspector {
    async fn answer(&self, asked: Result<Asked, &'static str>) -> Page {
        let question = match asked {
            Ok(Asked::Node) => return self.about_node(),
            Ok(Asked::Owner(question)) => question,
            Err(why) => return refusal(StatusCode::BAD_REQUEST, why),
        };
        let kind = question.kind();
        let page = self.ask(question).await;
        let status = page.status.as_u16();
        // Of whom is in no log line.
        tracing::info!(kind, status, "inspected at the admin port");
        page
    }

    fn about_node(&self) -> Page {
        let edge = self.edge.map(|edge| format!("{:016x}", edge.0));
        let about = json!({ "node": self.node, "roles": self.roles, "edge": edge });
        Page {
            status: StatusCode::OK,
            body: about.to_string(),
        }
    }

    async fn ask(&self, question: Question) -> Page {
        let shard = question.shard(&self.placement);
        let shards = self.placement.shards();
        if shard.index() >= shards {
            let why = format!("there are {shards} shards, numbered from 0");
            return refusal(StatusCode::NOT_FOUND, &why);
        }
        let Some(owners) = &self.owners else {
            return self.name_owner(shard, &question).await;
        };
        match owners.inspect(question).await {
            Ok(answer) => {
                let node = match &self.whereabouts {
                    Some(whereabouts) => whereabouts.guess(shard),
                    None => Some(self.node.as_str().into()),
                };
                with_node(node.as_deref(), &answer)
            }
            Err(fault) => {
                let status = match fault.kind() {
                    FaultKind::NotFound => StatusCode::NOT_FOUND,
                    FaultKind::Conflict | FaultKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                    FaultKind::Deadline => StatusCode::GATEWAY_TIMEOUT,
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                };
                refusal(status, &format!("shard {shard}: {fault}"))
            }
        }
    }

    /// What a node says that may not ask.
    async fn name_owner(&self, shard: ShardId, question: &Question) -> Page {
        let owner = match &self.whereabouts {
            Some(whereabouts) => whereabouts.owner_of(shard).await,
            None => None,
        };
        let Some(owner) = owner else {
            let why = format!("shard {shard}: no router says that it owns it");
            return refusal(StatusCode::SERVICE_UNAVAILABLE, &why);
        };
        if matches!(question, Question::Shard(_)) {
            let state = "owned there: ask a router for more";
            let about = json!({ "node": owner, "shard": shard.index(), "state": state });
            return Page {
                status: StatusCode::OK,
                body: about.to_string(),
            };
        }
        let why = format!("shard {shard} is owned by the router {owner}: only routers may ask it");
        refusal(StatusCode::MISDIRECTED_REQUEST, &why)
    }
}

/// The owner's answer, whatever its version says in it, with the node in front.
fn with_node(node: Option<&str>, answer: &str) -> Page {
    let rest = answer.strip_prefix('{');
    let rest = rest.filter(|_| serde_json::from_str::<IgnoredAny>(answer).is_ok());
    match rest {
        Some(rest) => Page {
            status: StatusCode::OK,
            body: format!("{{\"node\":{},{rest}", json!(node)),
        },
        None => refusal(StatusCode::BAD_GATEWAY, "the owner's answer is not JSON"),
    }
}

fn refusal(status: StatusCode, why: &str) -> Page {
    Page {
        status,
        body: format!("{why}\n"),
    }
}

#[cfg(test)]
mod tests {
    use entente_core::PartnerId;

    use super::*;

    #[test]
    fn what_is_asked_for_is_read_strictly() {
        let account = |number| AccountId::new(PartnerId::new(7).unwrap(), number);
        let good = [
            ("node", "", Asked::Node),
            (
                "shard/5",
                "",
                Asked::Owner(Question::Shard(ShardId::new(5))),
            ),
            (
                "quarantine/5",
                "",
                Asked::Owner(Question::Quarantine(ShardId::new(5))),
            ),
            (
                "device/7-12",
                "",
                Asked::Owner(Question::Device(account(12))),
            ),
            (
                "stanza",
                "from=7-1&to=7-2&id=a%26b%20%C3%A4",
                Asked::Owner(Question::Stanza {
                    from: account(1),
                    from_device: DEVICE,
                    to: account(2),
                    id: Bytes::from_static("a&b ä".as_bytes()),
                }),
            ),
        ];
        for (asked, query, wanted) in good {
            assert_eq!(read(asked, query), Ok(wanted), "{asked}");
        }
        let long = format!("from=7-1&to=7-2&id={}", "x".repeat(257));
        let bad = [
            ("", ""),
            ("shard/", ""),
            ("shard/-1", ""),
            ("shard/5/6", ""),
            ("device/anna@example", ""),
            ("device/7-012", ""),
            ("stanza", "from=7-1&to=7-2"),
            ("stanza", "from=7-1&to=7-2&id="),
            ("stanza", "from=7-1&device=x&to=7-2&id=a"),
            ("stanza", &long),
            ("other", ""),
        ];
        for (asked, query) in bad {
            assert!(read(asked, query).is_err(), "{asked}?{query}");
        }
    }

    #[test]
    fn an_answer_of_another_version_is_shown_and_garbage_is_not() {
        let page = with_node(Some("r\"1"), r#"{"new":[1,{"a":null}]}"#);
        assert_eq!(page.body, r#"{"node":"r\"1","new":[1,{"a":null}]}"#);
        for garbage in ["", "[]", "{", "{}}", "no"] {
            let page = with_node(Some("r1"), garbage);
            assert_eq!(page.status, StatusCode::BAD_GATEWAY, "{garbage}");
        }
    }
}
