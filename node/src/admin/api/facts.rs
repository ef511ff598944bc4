//! Blocks and revocations: what operators stop at once, everywhere, with or without a quorum.
//!
//! A removal takes back what was made, and is one of the same kind: it has its own receipt.

use std::{net::IpAddr, time::Duration};

use futures_util::future::join_all;
use ipnet::IpNet;
use meridian_cluster::{
    facts::{Claim, Fact, FactId, Listed, PublishError, Revocation, Wait, Wanted},
    host::BoxFuture,
};
use meridian_config::{document::network, name::TenantId, units};

use super::{
    Asked, Desk, receipt, reply,
    table::{Answer, Content, Handler, Produced, Query, Resource, Verb, shape},
};
use crate::{
    admin::{
        access::Deed,
        body::{self, Waiting},
        fault::Fault,
        moment,
    },
    revision::Compiled,
};

pub(super) const RESOURCES: &[Resource] = &[
    Resource {
        query: PAGE,
        ..Resource::get(
            "/api/v1/blocks",
            "The blocks in force, newest first",
            shape::<body::Blocks>,
            Handler::Now(blocks),
        )
    },
    Resource {
        takes: Some(Content::json(LARGEST, shape::<body::WantedBlock>)),
        ..act(
            Verb::Post,
            "/api/v1/blocks",
            "Turns away clients with these addresses, everywhere, at once",
            block,
        )
    },
    Resource {
        query: REMOVAL,
        ..act(
            Verb::Delete,
            "/api/v1/blocks/{cidr}",
            "Takes back every block of exactly these addresses",
            unblock,
        )
    },
    Resource {
        query: PAGE,
        ..Resource::get(
            "/api/v1/revocations",
            "The revocations in force, newest first",
            shape::<body::Revocations>,
            Handler::Now(revocations),
        )
    },
    Resource {
        takes: Some(Content::json(LARGEST, shape::<body::WantedRevocation>)),
        ..act(
            Verb::Post,
            "/api/v1/revocations",
            "Stops tokens before their expiry, everywhere, at once",
            revoke,
        )
    },
    Resource {
        query: REMOVAL,
        ..act(
            Verb::Delete,
            "/api/v1/revocations/{id}",
            "Takes back a revocation",
            restore,
        )
    },
];

const fn act(
    verb: Verb,
    path: &'static str,
    summary: &'static str,
    handler: fn(Desk, Asked) -> BoxFuture<'static, Answer>,
) -> Resource {
    Resource {
        verb,
        path,
        deed: Deed::Secure,
        summary,
        query: &[],
        if_match: false,
        takes: None,
        gives: Produced::json(shape::<body::Receipt>),
        handler: Handler::Later(handler),
    }
}

const PAGE: &[Query] = &[
    Query {
        name: "limit",
        about: "At most so many; 100 where it does not say, 1000 at most",
        shape: shape::<u32>,
    },
    Query {
        name: "before",
        about: "Only those made before the one of this id: `next` of the page before",
        shape: shape::<String>,
    },
];

const REMOVAL: &[Query] = &[
    Query {
        name: "reason",
        about: "Why",
        shape: shape::<String>,
    },
    Query {
        name: "wait",
        about: "What to wait for, 5 s at most: `all`, `quorum` or `none`",
        shape: shape::<Waiting>,
    },
];

/// Every text has at most 512 bytes, which JSON may write as six times as many.
const LARGEST: usize = 32 * 1024;

/// Entries of a page where the query does not say.
const USUAL_PAGE: usize = 100;

/// Entries of a page at most: about 400 kB.
const LARGEST_PAGE: usize = 1000;

/// Blocks of one net that one request takes back. Nobody blocks a net more often by hand.
const REMOVED_AT_ONCE: usize = 256;

