//! `meridian backup-key`, `backup` and `restore`: the whole replicated state, sealed in one file.
//!
//! In: a file, a key, the admin API. Out: a sealed file, or a cluster that begins with what one held. Sealing
//! and opening happen here, so that the secret key never comes near a node.

use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use meridian_cluster::directory::{About, Backup};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    client::Client,
    outcome::{Exit, Failure},
    outside::{self, Readers},
    sealed::{self, PublicKey, SecretKey},
    terminal::Terminal,
};
use crate::admin::body::Restored;

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The public key to seal it to, or a file that holds it (see `meridian backup-key`)
    #[arg(long, value_name = "KEY", env = "MERIDIAN_BACKUP_KEY")]
    to: String,
    /// Take what the node has though there is no quorum: of a cluster that is lost
    #[arg(long)]
    stale: bool,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The file that `meridian backup` wrote
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// The file with the secret key of `meridian backup-key`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Open the backup, check all of it and say what it holds; contact no node
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// What was written or read.
#[derive(Debug, Serialize)]
struct Shown {
    file: String,
    bytes: usize,
    cluster: String,
    cluster_id: String,
    revision: u64,
    revisions: u64,
    facts: u64,
    index: u64,
    node: String,
    time: String,
    release: String,
    stale: bool,
    key: String,
}

/// Makes a pair of keys: the secret one in a file, the public one beside it and on stdout.
pub(super) fn make_key(file: &Path, terminal: &Terminal) -> Result<Exit, Failure> {
    if outside::exists(file) {
        return Err(Failure::invalid(format!(
            "{} exists; a key that is overwritten opens its backups no more, so name another file",
            file.display()
        )));
    }
    let key = SecretKey::generate();
    let mut beside = file.as_os_str().to_owned();
    beside.push(".pub");
    let beside = PathBuf::from(beside);
    write(
        file,
        format!("{}\n", key.reveal()).as_bytes(),
        Readers::Owner,
    )?;
    write(
        &beside,
        format!("{}\n", key.public()).as_bytes(),
        Readers::All,
    )?;
    terminal.data(&key.public().to_string());
    terminal.say(&format!(
        "The key {}: the secret half is in {}; keep it, and a copy, away from the nodes: without it no backup is opened. The public half above (also in {}) seals: meridian backup FILE --to {}",
        key.public().name(),
        file.display(),
        beside.display(),
        beside.display(),
    ));
    Ok(Exit::Done)
}

/// Takes a backup.
pub(super) async fn backup(
    args: &BackupArgs,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let key = public_key(&args.to)?;
    let path = if args.stale {
        "/api/v1/backup?stale=true"
    } else {
        "/api/v1/backup"
    };
    let state = client.fetch(path).await?;
    // A node of another release, or a proxy in between: nothing is kept that could not be restored.
    let about = Backup::read(&state)
        .map_err(|why| Failure::failed(format!("the node's answer: {why}")))?
        .about;
    let file = sealed::seal(about.clone(), &state, &key).map_err(|error| {
        Failure::invalid(format!(
            "nothing can be sealed to this key ({error}); make one with `meridian backup-key`"
        ))
    })?;
    write(&args.file, &file, Readers::Owner)?;
    let shown = shown(&args.file, file.len(), about, key.name());
    terminal.value(&shown, table);
    if shown.stale {
        terminal
            .warn("this is what one node had, without a quorum; a newer revision may have existed");
    }
    terminal.say(&format!(
        "Check it with its secret key: meridian restore {} --key FILE --dry-run",
        args.file.display()
    ));
    Ok(Exit::Done)
}

/// A backup that was opened and found whole.
pub(super) struct Opened {
    state: Vec<u8>,
    shown: Shown,
}

