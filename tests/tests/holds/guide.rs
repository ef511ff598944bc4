//! Is the guide for production true? Every command in it is run, as it stands there.

use std::{path::Path, time::Duration};

use meridian_tests::{binary, process::Process};
use tokio::process::Command;

/// For the whole guide, which waits for elections, gossip and certificates.
const WHOLE: Duration = Duration::from_secs(220);

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_production_guide_does_what_it_says() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("python3");
    command
        .arg(tests.join("guide/run.py"))
        .arg("--binary")
        .arg(binary::path())
        .arg(tests.join("../docs/production.md"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut guide = Process::start("guide", folder.path(), command);
    let status = guide.end(WHOLE).await;
    assert!(
        status.success() && guide.stdout().contains("every command of"),
        "{}\n{}",
        guide.stdout(),
        guide.stderr()
    );
}