fn blocks(desk: &Desk, asked: &Asked) -> Answer {
    let (facts, next) = page(desk, asked, Listed::Blocks)?;
    let block = |(fact, durable): &Held| match fact.claim {
        Claim::Block(net) => Some(body::Block {
            cidr: net.to_string(),
            origin: origin(fact, *durable),
        }),
        Claim::Revoke(_) | Claim::Cancel(_) => None,
    };
    Ok(reply::json(&body::Blocks {
        stale: desk.stale(),
        blocks: facts.iter().filter_map(block).collect(),
        next,
    }))
}

fn revocations(desk: &Desk, asked: &Asked) -> Answer {
    let (facts, next) = page(desk, asked, Listed::Revocations)?;
    let revoked = |(fact, durable): &Held| match &fact.claim {
        Claim::Revoke(revocation) => Some(revoked(fact, revocation, *durable)),
        Claim::Block(_) | Claim::Cancel(_) => None,
    };
    Ok(reply::json(&body::Revocations {
        stale: desk.stale(),
        revocations: facts.iter().filter_map(revoked).collect(),
        next,
    }))
}

/// A fact, and whether a quorum has agreed on it.
type Held = (std::sync::Arc<Fact>, bool);

/// One page, and where the next one begins.
fn page(desk: &Desk, asked: &Asked, which: Listed) -> Result<(Vec<Held>, Option<String>), Fault> {
    let limit = match asked.query("limit") {
        None => USUAL_PAGE,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=LARGEST_PAGE).contains(limit))
            .ok_or_else(|| {
                Fault::Query(format!(
                    "limit is a number from 1 to {LARGEST_PAGE}, not {text}"
                ))
            })?,
    };
    let before = match asked.query("before") {
        None => None,
        Some(text) => Some(id(text).map_err(|wrong| Fault::Query(format!("before: {wrong}")))?),
    };
    // One more tells whether there is a next page.
    let mut facts = desk.node.facts(which, before, limit + 1);
    let more = facts.len() > limit;
    facts.truncate(limit);
    let last = facts.last().filter(|_| more);
    let next = last.map(|(fact, _)| fact.id.to_string());
    Ok((facts, next))
}

fn origin(fact: &Fact, durable: bool) -> body::Origin {
    body::Origin {
        id: fact.id.to_string(),
        expires: moment::text(fact.expires_ms),
        made: moment::text(fact.made_ms),
        by: fact.actor.name.clone(),
        node: fact.node.to_string(),
        reason: fact.reason.clone(),
        durable,
    }
}

fn revoked(fact: &Fact, revocation: &Revocation, durable: bool) -> body::Revoked {
    let seconds = |seconds: &u64| moment::text(seconds.saturating_mul(1000));
    let mut revoked = body::Revoked {
        what: fact.claim.to_string(),
        token_id: None,
        subject: None,
        issuer: None,
        tenant: None,
        issued_before: None,
        origin: origin(fact, durable),
    };
    match revocation {
        Revocation::TokenId(token) => revoked.token_id = Some(token.clone()),
        Revocation::Subject {
            subject,
            issuer,
            issued_before,
        } => {
            revoked.subject = Some(subject.clone());
            revoked.issuer = issuer.as_ref().map(ToString::to_string);
            revoked.issued_before = issued_before.as_ref().map(seconds);
        }
        Revocation::Tenant {
            tenant,
            issued_before,
        } => {
            revoked.tenant = Some(tenant.to_string());
            revoked.issued_before = Some(seconds(issued_before));
        }
    }
    revoked
}

fn block(desk: Desk, asked: Asked) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        let wanted: body::WantedBlock = asked.json()?;
        let net = net(&wanted.cidr).map_err(|wrong| Fault::Body(format!("cidr: {wrong}")))?;
        let ttl =
            units::duration(&wanted.ttl).map_err(|wrong| Fault::Body(format!("ttl: {wrong}")))?;
        publish(
            &desk,
            &asked,
            Wish {
                claim: Claim::Block(net),
                expires_ms: after(&desk, ttl),
                reason: wanted.reason,
                wait: wanted.wait,
                warnings: Vec::new(),
            },
        )
        .await
    })
}

