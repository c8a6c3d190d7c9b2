//! What a run stands on: the server (started here, or one that runs), and the accounts that load it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use entente_engine::account::{Account, Secret};
use entente_engine::scenario::{Kind, Pattern, Push, Scenario, Target, Transport};
use entente_kit::http::HttpTarget;
use entente_kit::partner::{Algorithm, PushCounts, PushMode};
use entente_kit::trust::Trust;
use entente_probe::{Page, Role, Watch};

use crate::node::{DOMAIN, Host, Node, NodeConfig, page};
use crate::users::{User, enlist};

/// How often the gateway is started when its ports are taken by others meanwhile.
const START_TRIES: u32 = 3;

/// See the module.
#[derive(Debug)]
pub struct Ground {
    /// The gateway, if it was started here.
    pub node: Option<Node>,
    /// The built-in partners.
    hosts: Vec<Host>,
    /// Who logs in.
    pub accounts: Vec<Account>,
    /// What the server calls itself.
    pub version: Option<String>,
}

impl Ground {
    /// Starts what is to be started, enlists who is to be enlisted, and writes into the scenario
    /// where it all is. A gateway that is started here has the environment beside that of this process.
    /// `say` is told of each step.
    ///
    /// # Errors
    /// With the step that failed.
    pub async fn lay(
        scenario: &mut Scenario,
        environment: Vec<(OsString, OsString)>,
        say: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Self> {
        let mut ground = match scenario.target.kind {
            Kind::Start => Box::pin(Self::start(scenario, environment, say)).await?,
            Kind::Entente => Box::pin(Self::join(scenario, say)).await?,
            Kind::Xmpp => Self {
                node: None,
                hosts: Vec::new(),
                accounts: named(scenario),
                version: None,
            },
        };
        for host in ground.hosts() {
            host.partner.push().set_mode(mode(&scenario.target));
        }
        let idle = scenario.load.pattern == Pattern::None
            && scenario.logins.is_none()
            && scenario.prekeys.is_none();
        if let (true, Some(node)) = (idle, &mut ground.node) {
            say("starting the gateway anew, so that what enlisting took does not count");
            node.restart().await.context("starting the gateway anew")?;
        }
        Ok(ground)
    }

    async fn start(
        scenario: &mut Scenario,
        environment: Vec<(OsString, OsString)>,
        say: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Self> {
        let target = &scenario.target;
        let program = program(target)?;
        say(&format!(
            "starting {} on core {}",
            program.display(),
            target.core
        ));
        let config = NodeConfig {
            program: program.clone(),
            core: target.core,
            folder: target.folder.clone().unwrap_or_else(std::env::temp_dir),
            fsync: target.fsync.clone(),
            log: target.log.clone(),
            extra: target.config.clone(),
            algorithm: Algorithm::EdDsa,
            partners: scenario.sessions.partners,
            first: target.partner_number,
            others: String::new(),
            environment,
            wrong_certificate: target.push == Push::WrongCertificate,
        };
        let mut started = Node::start(&config).await;
        // Ports are found free and then taken: others may be faster.
        for _ in 1..START_TRIES {
            match &started {
                Err(error) if format!("{error:#}").contains("Address already in use") => {
                    started = Node::start(&config).await;
                }
                _ => break,
            }
        }
        let node = started.context("starting the gateway")?;
        let (xmpp, websocket) = node.doors();
        scenario.target.address = Some(match target.transport {
            Transport::Websocket => websocket,
            _ => xmpp,
        });
        scenario.target.domain = DOMAIN.to_owned();
        for host in node.partners() {
            host.trust(node.enlistment()?, DOMAIN).await?;
        }
        let users = scenario.sessions.users;
        say(&format!("enlisting {users} users"));
        let users = enlist(node.enlistment()?, node.partners(), "load", users).await;
        let users = users.context("enlisting users")?;
        Ok(Self {
            accounts: enlisted(&users, node.partners()),
            version: version(&program).await,
            hosts: Vec::new(),
            node: Some(node),
        })
    }

    async fn join(scenario: &Scenario, say: &mut dyn FnMut(&str)) -> anyhow::Result<Self> {
        let target = &scenario.target;
        let (Some(door), Some(first)) = (target.enlist, target.partner) else {
            bail!("target.enlist and target.partner are needed");
        };
        let mut hosts = Vec::new();
        for offset in 0..scenario.sessions.partners {
            let port = first
                .port()
                .checked_add(offset)
                .context("target.partner: ports end at 65535")?;
            let number = target.partner_number + offset;
            let wrong = target.push == Push::WrongCertificate;
            let at = SocketAddr::new(first.ip(), port);
            hosts.push(Host::start(number, Algorithm::EdDsa, Some(at), wrong).await?);
        }
        let records: String = hosts.iter().map(Host::record).collect();
        say(&format!(
            "the gateway's partner records must be:\n{records}"
        ));
        let door = HttpTarget::tls(door, &target.domain, &Trust::Anyone)?;
        for host in &hosts {
            host.trust(door.clone(), &target.domain).await?;
        }
        let prefix = format!("load-{}", scenario.run.part);
        let users = enlist(door, &hosts, &prefix, scenario.sessions.users).await;
        let users = users.context("enlisting users (does the gateway know the partner?)")?;
        Ok(Self {
            node: None,
            accounts: enlisted(&users, &hosts),
            hosts,
            version: None,
        })
    }

    fn hosts(&self) -> &[Host] {
        self.node.as_ref().map_or(&self.hosts, Node::partners)
    }

    /// Wake-ups that the built-in partners took, in all.
    pub fn pushes(&self) -> Option<PushCounts> {
        let mut sum = PushCounts::default();
        for host in self.hosts() {
            let counts = *host.partner.push().counts().borrow();
            sum.verified += counts.verified;
            sum.refused += counts.refused;
            sum.failed += counts.failed;
        }
        (!self.hosts().is_empty()).then_some(sum)
    }

    /// What a probe watches: the server, and this process.
    ///
    /// # Errors
    /// If the gateway is gone.
    pub fn watch(&self, target: &Target) -> anyhow::Result<(Vec<Watch>, Vec<Page>)> {
        let watch = |name: &str, role, pid| Watch {
            name: name.to_owned(),
            role,
            pid,
            children: role == Role::Server,
        };
        let mut watched = vec![watch("generator", Role::Generator, std::process::id())];
        let mut pages = Vec::new();
        if let Some(node) = &self.node {
            watched.push(watch("entente", Role::Server, node.pid()?));
            pages.push(node.page());
        } else {
            watched.extend(target.process.map(|pid| watch("server", Role::Server, pid)));
            pages.extend(target.metrics.map(page));
        }
        Ok((watched, pages))
    }
}

/// Enlisted users as accounts that log in.
pub fn enlisted(users: &[User], hosts: &[Host]) -> Vec<Account> {
    let account = |user: &User| {
        let host = hosts.get(user.partner)?;
        Some(Account {
            localpart: Arc::clone(&user.localpart),
            partner: host.number.number(),
            secret: Secret::Token(Arc::clone(&host.partner), Arc::clone(&user.visible)),
        })
    };
    users.iter().filter_map(account).collect()
}

fn named(scenario: &Scenario) -> Vec<Account> {
    let pattern = &scenario.target.accounts;
    let users = u64::try_from(scenario.sessions.users).unwrap_or(u64::MAX);
    (pattern.first..pattern.first.saturating_add(users))
        .map(|n| {
            let fill = |text: &str| text.replace("{n}", &n.to_string());
            Account {
                localpart: fill(&pattern.user).into(),
                partner: 0,
                secret: Secret::Password(fill(&pattern.password).into()),
            }
        })
        .collect()
}

fn mode(target: &Target) -> PushMode {
    match target.push {
        Push::Hang => PushMode::Hang,
        Push::Ok | Push::WrongCertificate => PushMode::Ok,
        Push::Refuse => PushMode::Refuse(target.push_status),
        Push::Slow => PushMode::Slow(target.push_delay),
    }
}

/// The program `entente`: as named, beside this one, or on the PATH.
fn program(target: &Target) -> anyhow::Result<PathBuf> {
    if let Some(path) = &target.program {
        if !path.exists() {
            bail!("target.program: {} is not there", path.display());
        }
        return Ok(path.clone());
    }
    let beside = std::env::current_exe()?.with_file_name("entente");
    Ok(if beside.exists() {
        beside
    } else {
        "entente".into()
    })
}

async fn version(program: &PathBuf) -> Option<String> {
    let output = tokio::process::Command::new(program)
        .arg("--version")
        .output()
        .await
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().nth(1).map(str::to_owned)
}
