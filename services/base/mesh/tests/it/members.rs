//! Roles with several nodes, and the watch over them.

use entente_mesh::{Mesh, Role, Target};

use crate::bench::{Bench, authority, endpoint, until_ready};

#[tokio::test]
async fn a_role_is_reached_through_whichever_of_its_nodes_lives() {
    let authority = authority();
    let dead = Mesh::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let nobody = dead.local_addr().unwrap();
    drop(dead);
    let lives = Bench::good(&authority, Role::Router, "r2");
    let address = lives.serve().await;
    let edge = Bench::good(&authority, Role::Connection, "c1");
    let mesh = edge.mesh(&[(Role::Router, "r1", nobody), (Role::Router, "r2", address)]);
    let any = Target {
        role: Role::Router,
        node: None,
    };
    for _ in 0..4 {
        until_ready(&mesh.channel(any.clone(), &endpoint())).await;
    }
}

#[tokio::test]
async fn the_watch_waits_for_each_role_once_and_tells_who_is_gone() {
    let authority = authority();
    let router = Bench::good(&authority, Role::Router, "r1");
    let first = router.serve().await;
    let second = Mesh::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let other = second.local_addr().unwrap();
    drop(second);
    let edge = Bench::good(&authority, Role::Connection, "c1");
    let mesh = edge.mesh(&[
        (Role::Router, "r1", first),
        (Role::Identity, "i1", other),
        (Role::Connection, "c1", first),
    ]);
    let (reached, lost) = (
        edge.readiness.condition("peers"),
        edge.readiness.note("a node is away"),
    );
    let roles = vec![Role::Router, Role::Identity];
    mesh.watch(roles, endpoint(), (Some(reached), lost), &edge.tasks);
    let away = "entente_mesh_peers{role=\"identity\",state=\"unreachable\"}";
    edge.until(away, "1").await;
    assert!(!edge.readiness.is_ready());
    let identity = Bench::good(&authority, Role::Identity, "i1");
    let answering = identity.serve_at(other).await;
    edge.until(away, "0").await;
    edge.readiness.hold().await;
    // One that goes later is told, and takes no readiness away: others still have work.
    answering.finish().await;
    edge.until(away, "1").await;
    assert!(edge.readiness.is_ready());
    edge.until_noted("a node is away").await;
}
