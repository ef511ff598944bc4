//! The command line of `meridian`: what an operator types, and how it ends.
//!
//! In: arguments and environment. Out: an exit code. Each command is a file; those that need a cluster
//! are pure clients of the admin API.

pub(crate) mod address;
mod apply;
mod audit;
pub(crate) mod authority;
mod backup;
mod block;
mod check;
pub(crate) mod client;
mod dev;
mod events;
mod explain;
mod export;
mod history;
mod inventory;
pub(crate) mod node;
mod nodes;
mod quota;
mod receipt;
mod revoke;
mod sealed;
mod source;
mod status;
mod stream;
mod token;
mod watch;

pub(crate) mod outcome;
pub(crate) mod outside;
pub(crate) mod terminal;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use meridian_cluster::bootstrap::Origin;

use outcome::{Exit, Failure};
use terminal::{Format, Terminal};

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let terminal = Terminal::new(cli.common.output, cli.common.quiet);
    let exit = match dispatch(cli, &terminal) {
        Ok(exit) => exit,
        Err(failure) => {
            terminal.complain(&failure.message);
            failure.exit
        }
    };
    ExitCode::from(terminal.close(exit).code())
}

/// A distributed API gateway: a cluster of nodes in several regions that behaves as one.
#[derive(Debug, Parser)]
#[command(name = "meridian", version, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Common {
    /// Where the admin API is, for example http://127.0.0.1:7500 [default: a dev cluster in this folder, else http://127.0.0.1:7500]
    #[arg(long, global = true, env = "MERIDIAN_ADMIN", value_name = "URL")]
    admin: Option<String>,
    /// File that holds the admin token (MERIDIAN_TOKEN holds the token itself)
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificates (PEM) that an https admin API is trusted by [default: the system's]
    #[arg(long, global = true, env = "MERIDIAN_ADMIN_CA", value_name = "FILE")]
    admin_ca: Option<PathBuf>,
    /// Client certificate (PEM, with its chain) for an https admin API, in place of a token
    #[arg(
        long,
        global = true,
        env = "MERIDIAN_ADMIN_CERT",
        value_name = "FILE",
        requires = "admin_key"
    )]
    admin_cert: Option<PathBuf>,
    /// Key of the client certificate (PEM)
    #[arg(
        long,
        global = true,
        env = "MERIDIAN_ADMIN_KEY",
        value_name = "FILE",
        requires = "admin_cert"
    )]
    admin_key: Option<PathBuf>,
    /// Form of the data on stdout
    #[arg(short, long, global = true, value_enum, default_value_t)]
    output: Format,
    /// Say nothing on stderr but warnings and errors
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a three-region cluster with a demo API on this machine
    Dev(dev::DevArgs),
    /// Run one node
    Node {
        /// The node's file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// With an empty data_dir, at the lowest id of cluster.bootstrap: found no cluster, wait for `meridian restore`
        #[arg(long)]
        await_restore: bool,
    },
    /// The cluster's own certificate authority
    #[command(subcommand)]
    Ca(authority::CaCommand),
    /// Access to the admin API
    #[command(subcommand)]
    Admin(token::AdminCommand),
    /// Check and learn the files
    #[command(subcommand)]
    Config(check::ConfigCommand),
    /// Make the cluster's desired state what a file or folder says
    Apply(apply::ApplyArgs),
    /// Show what `apply` would change: exit 0 the same, 3 different
    Diff(apply::DiffArgs),
    /// Print the running document
    Export(export::ExportArgs),
    /// What the running cluster would do with a request, step by step; charges nothing
    Explain(explain::ExplainArgs),
    /// Who applied what, when, and what the nodes made of it
    History(history::HistoryArgs),
    /// Who did what on the cluster, when, and from where
    Audit(audit::AuditArgs),
    /// Make a new revision equal to an old one
    Rollback(apply::RollbackArgs),
    /// Emergency blocks of addresses, everywhere, at once
    #[command(subcommand)]
    Block(block::BlockCommand),
    /// Stop tokens before their expiry, everywhere, at once
    Revoke(revoke::RevokeArgs),
    /// The revocations in force
    Revocations {
        #[command(flatten)]
        list: receipt::ListArgs,
    },
    /// Take a node out gracefully: it takes no new work and stays a member
    Drain {
        /// The node's id
        node: String,
    },
    /// Put a drained node back
    Undrain {
        /// The node's id
        node: String,
    },
    /// Forget a dead or drained node; another takes its vote
    Remove {
        /// The node's id
        node: String,
    },
    /// Save the replicated state, whole, into a file sealed to your key
    Backup(backup::BackupArgs),
    /// Make the pair of keys that backups are sealed to and opened with
    BackupKey {
        /// The file for the secret key; the public one goes beside it, as FILE.pub
        file: PathBuf,
    },
    /// Begin the cluster again, on empty nodes, with what a backup holds
    Restore(backup::RestoreArgs),
    /// Regions, nodes, leader, revision, latencies, upstreams, traffic
    Status(status::StatusArgs),
    /// What happens on the cluster, as it happens
    Events(events::EventsArgs),
    /// The tenants of the running document, or one of them
    Tenants {
        /// The tenant's name
        tenant: Option<String>,
    },
    /// The limits of a tenant; set others in place of its plan's, or clear them
    Quota(quota::QuotaArgs),
    /// The services of the running document and the health of their endpoints, or one of them
    Services {
        /// The service's name
        service: Option<String>,
    },
    /// A child of `meridian dev`; of no use by hand.
    #[command(hide = true)]
    DevChild,
}

