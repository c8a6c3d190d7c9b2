//! Nodes with certificate files of their own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use entente_mesh::{
    Access, Authority, CredentialFiles, Credentials, CredentialsError, Events, Fixed, Issued, Life,
    Mesh, Node, NodeName, Reach, Role, Served, Target, reach,
};
use entente_node::{AcceptMetrics, Drain, Metrics, Readiness, Tasks};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Server};

pub(crate) const DEPLOYMENT: &str = "mesh.example";
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn authority() -> Authority {
    Authority::new(Life::until(DAY)).unwrap()
}

pub(crate) fn name(role: Role, node: &str) -> NodeName {
    NodeName::new(DEPLOYMENT, role, node).unwrap()
}

pub(crate) fn issue(authority: &Authority, role: Role, node: &str) -> Issued {
    authority
        .issue(&[name(role, node)], Life::until(DAY))
        .unwrap()
}

/// A process that is a node of a mesh.
pub(crate) struct Bench {
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    pub(crate) tasks: Tasks,
    own: NodeName,
    events: Events,
    folder: TempDir,
}

impl Bench {
    /// A node that trusts an authority and shows a certificate.
    pub(crate) fn new(trusted: &Authority, own: NodeName, shown: &Issued) -> Self {
        let drain = Drain::new();
        let metrics = Metrics::new();
        let bench = Self {
            events: Events::new(&metrics).unwrap(),
            metrics,
            readiness: Readiness::new(drain.clone()),
            tasks: Tasks::new(drain),
            own,
            folder: tempfile::tempdir().unwrap(),
        };
        bench.put(trusted, shown);
        bench
    }

    /// A node as it should be.
    pub(crate) fn good(authority: &Authority, role: Role, node: &str) -> Self {
        Self::new(authority, name(role, node), &issue(authority, role, node))
    }

    /// Writes its files, as a renewal does: each is there whole or not at all.
    pub(crate) fn put(&self, trusted: &Authority, shown: &Issued) {
        let files = [
            ("ca.crt", trusted.pem()),
            ("node.key", shown.key.clone()),
            ("node.crt", shown.certificate.clone()),
        ];
        for (name, text) in files {
            let (draft, file) = (self.path("draft"), self.path(name));
            std::fs::write(&draft, text).unwrap();
            std::fs::rename(draft, file).unwrap();
        }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn credentials(&self) -> Result<Credentials, CredentialsError> {
        let folder: &Path = self.folder.path();
        let files = CredentialFiles {
            authority: folder.join("ca.crt"),
            certificate: folder.join("node.crt"),
            key: folder.join("node.key"),
            poll: Duration::from_millis(100),
        };
        Credentials::load(files, vec![self.own.clone()])
    }

    /// The mesh as it is for this node, with others at these addresses.
    pub(crate) fn mesh(&self, others: &[(Role, &str, SocketAddr)]) -> Mesh {
        let nodes = others.iter().map(|(role, name, address)| Node {
            role: *role,
            name: Some((*name).into()),
            address: (*address).into(),
        });
        let credentials = Arc::new(self.credentials().unwrap());
        let members = Arc::new(Fixed::new(nodes.collect()));
        let mesh = Mesh::new(credentials, members, self.events.clone());
        mesh.follow(&self.tasks);
        mesh
    }

    /// Answers on loopback; the edge stream is for connection nodes.
    pub(crate) async fn serve(&self) -> SocketAddr {
        self.serve_on(([127, 0, 0, 1], 0).into()).await
    }

    /// Answers at an address.
    pub(crate) async fn serve_at(self, address: SocketAddr) -> Self {
        self.serve_on(address).await;
        self
    }

    /// Ends it in order.
    pub(crate) async fn finish(self) {
        self.tasks.finish(PATIENCE).await.expect("every task ends");
    }

    async fn serve_on(&self, address: SocketAddr) -> SocketAddr {
        let mesh = self.mesh(&[]);
        let listener = Mesh::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Served {
            routes: Routes::default(),
            access: Access::new().allow("entente.v1.Router", &[Role::Connection]),
            server: Server::builder(),
            readiness: self.readiness.clone(),
            accepts: AcceptMetrics::new(&self.metrics).unwrap(),
        };
        mesh.serve(listener, served, &self.tasks);
        address
    }

    /// How a router at an address is found by this node.
    pub(crate) async fn finds(&self, node: &str, address: SocketAddr) -> Reach {
        reach(self.channel(node, address)).await
    }

    pub(crate) fn channel(&self, node: &str, address: SocketAddr) -> Channel {
        let target = Target {
            role: Role::Router,
            node: Some(node.into()),
        };
        self.mesh(&[(Role::Router, node, address)])
            .channel(target, &endpoint())
    }

    /// Waits until a note is shown.
    pub(crate) async fn until_noted(&self, note: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.readiness.notes() != [note] {
            assert!(Instant::now() < deadline, "{:?}", self.readiness.notes());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a series has a value.
    pub(crate) async fn until(&self, series: &str, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        let wanted = format!("{series} {wanted}");
        loop {
            let text = self.metrics.encode().unwrap();
            if text.lines().any(|line| line == wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "{wanted} in {text}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) fn endpoint() -> Endpoint {
    Endpoint::from_static("http://mesh.invalid").connect_timeout(PATIENCE)
}

/// Waits until a peer is found ready.
pub(crate) async fn until_ready(channel: &Channel) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = reach(channel.clone()).await;
        if found == Reach::Ready {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// What a peer that is not reached is said to be.
pub(crate) fn why(found: Reach) -> String {
    match found {
        Reach::Unreachable(why) => why,
        found => panic!("reached: {found:?}"),
    }
}
