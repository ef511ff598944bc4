//! `meridian admin token`: a new token, shown once.

use clap::Subcommand;
use serde::Serialize;

use super::{
    outcome::{Exit, Failure},
    outside,
    terminal::{Format, Terminal},
};
use crate::admin::{AdminToken, Role, entry};

#[derive(Debug, Subcommand)]
pub(super) enum AdminCommand {
    /// Make a new admin token: prints it once, and the entry for the token file
    Token {
        /// Whose it is; the author of what it changes
        #[arg(long)]
        name: String,
        /// What it may do
        #[arg(long, value_enum)]
        role: Role,
    },
}

#[derive(Serialize)]
struct Made<'a> {
    token: &'a str,
    entry: Entry<'a>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    role: Role,
    hash: String,
}

pub(super) fn run(command: &AdminCommand, terminal: &Terminal) -> Result<Exit, Failure> {
    let AdminCommand::Token { name, role } = command;
    if name.trim().is_empty() {
        return Err(Failure::invalid(
            "--name is empty; give the name of the person or program that will use the token",
        ));
    }
    let token = AdminToken::new(outside::entropy());
    if terminal.format() == Format::Table {
        terminal.say("The token, shown this once; keep it secret:");
        terminal.data(token.reveal());
        terminal.say("Add this line to the token file (admin.tokens in node.yaml) of every node:");
        terminal.data(&entry(name, *role, &token));
    } else {
        let made = Made {
            token: token.reveal(),
            entry: Entry {
                name,
                role: *role,
                hash: token.hash(),
            },
        };
        terminal.value(&made, |_| String::new());
    }
    Ok(Exit::Done)
}