fn revoke(desk: Desk, asked: Asked) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        let wanted: body::WantedRevocation = asked.json()?;
        let expires_ms = match &wanted.expires {
            Some(text) => {
                moment::read(text).map_err(|wrong| Fault::Body(format!("expires: {wrong}")))?
            }
            None => after(&desk, USUAL_LIFE),
        };
        let served = desk.node.served();
        let (revocation, warnings) = revocation(&wanted, served.as_deref()).map_err(Fault::Body)?;
        publish(
            &desk,
            &asked,
            Wish {
                claim: Claim::Revoke(revocation),
                expires_ms,
                reason: wanted.reason,
                wait: wanted.wait,
                warnings,
            },
        )
        .await
    })
}

/// Life of a revocation where nobody says: longer than tokens usually live.
const USUAL_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// A fact that is wished for.
struct Wish {
    claim: Claim,
    expires_ms: u64,
    reason: String,
    wait: Waiting,
    warnings: Vec<String>,
}

async fn publish(desk: &Desk, asked: &Asked, wish: Wish) -> Answer {
    let what = wish.claim.to_string();
    let wanted = Wanted {
        claim: wish.claim,
        expires_ms: wish.expires_ms,
        actor: asked.actor(),
        reason: wish.reason,
    };
    let made = desk.node.publish(wanted, wait(wish.wait)).await?;
    let receipt = receipt::of(&[made], what, wish.wait, wish.warnings);
    Ok(reply::json(&receipt))
}

fn unblock(desk: Desk, asked: Asked) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        let net =
            net(asked.parameter("cidr")).map_err(|wrong| Fault::Query(format!("cidr: {wrong}")))?;
        let mut facts = desk.node.blocks_on(net);
        let mut warnings = Vec::new();
        if let Some(more) = facts
            .len()
            .checked_sub(REMOVED_AT_ONCE)
            .filter(|more| *more > 0)
        {
            facts.truncate(REMOVED_AT_ONCE);
            warnings.push(format!("{more} more blocks of {net} are in force: repeat"));
        }
        if facts.is_empty() {
            return Err(Fault::NoSuchBlock(net.to_string()));
        }
        let ids = facts.iter().map(|fact| fact.id);
        cancel(&desk, &asked, ids, net.to_string(), warnings).await
    })
}

fn restore(desk: Desk, asked: Asked) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        let id = id(asked.parameter("id")).map_err(|wrong| Fault::Query(format!("id: {wrong}")))?;
        cancel(&desk, &asked, [id].into_iter(), id.to_string(), Vec::new()).await
    })
}

/// Takes facts back; one that another operator has just taken back is no mistake unless it is the only one.
async fn cancel(
    desk: &Desk,
    asked: &Asked,
    ids: impl Iterator<Item = FactId>,
    what: String,
    warnings: Vec<String>,
) -> Answer {
    let waiting = match asked.query("wait") {
        None | Some("all") => Waiting::All,
        Some("quorum") => Waiting::Quorum,
        Some("none") => Waiting::None,
        Some(other) => {
            return Err(Fault::Query(format!(
                "wait is all, quorum or none, not {other}"
            )));
        }
    };
    let reason = asked.query("reason").unwrap_or_default();
    let cancelling = ids.map(|id| {
        let (actor, reason) = (asked.actor(), reason.to_owned());
        desk.node.cancel(id, actor, reason, wait(waiting))
    });
    let mut receipts = Vec::new();
    let mut failure = None;
    for outcome in join_all(cancelling).await {
        match outcome {
            Ok(receipt) => receipts.push(receipt),
            Err(gone @ PublishError::NotHeld(_)) => failure = failure.or(Some(gone)),
            Err(other) => return Err(other.into()),
        }
    }
    match failure {
        Some(failure) if receipts.is_empty() => Err(failure.into()),
        _ => Ok(reply::json(&receipt::of(
            &receipts, what, waiting, warnings,
        ))),
    }
}

