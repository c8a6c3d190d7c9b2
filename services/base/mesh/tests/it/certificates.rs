//! Certificates: the right ones, the wrong ones, and new ones.

use std::time::Duration;

use entente_mesh::{CredentialsError, Life, NodeName, Reach, Role};
use time::OffsetDateTime;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_prost::ProstCodec;

use crate::bench::{Bench, authority, issue, name, until_ready, why};

/// Calls a method that no test server has: `UNIMPLEMENTED` means that the call was let through.
async fn call(caller: &Bench, address: std::net::SocketAddr, path: &'static str) -> Status {
    let mut client = tonic::client::Grpc::new(caller.channel("r1", address));
    client.ready().await.unwrap();
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let path = PathAndQuery::from_static(path);
    let request = Request::new(HealthCheckRequest::default());
    client.unary(request, path, codec).await.unwrap_err()
}

#[tokio::test]
async fn nodes_of_one_authority_reach_each_other_and_see_readiness() {
    let authority = authority();
    let router = Bench::good(&authority, Role::Router, "r1");
    let condition = router.readiness.condition("shards");
    let address = router.serve().await;
    let edge = Bench::good(&authority, Role::Connection, "c1");
    assert_eq!(edge.finds("r1", address).await, Reach::NotReady);
    condition.set(true);
    until_ready(&edge.channel("r1", address)).await;
}

#[tokio::test]
async fn another_authority_is_refused_at_both_ends() {
    let (ours, theirs) = (authority(), authority());
    let router = Bench::good(&ours, Role::Router, "r1");
    let address = router.serve().await;
    let stranger = Bench::good(&theirs, Role::Connection, "c1");
    let said = why(stranger.finds("r1", address).await);
    assert!(said.contains("UnknownIssuer"), "{said}");
    // One that would talk to us is not heard either.
    let shown = issue(&theirs, Role::Connection, "c1");
    let stranger = Bench::new(&ours, name(Role::Connection, "c1"), &shown);
    why(stranger.finds("r1", address).await);
    let refused = "entente_mesh_refused_total{reason=\"handshake\"}";
    router.until(refused, "2").await;
}

#[tokio::test]
async fn a_role_calls_what_it_may_and_nothing_else() {
    let authority = authority();
    let router = Bench::good(&authority, Role::Router, "r1");
    let address = router.serve().await;
    let edge = Bench::good(&authority, Role::Connection, "c1");
    let attach = "/entente.v1.Router/Attach";
    assert_eq!(
        call(&edge, address, attach).await.code(),
        Code::Unimplemented
    );
    let push = Bench::good(&authority, Role::Push, "p1");
    let refused = call(&push, address, attach).await;
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(refused.message(), "push/p1 may not call entente.v1.Router");
    let unlisted = call(&edge, address, "/entente.v1.Intake/Append").await;
    assert_eq!(unlisted.code(), Code::PermissionDenied);
    let counted = "entente_mesh_refused_total{reason=\"call\"}";
    router.until(counted, "2").await;
}

#[tokio::test]
async fn another_node_than_the_one_that_was_called_is_refused() {
    let authority = authority();
    let edge = Bench::good(&authority, Role::Connection, "c1");
    let push = Bench::good(&authority, Role::Push, "p1").serve_kept().await;
    let said = why(edge.finds("r1", push.1).await);
    let wanted = "the certificate names push/p1, where router/r1 was to answer";
    assert!(said.contains(wanted), "{said}");
    let other = Bench::good(&authority, Role::Router, "r2")
        .serve_kept()
        .await;
    let said = why(edge.finds("r1", other.1).await);
    assert!(said.contains("names router/r2"), "{said}");
}

#[tokio::test]
async fn another_deployment_of_the_same_authority_is_refused() {
    let authority = authority();
    let day = Life::until(Duration::from_secs(24 * 3600));
    let elsewhere = NodeName::new("other.example", Role::Router, "r1").unwrap();
    let shown = authority
        .issue(std::slice::from_ref(&elsewhere), day)
        .unwrap();
    let router = Bench::new(&authority, elsewhere, &shown).serve_kept().await;
    let edge = Bench::good(&authority, Role::Connection, "c1");
    let said = why(edge.finds("r1", router.1).await);
    let wanted = "of the deployment other.example, and this one is mesh.example";
    assert!(said.contains(wanted), "{said}");
}

#[tokio::test]
async fn what_is_over_is_refused() {
    let authority = authority();
    let now = OffsetDateTime::now_utc();
    let over = Life {
        from: now - time::Duration::days(2),
        until: now - time::Duration::days(1),
    };
    let own = name(Role::Router, "r1");
    let shown = authority.issue(std::slice::from_ref(&own), over).unwrap();
    let router = Bench::new(&authority, own, &shown).serve_kept().await;
    let edge = Bench::good(&authority, Role::Connection, "c1");
    let said = why(edge.finds("r1", router.1).await);
    assert!(said.contains("expired"), "{said}");
}

#[test]
fn a_node_does_not_start_under_a_name_that_its_certificate_lacks() {
    let authority = authority();
    let shown = issue(&authority, Role::Push, "p1");
    let bench = Bench::new(&authority, name(Role::Router, "r1"), &shown);
    let error = bench.credentials().unwrap_err();
    assert!(
        matches!(error, CredentialsError::NotNamed { .. }),
        "{error}"
    );
    let nameless = authority.issue(&[], Life::until(Duration::from_secs(60)));
    bench.put(&authority, &nameless.unwrap());
    let error = bench.credentials().unwrap_err().to_string();
    assert!(error.contains("names no node"), "{error}");
    std::fs::write(bench.path("ca.crt"), "").unwrap();
    let error = bench.credentials().unwrap_err();
    assert!(matches!(error, CredentialsError::NoAuthority(_)), "{error}");
}

#[tokio::test]
async fn new_files_are_taken_without_a_restart_and_bad_ones_are_not() {
    let (old, new) = (authority(), authority());
    let router = Bench::good(&old, Role::Router, "r1");
    let address = router.serve().await;
    let edge = Bench::good(&old, Role::Connection, "c1");
    let before = edge.channel("r1", address);
    until_ready(&before).await;
    // What cannot be used is told and changes nothing.
    std::fs::write(router.path("node.key"), "no key").unwrap();
    router
        .until("entente_mesh_credentials_total{outcome=\"kept\"}", "1")
        .await;
    until_ready(&edge.channel("r1", address)).await;
    router.put(&new, &issue(&new, Role::Router, "r1"));
    let renewed = Bench::good(&new, Role::Connection, "c1");
    until_ready(&renewed.channel("r1", address)).await;
    // Connections go on; a new one proves itself anew.
    until_ready(&before).await;
    let said = why(edge.finds("r1", address).await);
    assert!(said.contains("UnknownIssuer"), "{said}");
}

impl Bench {
    /// Serves, and stays for as long as what is returned.
    async fn serve_kept(self) -> (Self, std::net::SocketAddr) {
        let address = self.serve().await;
        (self, address)
    }
}
