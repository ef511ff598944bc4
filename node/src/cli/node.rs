//! `meridian node`: runs one node until it is told to stop.
//!
//! In: its file. Out: a served cluster, and exit 0 after a clean drain.

use std::{path::Path, sync::Arc};

use meridian_cluster::{
    bootstrap::Origin,
    host::{Host, os::OsHost},
};
use meridian_config::{diagnose::Source, node_file::NodeFile};
use tracing_subscriber::EnvFilter;

use super::{
    outcome::{Exit, Failure},
    outside,
};
use crate::Hooks;

/// Threads of the control plane (Raft, gossip, admin): two, so that compiling a document on one does not
/// hold up heartbeats on the other. Workers and the bulk endpoint have threads of their own.
const CONTROL_THREADS: usize = 2;

pub(super) fn run(config: &Path, origin: Origin) -> Result<Exit, Failure> {
    start(config, origin, Hooks::default(), |host| host)
}

/// Runs a node over the operating system's host, as `wrap` returns it. `wrap` is called on the node's
/// runtime.
pub(crate) fn start(
    config: &Path,
    origin: Origin,
    hooks: Hooks,
    wrap: impl FnOnce(Arc<dyn Host>) -> Arc<dyn Host>,
) -> Result<Exit, Failure> {
    log_to_stderr();
    let file = read(config)?;
    let host = OsHost::new(&file.data_dir).map_err(|error| Failure::failed(error.to_string()))?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::failed(format!(
                "no runtime: {error}; free memory or file descriptors"
            ))
        })?
        .block_on(async {
            crate::run(wrap(Arc::new(host)), file, origin, hooks)
                .await
                .map(|()| Exit::Done)
                .map_err(|error| Failure::failed(error.to_string()))
        })
}

fn read(config: &Path) -> Result<NodeFile, Failure> {
    let text = outside::read_text(config).map_err(|error| {
        Failure::invalid(format!(
            "{} cannot be read: {error}; name the node's file with --config",
            config.display()
        ))
    })?;
    let source = Source {
        name: config.display().to_string(),
        text,
    };
    let folder = config.parent().unwrap_or(Path::new(""));
    NodeFile::parse(&source, folder).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        Failure::invalid(lines.join("\n"))
    })
}

/// Diagnostics go to stderr; `RUST_LOG` chooses which. stdout belongs to the access log.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    // A second subscriber in one process is a test's; the first one stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false)
        .try_init();
}

/// Our own words at `info`; of the libraries only what is wrong, because they speak in their own terms.
const DEFAULT_LOG: &str =
    "warn,meridian_node=info,meridian_cluster=info,meridian=info,openraft=error,chitchat=error";
