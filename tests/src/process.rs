//! A process that keeps running while a test does.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// A running process, killed when dropped. What it prints goes to files.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: u32,
    out: PathBuf,
    err: PathBuf,
}

impl Process {
    /// Starts it. Its output goes to `FOLDER/NAME.out` and `FOLDER/NAME.err`.
    pub fn start(name: &str, folder: &Path, mut command: Command) -> Self {
        let (out, err) = (
            folder.join(format!("{name}.out")),
            folder.join(format!("{name}.err")),
        );
        let open = |path: &Path| File::create(path).expect("the test's folder can be written");
        let child = command
            .stdin(Stdio::null())
            .stdout(open(&out))
            .stderr(open(&err))
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let pid = child.id().expect("it was just started");
        Self {
            name: name.to_owned(),
            child,
            pid,
            out,
            err,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has printed to standard output.
    pub fn stdout(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// What it has printed to standard error.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Panics with what it said if it has ended.
    #[track_caller]
    pub fn must_run(&mut self) {
        if let Some(status) = self.ended() {
            panic!("{} ended ({status}): {}", self.name, self.stderr());
        }
    }

    /// Waits for its end.
    pub async fn end(&mut self, within: Duration) -> ExitStatus {
        match timeout(within, self.child.wait()).await {
            Ok(status) => status.expect("it is our child"),
            Err(_) => panic!(
                "{} has not ended within {within:?}: {}",
                self.name,
                self.stderr()
            ),
        }
    }

    /// Sends it a signal by name: `TERM`, `INT`, `KILL`, `STOP`, `CONT`.
    pub async fn signal(&self, name: &str) {
        signal(self.pid, name).await;
    }
}

/// Sends a process a signal by name.
pub async fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status()
        .await;
    assert!(
        status.is_ok_and(|status| status.success()),
        "no signal {name} to process {pid}"
    );
}
