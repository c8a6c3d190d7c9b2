//! Whose the topics under a prefix are.
//!
//! In: a prefix and the key of a deployment. Out: nothing, or the mark of another deployment.
//!
//! Two deployments on the same topics pass over each other's records, so neither sees the harm that
//! each does: a floor that one raises deletes what the other has acknowledged, and a group whose
//! members are of both leaves each with a part of its shards. So a deployment puts a mark beside its
//! topics before it uses them: an empty topic with its name in it.
//!
//! **Invariants**
//! - Of two deployments under one prefix, the one that comes second does not start. Two that come first
//!   in the same moment both do not; a person removes the mark that is wrong.
//! - What others write into topics is no mark, so nobody who may only produce keeps a node from starting.

use entente_core::SealKey;

use crate::admin::Admin;
use crate::error::OpenError;
use crate::log::asking;
use crate::routing::Routing;
use crate::settings::Settings;
use crate::survey;
use crate::topic::TopicRules;

/// What stands between the prefix and the name of the deployment.
const MARK: &str = "deployment-";

/// Marks the topics under a prefix as those of the deployment that has this key.
///
/// # Errors
/// [`OpenError::Taken`] if another deployment has marked them; and what any request may meet.
pub async fn claim(settings: &Settings, key: &SealKey) -> Result<(), OpenError> {
    let admin = asking(settings)?;
    let Some(cluster) = admin.cluster().await else {
        return Err(survey::unreachable(settings).await);
    };
    let ours = mark(settings, key, &cluster);
    let taken = async || match other(&admin, settings, &ours.name).await? {
        None => Ok(()),
        Some(mark) => Err(OpenError::Taken {
            prefix: settings.prefix.clone(),
            mark,
        }),
    };
    // Before the own mark is there: who comes second leaves nothing behind.
    taken().await?;
    admin.ensure(&ours).await?;
    taken().await
}

/// The topic that is the mark. It has the rules of any, and never a record.
fn mark(settings: &Settings, key: &SealKey, cluster: &str) -> TopicRules {
    let name = Routing::new(key.clone(), cluster, &settings.prefix).deployment();
    TopicRules::of_log(settings, &format!("{MARK}{name}"), 1)
}

/// The mark of another deployment, if it is there.
async fn other(
    admin: &Admin,
    settings: &Settings,
    ours: &str,
) -> Result<Option<String>, OpenError> {
    let marks = format!("{}.{MARK}", settings.prefix);
    let mut found = admin.topics().await?.into_iter();
    Ok(found.find(|topic| topic.starts_with(&marks) && topic != ours))
}

/// The same for who looks and makes nothing.
pub(crate) async fn taken_by(
    admin: &Admin,
    settings: &Settings,
    key: &SealKey,
    cluster: &str,
) -> Result<Option<String>, OpenError> {
    let ours = mark(settings, key, cluster);
    other(admin, settings, &ours.name).await
}
