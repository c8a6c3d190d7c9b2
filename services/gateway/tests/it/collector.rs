//! A collector of traces that keeps what it gets.

use std::net::SocketAddr;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::stand::{LOOK, PATIENCE};

/// See the module. It ends when it is dropped.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    kept: Kept,
    _serving: JoinSet<()>,
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Kept::default();
        let service = TraceServiceServer::new(kept.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let served = Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpIncoming::from(listener));
            served.await.unwrap();
        });
        Self {
            address,
            kept,
            _serving: serving,
        }
    }

    /// The section that makes a gateway trace one message of so many to here.
    pub(crate) fn section(&self, one_in: u32) -> String {
        let address = self.address;
        format!(
            "[telemetry]\nendpoint = \"http://{address}\"\none_in = {one_in}\nevery = \"50ms\"\n"
        )
    }

    /// All that came, in order.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let kept = self.kept.0.lock();
        let scopes = kept
            .iter()
            .flat_map(|request| &request.resource_spans)
            .flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// All that came, with all that was said around it.
    pub(crate) fn shown(&self) -> String {
        format!("{:#?}", self.kept.0.lock())
    }

    /// Waits until so many spans came.
    pub(crate) async fn until(&self, count: usize) -> Vec<Span> {
        let there = async {
            loop {
                let spans = self.spans();
                if spans.len() >= count {
                    return spans;
                }
                sleep(LOOK).await;
            }
        };
        timeout(PATIENCE, there).await.expect("the spans come")
    }
}
