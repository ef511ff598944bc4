//! The alerts that operators are given, by Prometheus' own checker.

use meridian_tests::peer::promtool;

#[tokio::test]
async fn prometheus_reads_the_rules_and_each_alert_comes_when_it_should() {
    let ran = promtool(&["check", "rules", "deploy/prometheus/quota.rules.yaml"]).await;
    let checked = ran.expect(0).stdout;
    assert!(checked.contains("11 rules found"), "{checked}");
    let ran = promtool(&["test", "rules", "tests/peers/quota.rules.test.yaml"]).await;
    let tested = ran.expect(0).stdout;
    assert!(tested.contains("SUCCESS"), "{tested}");
    // Each alert is put to the test.
    let tests = include_str!("../../peers/quota.rules.test.yaml");
    let rules = include_str!("../../../deploy/prometheus/quota.rules.yaml");
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        let comes = format!("alertname: {alert}\n        exp_alerts:");
        assert!(tests.contains(&comes), "no test has {alert} come");
    }
}
