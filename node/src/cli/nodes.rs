//! `meridian drain`, `undrain` and `remove`: nodes taken out, put back and forgotten.

use std::fmt::Write as _;

use http::Method;

use super::{
    client::Client,
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

/// A node's id as one part of a path (RFC 3986 section 2.3).
fn encoded(node: &str) -> String {
    node.bytes().fold(String::new(), |mut path, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            write!(path, "%{byte:02X}").expect("writing to a string does not fail");
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_never_leaves_its_part_of_the_path() {
        assert_eq!(encoded("eu-west-1"), "eu-west-1");
        assert_eq!(encoded("../a b/?"), "..%2Fa%20b%2F%3F");
    }
}
