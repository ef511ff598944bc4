//! The control door of a running dev cluster: a Unix socket in its folder.
//!
//! In: `dev kill`, `start`, `cut`, `heal` from other terminals, one JSON line each. Out: one JSON line
//! with what was done. The folder's permissions (0700) are the door's lock.

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::folder::Folder;
use crate::cli::outcome::{Exit, Failure};

/// What is asked of a running dev cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// kill -9 a node, or a region with its upstream.
    Kill(String),
    /// Start what is dead of a node or region.
    Start(String),
    /// Lose all packets between two regions.
    Cut(String, String),
    /// Lose none.
    Heal,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The exit code for the caller.
    exit: u8,
    /// For the caller's eyes.
    message: String,
    /// Nodes that were started or killed.
    nodes: Vec<String>,
}

/// A request and the way back to its caller.
pub(crate) type Visit = (Request, oneshot::Sender<Result<Done, Failure>>);

/// What a request came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// For the caller's eyes.
    pub(crate) message: String,
    /// Nodes that were started or killed.
    pub(crate) nodes: Vec<String>,
}

/// Time for one exchange: killing waits for the kernel, starting for a spawn, never for a cluster.
const DEADLINE: Duration = Duration::from_secs(10);

/// A request's longest line: two region names and punctuation.
const LINE: u64 = 4096;

/// Opens the door.
pub(crate) fn open(folder: &Folder) -> Result<UnixListener, Failure> {
    let path = folder.control();
    let bind = || {
        // The lock on the folder says that nobody listens here any more.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (_open, short) = short(folder)?;
        UnixListener::bind(short)
    };
    bind().map_err(|error| {
        Failure::failed(format!(
            "the control socket {} cannot be made: {error}; choose another folder with --dir",
            path.display()
        ))
    })
}

/// Answers visitors until `stop`.
pub(crate) async fn serve(
    listener: UnixListener,
    visits: mpsc::Sender<Visit>,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let stream = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let visits = visits.clone();
        tracker.spawn(async move {
            // A visitor that hangs up early needs no answer.
            let _ = timeout(DEADLINE, receive(stream, visits)).await;
        });
    }
}

async fn receive(stream: UnixStream, visits: mpsc::Sender<Visit>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(LINE))
        .read_line(&mut line)
        .await?;
    let done = match serde_json::from_str(&line) {
        Ok(request) => {
            let (reply, replied) = oneshot::channel();
            // The parent leaves its loop only to stop, and then the reply is dropped too.
            let _ = visits.send((request, reply)).await;
            replied
                .await
                .unwrap_or_else(|_| Err(Failure::failed("the dev cluster is stopping")))
        }
        Err(error) => Err(Failure::invalid(format!(
            "the dev cluster does not know this request ({error}); use the same `meridian` that started it"
        ))),
    };
    let answer = match done {
        Ok(done) => Answer {
            exit: Exit::Done.code(),
            message: done.message,
            nodes: done.nodes,
        },
        Err(failure) => Answer {
            exit: failure.exit.code(),
            message: failure.message,
            nodes: Vec::new(),
        },
    };
    let mut text = serde_json::to_string(&answer).expect("a plain struct is valid JSON");
    text.push('\n');
    writer.write_all(text.as_bytes()).await
}

/// Asks a running dev cluster.
pub(crate) async fn ask(folder: &Folder, request: &Request) -> Result<Done, Failure> {
    let talk = async {
        let (_open, short) = short(folder)?;
        let mut stream = UnixStream::connect(short).await?;
        let mut text = serde_json::to_string(request).expect("a plain enum is valid JSON");
        text.push('\n');
        stream.write_all(text.as_bytes()).await?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await?;
        serde_json::from_str::<Answer>(&answer).map_err(io::Error::other)
    };
    let answer = timeout(DEADLINE, talk)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|error| {
            Failure::unreachable(format!(
                "no dev cluster answers in {} ({error}); start one with `meridian dev`, or name its folder with --dir",
                folder.root().display()
            ))
        })?;
    if answer.exit == Exit::Done.code() {
        Ok(Done {
            message: answer.message,
            nodes: answer.nodes,
        })
    } else {
        Err(Failure {
            exit: Exit::from_code(answer.exit),
            message: answer.message,
        })
    }
}

/// A path to the socket that fits a socket address (108 bytes on Linux): through an open handle on the
/// folder where the plain path is too long. The handle must live as long as the path is used.
fn short(folder: &Folder) -> io::Result<(File, PathBuf)> {
    let path = folder.control();
    let open = File::open(folder.root())?;
    if path.as_os_str().len() <= 100 {
        return Ok((open, path));
    }
    let name = path.file_name().expect("the control socket has a name");
    let through = Path::new("/proc/self/fd")
        .join(open.as_raw_fd().to_string())
        .join(name);
    Ok((open, through))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_reaches_the_parent_and_its_answer_comes_back_even_in_a_deep_folder() {
        let place = tempfile::tempdir().unwrap();
        let deep = place.path().join("a-rather-long-name-".repeat(6));
        std::fs::create_dir(&deep).unwrap();
        let folder = Folder::new(deep);
        let tracker = TaskTracker::new();
        let stop = CancellationToken::new();
        let (visits, mut visitors) = mpsc::channel(1);
        tracker.spawn(serve(
            open(&folder).unwrap(),
            visits,
            tracker.clone(),
            stop.clone(),
        ));
        tracker.spawn(async move {
            while let Some((request, reply)) = visitors.recv().await {
                let _ = reply.send(match request {
                    Request::Kill(name) if name == "eu-west" => Ok(Done {
                        message: "killed".into(),
                        nodes: vec!["eu-west-1".into()],
                    }),
                    _ => Err(Failure::invalid("no such region")),
                });
            }
        });
        let done = ask(&folder, &Request::Kill("eu-west".into()))
            .await
            .unwrap();
        assert_eq!(done.nodes, ["eu-west-1"]);
        let refused = ask(&folder, &Request::Cut("a".into(), "b".into()))
            .await
            .unwrap_err();
        assert_eq!(refused, Failure::invalid("no such region"));
        stop.cancel();
    }

    #[tokio::test]
    async fn a_folder_where_nothing_runs_says_so() {
        let place = tempfile::tempdir().unwrap();
        let refused = ask(&Folder::new(place.path()), &Request::Heal)
            .await
            .unwrap_err();
        assert_eq!(refused.exit, Exit::Unreachable);
        assert!(refused.message.contains("meridian dev"), "{refused}");
    }
}
