//! The shell over a host whose files change.

use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::*;
use crate::fabric::{Authority, testing};

#[tokio::test(start_paused = true)]
async fn files_are_followed_through_good_and_bad_and_good_again() {
    let host = testing::TestHost::still(testing::EPOCH);
    let authority = Authority::create("test", Some([1; 32])).unwrap();
    let issue = |after: Duration| {
        let at = testing::EPOCH + after;
        let issued = authority.issue(&"n1".into(), &"eu".into(), &[], &[], at);
        issued.unwrap().cert_pem
    };
    let year = Duration::from_secs(365 * 86_400);
    // Issued almost two years ago: three weeks are left.
    let old = authority
        .issue(
            &"n1".into(),
            &"eu".into(),
            &[],
            &[],
            testing::EPOCH - 2 * year + Duration::from_secs(21 * 86_400),
        )
        .unwrap()
        .cert_pem;
    host.put("node.pem", Some(&old));
    let renewals = Renewals::default();
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let followed = Followed {
        name: "fabric".into(),
        files: vec!["node.pem".into()],
        adopt: Box::new(|contents| {
            let found = certificates_of(&contents[0]).len();
            (found > 0)
                .then_some(())
                .ok_or_else(|| "it is empty".to_owned())
        }),
    };
    tracker.spawn(
        renewals
            .clone()
            .follow(host.clone(), followed, stop.clone()),
    );
    let standing = || renewals.standings().remove("fabric").unwrap_or_default();

    sleep(LOOK / 2).await;
    assert_eq!(standing().stage, Stage::Soon);
    let before = standing().files;
    host.put("node.pem", Some("nonsense"));
    sleep(LOOK).await;
    assert_eq!(standing().fault.as_deref(), Some("it is empty"));
    assert_eq!(standing().files, before, "the last good one stays");
    host.put("node.pem", None);
    sleep(LOOK).await;
    assert!(standing().fault.unwrap().contains("node.pem"));
    host.put("node.pem", Some(&(issue(Duration::ZERO) + &issue(year))));
    sleep(LOOK).await;
    let now = standing();
    assert_eq!((now.stage, now.fault), (Stage::Fresh, None));
    assert_eq!(now.files[0].certificates, 2);
    assert!(now.files[0].expires > before[0].expires);
    stop.cancel();
    tracker.close();
    tracker.wait().await;
}
