//! A process that is killed while somebody enlists.

use std::time::Duration;

use entente_kit::signing::SigningPair;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::stand::Stand;

/// When the kill comes after the request, in milliseconds: before, while and after it is worked on.
const DELAYS: [u64; 8] = [0, 1, 2, 4, 6, 9, 14, 30];

/// T66: killed at any moment of an enlistment, the gateway gives one login to the same form sent
/// again after the start, the one that it gave before if it gave one; and it is a working account.
#[tokio::test(flavor = "multi_thread")]
async fn an_enlistment_that_a_kill_cut_is_repeated() {
    let mut stand = Stand::start(|config| config, None).await;
    let mut cut = 0;
    for delay in DELAYS {
        let visible = format!("user{delay}@partner.example");
        let (form, token) = (SigningPair::generate().enlist_form(), stand.token(&visible));
        let mut attempt = JoinSet::new();
        let (door, sent, shown) = (stand.https.clone(), form.clone(), token.clone());
        attempt.spawn(async move { sent.send(&door, Stand::partner_number(), &shown).await });
        sleep(Duration::from_millis(delay)).await;
        stand.process.kill().await.unwrap();
        let first = attempt.join_next().await.unwrap().unwrap().ok();
        cut += usize::from(first.is_none());
        stand.process.restart().await.unwrap();
        let login = stand.enlist_with(&form, &token).await.unwrap();
        let again = stand.enlist_with(&form, &token).await.unwrap();
        assert_eq!(again, login, "after {delay} ms");
        assert!(first.is_none_or(|first| first == login), "after {delay} ms");
        let anew = stand
            .enlist_with(&form, &stand.token(&visible))
            .await
            .unwrap();
        assert_eq!(anew, login, "one account after {delay} ms");
        stand.connect(&visible, login).await;
    }
    assert!(cut > 0, "no kill came in time");
}
