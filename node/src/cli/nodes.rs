//! `meridian drain`, `undrain` and `remove`: nodes taken out, put back and forgotten.

use http::Method;

use super::{
    client::{Client, encoded},
    outcome::{Exit, Failure},
    terminal::Terminal,
};
use crate::admin::body::Marked;

/// Takes a node out gracefully.
pub(super) async fn drain(
    node: &str,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let path = format!("/api/v1/nodes/{}/drain", encoded(node));
    let marked: Marked = client.act(Method::POST, &path).await?;
    terminal.value(&marked, |marked| format!("{} is drained\n", marked.node));
    terminal.say(&format!(
        "it takes no new work from now on and stays a member; what runs there ends within 30 s (LOAD in `meridian status`); `meridian undrain {node}` puts it back"
    ));
    Ok(Exit::Done)
}

/// Puts a drained node back.
pub(super) async fn undrain(
    node: &str,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let path = format!("/api/v1/nodes/{}/undrain", encoded(node));
    let marked: Marked = client.act(Method::POST, &path).await?;
    terminal.value(&marked, |marked| {
        format!("{} takes work again\n", marked.node)
    });
    Ok(Exit::Done)
}

/// Forgets a dead or drained node.
pub(super) async fn remove(
    node: &str,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let path = format!("/api/v1/nodes/{}", encoded(node));
    let marked: Marked = client.act(Method::DELETE, &path).await?;
    terminal.value(&marked, |marked| format!("{} is removed\n", marked.node));
    terminal.say(&format!(
        "its process ends if it still runs, and another node takes its vote; to take {node} in again, empty its data_dir and start it"
    ));
    Ok(Exit::Done)
}
