//! When a dev cluster is ready: every node answers a real request with the applied document.
//!
//! In: addresses and tokens. Out: nothing, once all is well; or what was wrong last.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use meridian_config::diagnose::Source;
use tokio::time::{Instant, sleep, timeout};

use super::plan::Plan;
use crate::{
    admin::body::{Applied, Config, Status, Wanted},
    cli::{
        address::Address,
        client::{self, Client},
        outcome::Failure,
        outside,
    },
};

/// Longest wait for a cluster to come up: far above the few seconds it takes, so that a slow machine is
/// not given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(25);

/// What was found and done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Document {
    /// The demo document is a new revision.
    Applied(u64),
    /// The cluster holds a document, and keeps it.
    Kept(u64),
}

/// Waits for a quorum and gives the cluster its document where it has none, or where `replace` says that
/// the one it has cannot serve any more.
pub(crate) async fn give_document(
    plan: &Plan,
    token: &str,
    text: &str,
    replace: bool,
) -> Result<Document, Failure> {
    let urls: Vec<String> = plan
        .nodes
        .iter()
        .map(|node| format!("http://{}", node.admin))
        .collect();
    let client = Client::with(&urls, Some(token.to_owned()), &Address::default())?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let failure = match try_give(&client, text, replace).await {
            Ok(Some(document)) => return Ok(document),
            Ok(None) => Failure::unreachable("the cluster has no leader"),
            Err(failure) => failure,
        };
        if Instant::now() >= deadline {
            return Err(late(&failure.message));
        }
        sleep(PAUSE).await;
    }
}

async fn try_give(client: &Client, text: &str, replace: bool) -> Result<Option<Document>, Failure> {
    let status: Status = client.get("/api/v1/status").await?;
    if status.group.leader.is_none() || !status.group.quorum {
        return Ok(None);
    }
    let current: Option<Config> = client.find("/api/v1/config").await?;
    let current_number = current
        .as_ref()
        .map_or(0, |config| config.revision.revision);
    let same = current
        .as_ref()
        .is_some_and(|config| config.files.iter().any(|file| file.text == text));
    if current.is_some() && (same || !replace) {
        return Ok(Some(Document::Kept(current_number)));
    }
    let wanted = Wanted {
        files: vec![Source {
            name: "gateway.yaml".into(),
            text: text.to_owned(),
        }],
        message: "the demo document".into(),
    };
    let applied: Applied = client
        .put("/api/v1/config", &format!("\"{current_number}\""), &wanted)
        .await?;
    Ok(Some(Document::Applied(applied.revision)))
}

/// Waits until every node serves: a real request at its edge where the document is the demo's, else its
/// own word.
pub(crate) async fn all_serve(plan: &Plan, access_token: Option<&str>) -> Result<(), Failure> {
    for node in &plan.nodes {
        let (address, path) = if access_token.is_some() {
            (node.http, "/v1/plants")
        } else {
            (node.admin, "/readyz")
        };
        serves(address, path, access_token, PATIENCE)
            .await
            .map_err(|last| late(&format!("node {}: {last}", node.id)))?;
    }
    Ok(())
}

/// Waits until an address answers 200; else says what it answered last.
pub(crate) async fn serves(
    address: SocketAddr,
    path: &str,
    token: Option<&str>,
    patience: Duration,
) -> Result<(), String> {
    let deadline = Instant::now() + patience;
    loop {
        let last = match timeout(Duration::from_secs(2), ask(address, path, token)).await {
            Ok(Ok(200)) => return Ok(()),
            Ok(Ok(status)) => format!("http://{address}{path} answers {status}"),
            Ok(Err(error)) => format!("http://{address}{path}: {error}"),
            Err(_) => format!("http://{address}{path} does not answer"),
        };
        if Instant::now() >= deadline {
            return Err(last);
        }
        sleep(PAUSE).await;
    }
}

async fn ask(address: SocketAddr, path: &str, token: Option<&str>) -> Result<u16, String> {
    let stream = outside::connect(&address.ip().to_string(), address.port())
        .await
        .map_err(|error| error.to_string())?;
    let mut request = Request::get(path).header(header::HOST, address.to_string());
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request
        .body(Full::<Bytes>::default())
        .map_err(|error| error.to_string())?;
    let (status, _) = client::exchange(Box::new(stream), request).await?;
    Ok(status.as_u16())
}

fn late(last: &str) -> Failure {
    Failure::failed(format!(
        "the cluster is not ready after {} s: {last}; look into its logs",
        PATIENCE.as_secs()
    ))
}
