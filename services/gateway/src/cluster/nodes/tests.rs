use entente_mesh::Role;
use parking_lot::Mutex;

use super::*;
use crate::cluster::settings::MeshConfig;

/// A router node with an opinion of its own.
#[derive(Debug)]
struct Node {
    owned: Vec<u32>,
    /// What it says that it owns.
    says: Vec<u32>,
    asked: Mutex<usize>,
    calls: Mutex<usize>,
}

impl Node {
    fn take(&self, shard: ShardId) -> Result<(), Fault> {
        *self.calls.lock() += 1;
        if self.owned.contains(&shard.index()) {
            Ok(())
        } else {
            Err(ELSEWHERE)
        }
    }
}

#[async_trait]
impl Intake for Node {
    async fn append(&self, _: Topic, partition: u32, _: Vec<Bytes>) -> Result<Taken, Fault> {
        self.take(ShardId::new(partition))?;
        Ok(Taken {
            first: Default::default(),
            last: Default::default(),
            at: entente_core::Timestamp::from_millis(1),
        })
    }

    async fn pass(&self, shard: ShardId, _: Vec<Ephemeral>) -> Result<(), Fault> {
        self.take(shard)
    }
}

#[async_trait]
impl Owners for Node {
    async fn owned(&self) -> Result<Vec<(ShardId, Epoch)>, Fault> {
        *self.asked.lock() += 1;
        // Whoever else asks now waits for this answer.
        tokio::task::yield_now().await;
        let owned = self.says.iter();
        let owned = owned.map(|shard| (ShardId::new(*shard), Epoch::new(1)));
        Ok(owned.collect())
    }
}

#[async_trait]
impl Inspect for Node {
    async fn inspect(&self, question: Question) -> Result<String, Fault> {
        self.take(question.shard(&placement()))?;
        Ok("{}".to_owned())
    }
}

#[async_trait]
impl Router for Node {
    async fn attach(&self, _: EdgeId, shard: ShardId) -> Result<EdgeStream, Fault> {
        self.take(shard)?;
        Err(Fault::new(FaultKind::Internal, "reached"))
    }
}

fn handles(node: &Arc<Node>) -> Handles {
    let nobody = Nodes::new(Arc::new(map("0-3", "4-7")), placement(), BTreeMap::new());
    Handles {
        router: RouterClient::local(Arc::<Node>::clone(node)),
        directory: DirectoryClient::local(Arc::new(nobody)),
        inspect: InspectClient::local(Arc::<Node>::clone(node)),
        intake: IntakeClient::local(Arc::<Node>::clone(node)),
        owners: OwnersClient::local(Arc::<Node>::clone(node)),
    }
}

fn placement() -> Placement {
    Placement::new(8, &[1; 16])
}

fn map(first: &str, second: &str) -> OwnerMap {
    let node = |name: &str, shards: &str| {
        let role = Role::Router;
        format!(
            "[[nodes]]\nrole = \"{role}\"\nname = \"{name}\"\naddress = \"a:1\"\nshards = \"{shards}\"\n"
        )
    };
    let text = node("r1", first) + &node("r2", second);
    let mesh: MeshConfig = toml::from_str(&text).unwrap();
    OwnerMap::new(&mesh, 8, false).unwrap()
}

/// Two nodes, of which a caller with the first map believes that each owns what the other does.
fn swapped(says: [std::ops::Range<u32>; 2]) -> (Nodes, [Arc<Node>; 2]) {
    let [first, second] = says;
    let node = |owned: std::ops::Range<u32>, says: std::ops::Range<u32>| {
        Arc::new(Node {
            owned: owned.collect(),
            says: says.collect(),
            asked: Mutex::default(),
            calls: Mutex::default(),
        })
    };
    let two = [node(4..8, first), node(0..4, second)];
    let far = BTreeMap::from([
        ("r1".into(), handles(&two[0])),
        ("r2".into(), handles(&two[1])),
    ]);
    let nodes = Nodes::new(Arc::new(map("0-3", "4-7")), placement(), far);
    (nodes, two)
}

#[tokio::test]
async fn a_wrong_guess_costs_one_redirect_and_is_remembered() {
    let (nodes, two) = swapped([4..8, 0..4]);
    for _ in 0..3 {
        nodes.append(Topic::Input, 0, Vec::new()).await.unwrap();
        nodes.pass(ShardId::new(5), Vec::new()).await.unwrap();
    }
    // One wrong guess at the first, and three right ones at each.
    let calls = two.each_ref().map(|node| *node.calls.lock());
    assert_eq!(calls, [4, 3]);
    assert_eq!(two.map(|node| *node.asked.lock()), [1, 1]);
    let reached = nodes.attach(EdgeId(1), ShardId::new(3)).await.unwrap_err();
    assert_eq!(reached.kind(), FaultKind::Internal);
}

/// Whoever is on call asks any router.
#[tokio::test]
async fn a_question_is_answered_by_the_owner() {
    let (nodes, two) = swapped([4..8, 0..4]);
    for shard in [0, 5] {
        let question = Question::Shard(ShardId::new(shard));
        assert_eq!(nodes.inspect(question).await.as_deref(), Ok("{}"));
    }
    assert_eq!(two.map(|node| *node.calls.lock()), [2, 1]);
    let named = nodes.owner_of(ShardId::new(0)).await;
    assert_eq!(named.as_deref(), Some("r2"));
    let beyond = nodes.inspect(Question::Shard(ShardId::new(8))).await;
    assert_eq!(beyond, Err(NO_OWNER));
}

#[tokio::test]
async fn nodes_that_say_what_is_not_so_are_a_fault_and_not_a_circle() {
    let (nodes, two) = swapped([0..4, 4..8]);
    let fault = nodes.append(Topic::Input, 0, Vec::new()).await;
    assert_eq!(fault, Err(NO_OWNER));
    assert_eq!(two.map(|node| *node.calls.lock()), [2, 0]);
    let (nodes, _) = swapped([0..0, 0..0]);
    let fault = nodes.pass(ShardId::new(0), Vec::new()).await;
    assert_eq!(
        fault,
        Err(NO_OWNER),
        "nobody says anything: the list is the guess again"
    );
    let fault = nodes.append(Topic::Input, 8, Vec::new()).await;
    assert_eq!(fault, Err(NO_OWNER), "no such shard");
}

#[tokio::test]
async fn many_who_look_for_owners_ask_once() {
    let (nodes, two) = swapped([4..8, 0..4]);
    let looks = (0..8).map(|shard| nodes.pass(ShardId::new(shard), Vec::new()));
    let found = join_all(looks).await;
    assert!(found.iter().all(Result::is_ok));
    assert_eq!(two.map(|node| *node.asked.lock()), [1, 1]);
}

#[tokio::test]
async fn what_is_at_home_is_not_called_over_the_network() {
    let (nodes, two) = swapped([4..8, 0..4]);
    let home = Arc::new(Node {
        owned: (0..4).collect(),
        says: (0..4).collect(),
        asked: Mutex::default(),
        calls: Mutex::default(),
    });
    nodes.at_home("r1", handles(&home));
    nodes.append(Topic::Input, 0, Vec::new()).await.unwrap();
    assert_eq!(*home.calls.lock(), 1);
    assert_eq!(two.map(|node| *node.calls.lock()), [0, 0]);
}
