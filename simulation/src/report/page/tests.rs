//! What stands in the page; how it looks in a browser is for `simulation/tests/page.py` to see.

use std::time::Duration;

use super::*;
use crate::{
    invariant,
    report::Finding,
    scenario,
    workload::{History, Phase, Progress},
    world::{Counts, Seed},
};

fn account(history: History) -> (Scenario, Account) {
    let source = scenario::find("region-loss", |_| unreachable!("it is shipped")).unwrap();
    let scenario = Scenario::parse(&source).unwrap();
    let mut violations = invariant::check(&history);
    let judged = invariant::judge(
        &history,
        &mut violations,
        false,
        &invariant::Wanted::default(),
    );
    let second = Duration::from_secs(1);
    let finding = Finding::new(
        &scenario,
        Seed(7),
        second,
        Counts::default(),
        "hash".to_owned(),
        1,
        &history,
        judged,
        violations,
    );
    (scenario, Account { finding, history })
}

fn data(page: &str) -> serde_json::Value {
    let (_, rest) = page.split_once("id=\"run\">").unwrap();
    let (json, _) = rest.split_once("</script>").unwrap();
    serde_json::from_str(json).unwrap()
}

#[test]
fn the_page_is_whole_and_fetches_nothing() {
    let (scenario, account) = account(History::default());
    let page = page(&scenario, &account, "meridian-sim run region-loss --seed 7");
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    for mark in ["{{title}}", "{{style}}", "{{data}}", "{{script}}"] {
        assert!(!page.contains(mark), "{mark:?} is left");
    }
    assert!(page.contains("default-src 'none'"));
    for outside in ["src=", "@import", "url(http", "fetch(", "XMLHttpRequest"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let data = data(&page);
    assert_eq!(data["finding"]["seed"], 7);
    assert_eq!(data["replay"], "meridian-sim run region-loss --seed 7");
    assert_eq!(
        data["regions"],
        serde_json::json!(["eu-west", "us-east", "ap-south"])
    );
    assert_eq!(data["flows"].as_array().unwrap().len(), 9);
}

#[test]
fn text_of_a_run_cannot_leave_its_place() {
    let evil = "</script><script>alert(1)</script> {{script}} <!--";
    let history = History {
        collapses: vec![(Duration::ZERO, evil.to_owned())],
        progress: vec![Progress {
            at: Duration::from_secs(1),
            phase: Phase::Judged,
            says: evil.to_owned(),
        }],
        ..History::default()
    };
    let (scenario, account) = account(history);
    let page = page(&scenario, &account, evil);
    // The data's element, and the page's own script.
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<!--"), "a comment would swallow the rest");
    let data = data(&page);
    assert_eq!(data["replay"], evil);
    assert_eq!(data["events"][0]["says"], evil);
}
