//! `meridian config` and wrong command lines: found before anything runs.

use meridian_tests::binary::{Ran, meridian};

/// Checks a document's text as `gateway.yaml` in a folder of its own.
async fn check(text: &str) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.yaml");
    std::fs::write(&path, text).expect("written");
    meridian(&["config", "check", path.to_str().expect("a plain path")]).await
}

#[tokio::test]
async fn the_example_passes_its_own_check() {
    let example = meridian(&["config", "example"]).await.expect(0).stdout;
    check(&example).await.expect(0);
}

#[tokio::test]
async fn the_schema_is_json() {
    let schema = meridian(&["config", "schema"]).await.expect(0).json();
    assert!(schema["properties"]["routes"].is_object(), "{schema}");
}

#[tokio::test]
async fn every_mistake_is_told_at_once_with_its_place_and_what_would_be_right() {
    let example = meridian(&["config", "example"]).await.expect(0).stdout;
    let wrong = example
        .replace("plan: premium", "plan: premiun")
        .replace("timeouts: { connect: 1s,", "timeouts: { connect: 1,")
        .replace(
            "trusted_proxies: [10.0.0.0/8]",
            "trusted_proxies: [10.0.0.0/33]",
        );
    let ran = check(&wrong).await.expect(2);
    let told = format!("{}{}", ran.stdout, ran.stderr);
    for part in ["premium", "connect", "10.0.0.0/33"] {
        let line = told
            .lines()
            .find(|line| line.contains("gateway.yaml:") && line.contains(part));
        let line = line.unwrap_or_else(|| panic!("no line with a place about {part}: {told}"));
        let place = line.split("gateway.yaml:").nth(1).expect("a place");
        let numbers: Vec<_> = place.split(':').take(2).map(str::parse::<u32>).collect();
        assert!(
            numbers.iter().all(Result::is_ok),
            "no line and column: {line}"
        );
    }
}

#[tokio::test]
async fn what_this_version_cannot_do_is_refused_and_not_ignored() {
    let example = meridian(&["config", "example"]).await.expect(0).stdout;
    for (from, to) in [
        ("    # circuit_breaker:", "    circuit_breaker:"),
        ("on_region_loss: strict", "on_region_loss: elastic"),
        ("    # cors: {", "    cors: {"),
    ] {
        assert!(example.contains(from), "the example does not show {from:?}");
        let ran = check(&example.replace(from, to)).await.expect(2);
        let told = format!("{}{}", ran.stdout, ran.stderr);
        assert!(
            told.contains("not supported by this version"),
            "{to}: {told}"
        );
    }
}

#[tokio::test]
async fn wrong_use_ends_with_2_and_help_with_0() {
    for wrong in [
        &["frobnicate"][..],
        &["apply"],
        &["node"],
        &["config", "check"],
        &["dev", "cut", "a"],
    ] {
        let ran = meridian(wrong).await.expect(2);
        assert!(!ran.stderr.is_empty(), "{wrong:?} says nothing");
    }
    for right in [&["--help"][..], &["--version"], &["dev", "--help"]] {
        meridian(right).await.expect(0);
    }
    meridian(&["config", "check", "/nonexistent.yaml"])
        .await
        .expect(2);
    meridian(&["node", "--config", "/nonexistent.yaml"])
        .await
        .expect(2);
}

#[tokio::test]
async fn an_admin_command_without_a_cluster_ends_with_4_and_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "mrd_test").expect("written");
    let nobody = format!("http://{}", meridian_tests::ports::free());
    let token = token.to_str().expect("a plain path");
    let ran = meridian(&["status", "--admin", &nobody, "--token-file", token])
        .await
        .expect(4);
    assert!(
        ran.stderr.contains(&nobody["http://".len()..]),
        "{}",
        ran.stderr
    );
}
