//! Running `meridian` commands.

use std::{path::PathBuf, process::Stdio};

use tokio::{process::Command, time::timeout};

use crate::wait::LONG;

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Panics unless the command ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.stdout))
    }
}

/// The binary under test: what `MERIDIAN_BIN` names, or the one that was built beside this test.
pub fn path() -> PathBuf {
    if let Some(path) = std::env::var_os("MERIDIAN_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test has a path");
    let built = test
        .ancestors()
        .nth(2)
        .expect("tests lie in target/PROFILE/deps")
        .join("meridian");
    assert!(
        built.exists(),
        "there is no {}; run `tests/run`, or build the binary and name it in MERIDIAN_BIN",
        built.display()
    );
    built
}

/// A command line of the binary, without the caller's environment for it.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(path());
    command
        .args(arguments)
        .env_remove("MERIDIAN_ADMIN")
        .env_remove("MERIDIAN_TOKEN")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub async fn meridian(arguments: &[&str]) -> Ran {
    run(command(arguments)).await
}

/// Runs any command line to its end.
pub async fn run(mut command: Command) -> Ran {
    let output = timeout(LONG, command.kill_on_drop(true).output())
        .await
        .unwrap_or_else(|_| panic!("{command:?} did not end within {LONG:?}"))
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
