//! Handles on scripted services, near or far, with a cable between them that can be cut.

use std::sync::Arc;
use std::time::Duration;

use entente_core::{AccountId, PartnerId, SealKey};
use entente_node::{Drain, Tasks};
use entente_proto::wire::{self, Served};
use entente_proto::{Directory, DirectoryClient, Identity, IdentityClient, Router, RouterClient};
use futures::StreamExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint};

/// For what must happen soon; never waited for in full when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Which way a handle goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Local,
    Wire,
}

pub(crate) const WAYS: [Way; 2] = [Way::Local, Way::Wire];

/// A server with a cable to it.
pub(crate) struct Bench {
    pub(crate) channel: Channel,
    pub(crate) server: Tasks,
    pub(crate) client: Tasks,
    cable: Cable,
}

impl Bench {
    pub(crate) async fn serving(served: impl FnOnce(Served) -> Served) -> Self {
        let server = Tasks::new(Drain::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = TcpListenerStream::new(listener)
            .inspect(|accepted| accepted.as_ref().unwrap().set_nodelay(true).unwrap());
        let routes = served(Served::new(server.clone())).routes();
        server.spawn(
            "server",
            wire::server()
                .add_routes(routes)
                .serve_with_incoming(incoming),
        );
        let cable = Cable::to(address).await;
        let endpoint = Endpoint::from_shared(format!("http://{}", cable.address)).unwrap();
        Self {
            channel: wire::endpoint(endpoint).connect_lazy(),
            server,
            client: Tasks::new(Drain::new()),
            cable,
        }
    }

    /// Ends every connection, as when a machine is gone. New ones can be made.
    pub(crate) fn cut(&self) {
        self.cable.cut.send_replace(());
    }
}

/// Connections that pass through here can be cut.
struct Cable {
    address: std::net::SocketAddr,
    cut: tokio::sync::watch::Sender<()>,
    _carrying: JoinSet<()>,
}

impl Cable {
    async fn to(server: std::net::SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, cuts) = tokio::sync::watch::channel(());
        let mut carrying = JoinSet::new();
        carrying.spawn(async move {
            let mut pairs = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                near.set_nodelay(true).unwrap();
                let mut cuts = cuts.clone();
                pairs.spawn(async move {
                    cuts.mark_unchanged();
                    let Ok(mut far) = TcpStream::connect(server).await else {
                        return;
                    };
                    far.set_nodelay(true).unwrap();
                    tokio::select! {
                        _ = cuts.changed() => {}
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    }
                });
            }
        });
        Self {
            address,
            cut,
            _carrying: carrying,
        }
    }
}

pub(crate) fn seal() -> SealKey {
    SealKey::new(&[7; 32])
}

/// A handle on the router and, for the wire, what carries it.
pub(crate) async fn router(way: Way, service: Arc<dyn Router>) -> (RouterClient, Option<Bench>) {
    let local = RouterClient::local(service);
    if way == Way::Local {
        return (local, None);
    }
    let bench = Bench::serving(|served| served.router(local, seal())).await;
    let remote = RouterClient::remote(bench.channel.clone(), seal(), bench.client.clone());
    (remote, Some(bench))
}

pub(crate) async fn directory(
    way: Way,
    service: Arc<dyn Directory>,
) -> (DirectoryClient, Option<Bench>) {
    let local = DirectoryClient::local(service);
    if way == Way::Local {
        return (local, None);
    }
    let bench = Bench::serving(|served| served.directory(local)).await;
    (DirectoryClient::remote(bench.channel.clone()), Some(bench))
}

pub(crate) async fn identity(
    way: Way,
    service: Arc<dyn Identity>,
) -> (IdentityClient, Option<Bench>) {
    let local = IdentityClient::local(service);
    if way == Way::Local {
        return (local, None);
    }
    let bench = Bench::serving(|served| served.identity(local)).await;
    let remote = IdentityClient::remote(bench.channel.clone(), &bench.client);
    (remote, Some(bench))
}

pub(crate) fn account(partner: u16, number: u64) -> AccountId {
    AccountId::new(PartnerId::new(partner).unwrap(), number)
}

/// The outcome of a future that must come soon.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it happens in time")
}
