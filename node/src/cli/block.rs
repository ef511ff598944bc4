//! `meridian block`: emergency blocks of addresses.

use clap::{Args, Subcommand};
use http::Method;

use super::{
    client::{Client, encoded},
    outcome::{Exit, Failure},
    receipt::{self, ListArgs, MoreArgs},
    terminal::{Terminal, columns},
};
use crate::admin::body::{Blocks, Receipt, WantedBlock, day};

#[derive(Debug, Subcommand)]
pub(super) enum BlockCommand {
    /// Turn away clients with these addresses
    Add(AddArgs),
    /// Let them in again: takes back every block of exactly these addresses
    Remove {
        /// The addresses, as `block list` shows them
        cidr: String,
        #[command(flatten)]
        more: MoreArgs,
    },
    /// The blocks in force
    List {
        #[command(flatten)]
        list: ListArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// Addresses: 203.0.113.0/24, 2001:db8::/48, or a single one
    cidr: String,
    /// For how long, for example 15m
    #[arg(long, value_name = "TIME", default_value_t = day())]
    ttl: String,
    #[command(flatten)]
    more: MoreArgs,
}

pub(super) async fn run(
    command: BlockCommand,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    match command {
        BlockCommand::Add(args) => {
            let wanted = WantedBlock {
                cidr: args.cidr,
                ttl: args.ttl,
                reason: args.more.reason,
                wait: args.more.wait,
            };
            let made: Receipt = client.post("/api/v1/blocks", &wanted).await?;
            let title = format!("{} is blocked until {}", made.what, made.expires);
            Ok(receipt::show(&made, &title, wanted.wait, terminal))
        }
        BlockCommand::Remove { cidr, more } => {
            let path = more.removal(&format!("/api/v1/blocks/{}", encoded(&cidr)));
            let made: Receipt = client.act(Method::DELETE, &path).await?;
            let title = format!("{} is blocked no more", made.what);
            Ok(receipt::show(&made, &title, more.wait, terminal))
        }
        BlockCommand::List { list } => show_all(&list, client, terminal).await,
    }
}

async fn show_all(list: &ListArgs, client: &Client, terminal: &Terminal) -> Result<Exit, Failure> {
    let mut all: Blocks = client.get(&list.page("/api/v1/blocks", 0, None)).await?;
    while let Some(next) = all.next.take() {
        if all.blocks.len() >= list.limit {
            all.next = Some(next);
            break;
        }
        let path = list.page("/api/v1/blocks", all.blocks.len(), Some(&next));
        let page: Blocks = client.get(&path).await?;
        all.blocks.extend(page.blocks);
        all.next = page.next;
    }
    receipt::caution(all.stale, all.next.is_some(), list, terminal);
    terminal.value(&all, |all| {
        let rows = all.blocks.iter();
        let rows = rows.map(|block| receipt::row(&block.cidr, &block.origin));
        columns(&receipt::headed("CIDR", rows))
    });
    Ok(Exit::Done)
}