fn wait(waiting: Waiting) -> Wait {
    match waiting {
        Waiting::All => Wait::All,
        Waiting::Quorum => Wait::Quorum,
        Waiting::None => Wait::None,
    }
}

fn id(text: &str) -> Result<FactId, String> {
    text.parse()
        .map_err(|wrong: meridian_cluster::facts::NoFactId| format!("{wrong}, not {text:?}"))
}

fn after(desk: &Desk, life: Duration) -> u64 {
    let at = desk.host.unix_time().saturating_add(life);
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}

/// Addresses as an operator writes them: a net, or one address.
fn net(text: &str) -> Result<IpNet, String> {
    let net = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => network(text)?,
    };
    let net = match net {
        IpNet::V6(six) => match (
            six.addr().to_ipv4_mapped(),
            six.prefix_len().checked_sub(96),
        ) {
            // Clients' addresses are looked at in their short form.
            (Some(four), Some(length)) => ipnet::Ipv4Net::new(four, length).map_or(net, IpNet::V4),
            _ => net,
        },
        IpNet::V4(_) => net,
    };
    if net.prefix_len() == 0 {
        return Err(format!(
            "{net} is every client there is; to stop all traffic, apply a document without routes"
        ));
    }
    Ok(net)
}

/// Which tokens are meant, and what looks like a mistake.
fn revocation(
    wanted: &body::WantedRevocation,
    served: Option<&Compiled>,
) -> Result<(Revocation, Vec<String>), String> {
    let issued_before = match &wanted.issued_before {
        Some(text) => {
            let at = moment::read(text).map_err(|wrong| format!("issued_before: {wrong}"))?;
            // Tokens say whole seconds: one of the same second may have come before.
            Some(at.div_ceil(1000))
        }
        None => None,
    };
    let mut warnings = Vec::new();
    let revocation = match (&wanted.token_id, &wanted.subject, &wanted.tenant) {
        (Some(token), None, None) if wanted.issuer.is_none() && issued_before.is_none() => {
            Revocation::TokenId(token.clone())
        }
        (None, Some(subject), None) => {
            if let (Some(issuer), Some(served)) = (&wanted.issuer, served)
                && !served.document.issuers.contains_key(issuer.as_str())
            {
                warnings.push(format!(
                    "revision {} has no issuer {issuer}: this stops no token now",
                    served.number
                ));
            }
            Revocation::Subject {
                subject: subject.clone(),
                issuer: wanted.issuer.as_deref().map(Into::into),
                issued_before,
            }
        }
        (None, None, Some(tenant)) if wanted.issuer.is_none() => Revocation::Tenant {
            tenant: resolved(tenant, served, &mut warnings),
            issued_before: issued_before.ok_or(
                "tenant: say with issued_before up to when its tokens were issued, so that it can sign in anew",
            )?,
        },
        _ => {
            return Err(
                "name one of token_id, subject (with issuer and issued_before, if you like) and tenant (with issued_before)"
                    .to_owned(),
            );
        }
    };
    Ok((revocation, warnings))
}

/// The tenant of this name or alias.
fn resolved(name: &str, served: Option<&Compiled>, warnings: &mut Vec<String>) -> TenantId {
    let Some(served) = served else {
        return name.into();
    };
    let tenants = &served.document.tenants;
    if !tenants.contains_key(name) {
        let alias = |tenant: &&TenantId| tenants[*tenant].aliases.iter().any(|alias| alias == name);
        if let Some(tenant) = tenants.keys().find(alias) {
            return tenant.clone();
        }
        warnings.push(format!(
            "revision {} has no tenant {name}: this stops no token now",
            served.number
        ));
    }
    name.into()
}

#[cfg(test)]
mod tests;
