//! `meridian dev` and its subcommands.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use meridian_config::units;

use super::{
    outcome::{Exit, Failure},
    outside,
    terminal::Terminal,
    wait_for,
};
use crate::dev::{
    self, Options, Ports,
    control::{self, Request},
    folder::{self, Folder},
    issuer::{IssuerKey, Wish},
    plan::MOST_NODES_PER_REGION,
    ready,
};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct DevArgs {
    #[command(flatten)]
    place: Place,
    /// Nodes in each of the three regions
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_NODES_PER_REGION)))]
    nodes_per_region: u8,
    /// Throw the folder's state away first
    #[arg(long)]
    reset: bool,
    /// Which ports to take
    #[arg(long, value_enum, default_value_t)]
    ports: Ports,
    #[command(subcommand)]
    command: Option<DevCommand>,
}

#[derive(Debug, Args)]
struct Place {
    /// Folder of the dev cluster
    #[arg(long = "dir", value_name = "DIR", default_value = folder::DEFAULT)]
    folder: PathBuf,
}

#[derive(Debug, Subcommand)]
enum DevCommand {
    /// Print a signed token from the demo identity provider
    Token {
        /// The tenant it is for
        #[arg(long)]
        tenant: String,
        /// Whose it is
        #[arg(long, default_value = "demo")]
        subject: String,
        /// A scope; may be repeated
        #[arg(long, value_name = "SCOPE")]
        scope: Vec<String>,
        /// A role; may be repeated
        #[arg(long, value_name = "ROLE")]
        role: Vec<String>,
        /// How long it is good
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = units::duration)]
        ttl: Duration,
        #[command(flatten)]
        place: Place,
    },
    /// kill -9 a node, or a whole region with its demo upstream
    Kill {
        /// A node's id or a region's name
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Start a dead node, or what is dead of a region, and wait until it serves
    Start {
        /// A node's id or a region's name
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Lose every packet between two regions
    Cut {
        /// A region
        one: String,
        /// Another region
        other: String,
        #[command(flatten)]
        place: Place,
    },
    /// Make every link whole again
    Heal {
        #[command(flatten)]
        place: Place,
    },
}

/// Time for a started node to serve: it replays its log and meets its peers, about a second.
const SERVE: Duration = Duration::from_secs(20);

pub(super) fn run(args: DevArgs, terminal: &Terminal) -> Result<Exit, Failure> {
    match args.command {
        None => wait_for(dev::run(
            Options {
                nodes_per_region: args.nodes_per_region,
                folder: Folder::new(args.place.folder),
                reset: args.reset,
                ports: args.ports,
            },
            terminal,
        )),
        Some(DevCommand::Token {
            tenant,
            subject,
            scope,
            role,
            ttl,
            place,
        }) => {
            let folder = Folder::new(place.folder);
            let wish = Wish {
                tenant,
                subject,
                scopes: scope,
                roles: role,
                lifetime: ttl,
            };
            let issuer = folder.read()?.issuer;
            let token = IssuerKey::open(&folder)?.sign(
                &issuer,
                &wish,
                outside::unix_time(),
                &dev::token_id(),
            )?;
            terminal.data(&token);
            Ok(Exit::Done)
        }
        Some(DevCommand::Kill { name, place }) => {
            ask(&Folder::new(place.folder), Request::Kill(name), terminal)
        }
        Some(DevCommand::Start { name, place }) => {
            start(&Folder::new(place.folder), name, terminal)
        }
        Some(DevCommand::Cut { one, other, place }) => ask(
            &Folder::new(place.folder),
            Request::Cut(one, other),
            terminal,
        ),
        Some(DevCommand::Heal { place }) => {
            ask(&Folder::new(place.folder), Request::Heal, terminal)
        }
    }
}

fn ask(folder: &Folder, request: Request, terminal: &Terminal) -> Result<Exit, Failure> {
    let done = wait_for(control::ask(folder, &request))?;
    terminal.say(&done.message);
    Ok(Exit::Done)
}

fn start(folder: &Folder, name: String, terminal: &Terminal) -> Result<Exit, Failure> {
    wait_for(async {
        let done = control::ask(folder, &Request::Start(name)).await?;
        terminal.say(&done.message);
        let file = folder.read()?;
        for id in &done.nodes {
            let admin = file
                .nodes
                .iter()
                .find(|node| node.id == *id)
                .and_then(|node| node.admin.strip_prefix("http://"))
                .and_then(|address| address.parse().ok());
            let Some(admin) = admin else { continue };
            ready::serves(admin, "/readyz", None, SERVE)
                .await
                .map_err(|last| {
                    Failure::failed(format!(
                        "{id} was started but does not serve yet: {last}; look into {}",
                        folder.log(id).display()
                    ))
                })?;
        }
        Ok(Exit::Done)
    })
}