/// Opens a backup and checks all of it.
pub(super) fn open(args: &RestoreArgs) -> Result<Opened, Failure> {
    let place = args.key.display();
    let text = outside::read_text(&args.key)
        .map_err(|error| Failure::invalid(format!("{place} cannot be read: {error}")))?;
    let key = SecretKey::parse(&text).map_err(|why| Failure::invalid(format!("{place}: {why}")))?;
    let place = args.file.display();
    let file = outside::read(&args.file)
        .map_err(|error| Failure::invalid(format!("{place} cannot be read: {error}")))?;
    let refused = |why: String| {
        Failure::invalid(format!(
            "{place} is not restored, nothing was changed: {why}"
        ))
    };
    let label = sealed::label(&file).map_err(|why| refused(why.to_string()))?;
    let state = sealed::open(&file, &key).map_err(|why| refused(why.to_string()))?;
    let about = Backup::read(&state)
        .map_err(|why| refused(why.to_string()))?
        .about;
    Ok(Opened {
        shown: shown(&args.file, file.len(), about, label.key),
        state,
    })
}

/// Says what a backup holds.
pub(super) fn tell(opened: &Opened, terminal: &Terminal) -> Exit {
    terminal.value(&opened.shown, table);
    terminal.say("It is whole, and this key opens it. Nothing was changed.");
    Exit::Done
}

/// Begins the cluster with a backup.
pub(super) async fn restore(
    opened: Opened,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let Opened { state, shown } = opened;
    terminal.say(&format!(
        "{}: {} at revision {}, made {}.",
        shown.file, shown.cluster, shown.revision, shown.time
    ));
    let restored: Restored = client
        .send_whole(Method::POST, "/api/v1/restore", state)
        .await?;
    terminal.value(&restored, |restored| {
        format!(
            "restored: revision {}, {} revocations and blocks, cluster id {}\n",
            restored.revision, restored.facts, restored.cluster_id
        )
    });
    terminal.say(
        "The node is the cluster's only voter. Start the other nodes with empty data folders: they join, and votes go to them by themselves (`meridian status`). Nodes of the old cluster are refused.",
    );
    Ok(Exit::Done)
}

fn public_key(given: &str) -> Result<PublicKey, Failure> {
    let named = given.starts_with("mrdn_backup_");
    let text = if named {
        given.to_owned()
    } else {
        outside::read_text(Path::new(given)).map_err(|error| {
            Failure::invalid(format!(
                "--to is neither a public key nor a file that can be read ({given}: {error}); make one with `meridian backup-key FILE`"
            ))
        })?
    };
    PublicKey::parse(&text).map_err(|why| {
        let place = if named { "--to" } else { given };
        Failure::invalid(format!("{place}: {why}"))
    })
}

fn write(place: &Path, bytes: &[u8], readers: Readers) -> Result<(), Failure> {
    outside::write(place, bytes, readers).map_err(|error| {
        Failure::failed(format!(
            "{} cannot be written: {error}; name a folder that exists and has room",
            place.display()
        ))
    })
}

fn shown(file: &Path, bytes: usize, about: About, key: String) -> Shown {
    Shown {
        file: file.display().to_string(),
        bytes,
        cluster: about.cluster,
        cluster_id: about.cluster_id,
        revision: about.revision,
        revisions: about.revisions,
        facts: about.facts,
        index: about.index,
        node: about.node.to_string(),
        time: written(about.unix_ms),
        release: about.release,
        stale: about.stale,
        key,
    }
}

fn written(unix_ms: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{unix_ms} ms after 1970"))
}

fn table(shown: &Shown) -> String {
    format!(
        "{}: {} bytes\ncluster   {} (id {})\nrevision  {} ({} kept)\nfacts     {} revocations and blocks\nmade      {} by {}, release {}{}\nkey       {}\n",
        shown.file,
        shown.bytes,
        shown.cluster,
        shown.cluster_id,
        shown.revision,
        shown.revisions,
        shown.facts,
        shown.time,
        shown.node,
        shown.release,
        if shown.stale {
            ", without a quorum"
        } else {
            ""
        },
        shown.key
    )
}