fn dispatch(cli: Cli, terminal: &Terminal) -> Result<Exit, Failure> {
    let common = &cli.common;
    match cli.command {
        Command::Dev(args) => dev::run(args, terminal),
        Command::Node {
            config,
            await_restore,
        } => {
            let origin = if await_restore {
                Origin::Restore
            } else {
                Origin::Founding
            };
            node::run(&config, origin)
        }
        Command::Ca(command) => authority::run(command, terminal),
        Command::Admin(command) => token::run(&command, terminal),
        Command::Config(command) => check::run(command, terminal),
        Command::Apply(args) => {
            wait_for(async { apply::apply(&args, &client(common, terminal)?, terminal).await })
        }
        Command::Diff(args) => {
            wait_for(async { apply::diff(&args, &client(common, terminal)?, terminal).await })
        }
        Command::Rollback(args) => {
            wait_for(async { apply::rollback(&args, &client(common, terminal)?, terminal).await })
        }
        Command::Export(args) => {
            wait_for(async { export::export(&args, &client(common, terminal)?, terminal).await })
        }
        Command::Explain(args) => {
            wait_for(async { explain::explain(args, &client(common, terminal)?, terminal).await })
        }
        Command::History(args) => {
            wait_for(async { history::history(&args, &client(common, terminal)?, terminal).await })
        }
        Command::Audit(args) => {
            wait_for(async { audit::audit(&args, &client(common, terminal)?, terminal).await })
        }
        Command::Block(command) => {
            wait_for(async { block::run(command, &client(common, terminal)?, terminal).await })
        }
        Command::Revoke(args) => {
            wait_for(async { revoke::revoke(args, &client(common, terminal)?, terminal).await })
        }
        Command::Revocations { list } => {
            wait_for(async { revoke::list(&list, &client(common, terminal)?, terminal).await })
        }
        Command::Drain { node } => {
            wait_for(async { nodes::drain(&node, &client(common, terminal)?, terminal).await })
        }
        Command::Undrain { node } => {
            wait_for(async { nodes::undrain(&node, &client(common, terminal)?, terminal).await })
        }
        Command::Remove { node } => {
            wait_for(async { nodes::remove(&node, &client(common, terminal)?, terminal).await })
        }
        Command::Backup(args) => {
            wait_for(async { backup::backup(&args, &client(common, terminal)?, terminal).await })
        }
        Command::BackupKey { file } => backup::make_key(&file, terminal),
        Command::Restore(args) => {
            let opened = backup::open(&args)?;
            if args.dry_run {
                return Ok(backup::tell(&opened, terminal));
            }
            wait_for(async { backup::restore(opened, &client(common, terminal)?, terminal).await })
        }
        Command::DevChild => crate::dev::child(),
        Command::Status(args) => {
            wait_for(async { status::status(&args, &client(common, terminal)?, terminal).await })
        }
        Command::Events(args) => {
            wait_for(async { events::events(&args, &client(common, terminal)?, terminal).await })
        }
        Command::Tenants { tenant } => wait_for(async {
            inventory::tenants(tenant.as_deref(), &client(common, terminal)?, terminal).await
        }),
        Command::Quota(args) => {
            wait_for(async { quota::quota(args, &client(common, terminal)?, terminal).await })
        }
        Command::Services { service } => wait_for(async {
            inventory::services(service.as_deref(), &client(common, terminal)?, terminal).await
        }),
    }
}

fn client(common: &Common, terminal: &Terminal) -> Result<client::Client, Failure> {
    client::Client::new(
        &address::Address {
            admin: common.admin.clone(),
            token_file: common.token_file.clone(),
            ca: common.admin_ca.clone(),
            certificate: common.admin_cert.clone().zip(common.admin_key.clone()),
        },
        terminal,
    )
}

/// Runs a client's conversation to its end.
fn wait_for<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::failed(format!(
                "no runtime: {error}; free memory or file descriptors"
            ))
        })?
        .block_on(work)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_has_no_contradictions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn common_flags_stand_before_or_after_the_command() {
        for line in [
            "meridian --admin http://x:1 -o json status",
            "meridian status --admin http://x:1 -o json",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.common.admin.as_deref(), Some("http://x:1"));
            assert_eq!(cli.common.output, Format::Json);
        }
    }
}
