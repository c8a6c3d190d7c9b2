//! Records that are not of this deployment, broken or of a later version; and another deployment on the
//! same topics.

use entente_core::SealKey;
use entente_kafka::{
    Finding, KafkaLog, Misrouted, OpenError, Routing, Settings, TopicRules, claim, survey,
};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::broker::{brokers, key, missing, open, rules, settings, soon};
use crate::or_skip;
use crate::places::{all, append, intrude_into, texts};

const THEIRS: [u8; 32] = [8; 32];

/// The name that the brokers' cluster gave itself.
async fn cluster() -> String {
    let ask = || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers().unwrap())
            .create()
            .unwrap();
        let client = consumer.client();
        client.fetch_cluster_id(std::time::Duration::from_secs(30))
    };
    let asked = tokio::task::spawn_blocking(ask);
    soon(asked).await.unwrap().unwrap()
}

async fn open_with(settings: &Settings, rules: &TopicRules, key: SealKey) -> KafkaLog {
    soon(KafkaLog::open(settings, rules, key)).await.unwrap()
}

/// T142, T152: each kind of record that does not belong, between records that do, in the input and in
/// the rows: it is counted by its kind, and not handed out.
#[tokio::test]
async fn every_kind_of_strange_record_is_passed_and_counted() {
    or_skip!(missing());
    let (settings, cluster) = (settings(), cluster().await);
    for suffix in ["input", "state"] {
        let rules = TopicRules::of_log(&settings, suffix, 3);
        let log = open_with(&settings, &rules, key()).await;
        let sealed = |cluster: &str, topic: &str, partition, payload: &[u8]| {
            Routing::new(key(), cluster, topic).header(partition, payload)
        };
        let good = sealed(&cluster, &rules.name, 0, b"strange");
        let mut later = good.clone();
        later[0] += 1;
        let mut broken = good.clone();
        *broken.last_mut().unwrap() ^= 1;
        let strange = [
            Some(broken),
            Some(sealed(&cluster, &rules.name, 0, b"another payload")),
            None,
            Some(good[..9].to_vec()),
            Some(sealed("mirrored", &rules.name, 0, b"strange")),
            Some(sealed(&cluster, &rules.name, 1, b"strange")),
            Some(sealed(&cluster, "other.topic", 0, b"strange")),
            Some(later),
        ];
        for (n, header) in strange.iter().enumerate() {
            append(&log, 0, &n.to_string()).await;
            intrude_into(&rules.name, 0, header.as_deref(), "strange");
        }
        append(&log, 0, "last").await;
        let ours = all(&log, 0).await;
        assert_eq!(
            texts(&ours),
            ["0", "1", "2", "3", "4", "5", "6", "7", "last"]
        );
        let counted = [
            (Misrouted::BadSeal, 2),
            (Misrouted::NoHeader, 2),
            (Misrouted::OtherOrigin, 1),
            (Misrouted::OtherPartition, 1),
            (Misrouted::OtherTopic, 1),
            (Misrouted::UnknownVersion, 1),
        ];
        assert_eq!(log.counts().misrouted, counted);
        // With the whole seal right, it is ours: what refuses the others is the seal.
        intrude_into(&rules.name, 0, Some(&good), "strange");
        drop(log);
        let log = open_with(&settings, &rules, key()).await;
        assert_eq!(texts(&all(&log, 0).await).last(), Some(&"strange"));
    }
}

/// T142: two deployments that nobody kept from the same topics read each its own.
#[tokio::test]
async fn two_deployments_pass_over_each_other() {
    or_skip!(missing());
    let settings = settings();
    let rules = rules(&settings);
    let ours = open(&settings).await;
    let theirs = open_with(&settings, &rules, SealKey::new(&THEIRS)).await;
    for n in 0..50 {
        append(&ours, 0, &format!("ours {n}")).await;
        append(&theirs, 0, &format!("theirs {n}")).await;
    }
    for (log, name) in [(&ours, "ours"), (&theirs, "theirs")] {
        let wanted: Vec<_> = (0..50).map(|n| format!("{name} {n}")).collect();
        assert_eq!(texts(&all(log, 0).await), wanted);
        let others = &log.counts().misrouted;
        assert!(
            matches!(others[..], [(Misrouted::OtherOrigin, 49..=50)]),
            "{others:?}"
        );
    }
}

/// T142: what the records cannot show is refused before: floors and groups have no seal.
#[tokio::test]
async fn the_second_deployment_under_a_prefix_does_not_start() {
    or_skip!(missing());
    let settings = settings();
    for _ in 0..2 {
        soon(claim(&settings, &key())).await.unwrap();
    }
    let theirs = soon(claim(&settings, &SealKey::new(&THEIRS))).await;
    let refused = theirs.unwrap_err();
    assert!(matches!(refused, OpenError::Taken { .. }), "{refused}");
    for (key, taken) in [(key(), false), (SealKey::new(&THEIRS), true)] {
        let found = soon(survey(&settings, &[], &key)).await.unwrap();
        let told = matches!(found[..], [Finding::Taken { .. }]);
        assert_eq!((told, found.len()), (taken, usize::from(taken)));
    }
    // It left nothing behind that would keep the first from its next start.
    soon(claim(&settings, &key())).await.unwrap();
    let longer = Settings {
        prefix: format!("{}-2", settings.prefix),
        ..settings
    };
    soon(claim(&longer, &SealKey::new(&THEIRS))).await.unwrap();
}
