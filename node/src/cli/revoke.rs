//! `meridian revoke` and `meridian revocations`: tokens stopped before their expiry.

use std::time::Duration;

use clap::{ArgGroup, Args};
use http::Method;
use meridian_config::units;

use super::{
    client::{Client, encoded},
    outcome::{Exit, Failure},
    outside,
    receipt::{self, ListArgs, MoreArgs},
    terminal::{Terminal, columns},
};
use crate::admin::{
    body::{Receipt, Revocations, WantedRevocation},
    moment,
};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["token_id", "subject", "tenant", "undo"]))]
pub(super) struct RevokeArgs {
    /// The token with this `jti`
    #[arg(long, value_name = "JTI")]
    token_id: Option<String>,
    /// The tokens with this `sub`
    #[arg(long, value_name = "S")]
    subject: Option<String>,
    /// With --subject: of this issuer of the document only
    #[arg(long, value_name = "I", requires = "subject", conflicts_with_all = ["token_id", "tenant", "undo"])]
    issuer: Option<String>,
    /// The tokens of this tenant, by name or alias
    #[arg(long, value_name = "T", requires = "issued_before")]
    tenant: Option<String>,
    /// With --tenant or --subject: only tokens issued before, `now` or 2026-05-28T20:26:40Z; those without `iat` too
    #[arg(long, value_name = "TIME", value_parser = before, conflicts_with_all = ["token_id", "undo"])]
    issued_before: Option<String>,
    /// Take the revocation of this id back; `meridian revocations` shows ids
    #[arg(long, value_name = "ID")]
    undo: Option<String>,
    /// Until when it is in force, 2026-05-28T20:26:40Z or from now on, 48h; no later than the tokens' own expiry is enough [default: 30 days]
    #[arg(long, value_name = "TIME", value_parser = ahead, conflicts_with = "undo")]
    expires: Option<String>,
    #[command(flatten)]
    more: MoreArgs,
}

pub(super) async fn revoke(
    args: RevokeArgs,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    if let Some(id) = &args.undo {
        let path = args
            .more
            .removal(&format!("/api/v1/revocations/{}", encoded(id)));
        let made: Receipt = client.act(Method::DELETE, &path).await?;
        let title = format!("the revocation {} is taken back", made.what);
        return Ok(receipt::show(&made, &title, args.more.wait, terminal));
    }
    let wanted = WantedRevocation {
        token_id: args.token_id,
        subject: args.subject,
        issuer: args.issuer,
        tenant: args.tenant,
        issued_before: args.issued_before,
        expires: args.expires,
        reason: args.more.reason,
        wait: args.more.wait,
    };
    let made: Receipt = client.post("/api/v1/revocations", &wanted).await?;
    let title = format!("{} is revoked until {}", made.what, made.expires);
    Ok(receipt::show(&made, &title, wanted.wait, terminal))
}

pub(super) async fn list(
    list: &ListArgs,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let mut all: Revocations = client
        .get(&list.page("/api/v1/revocations", 0, None))
        .await?;
    while let Some(next) = all.next.take() {
        if all.revocations.len() >= list.limit {
            all.next = Some(next);
            break;
        }
        let path = list.page("/api/v1/revocations", all.revocations.len(), Some(&next));
        let page: Revocations = client.get(&path).await?;
        all.revocations.extend(page.revocations);
        all.next = page.next;
    }
    receipt::caution(all.stale, all.next.is_some(), list, terminal);
    terminal.value(&all, |all| {
        let rows = all.revocations.iter();
        let rows = rows.map(|one| receipt::row(&one.what, &one.origin));
        columns(&receipt::headed("TOKENS", rows))
    });
    Ok(Exit::Done)
}

/// `now`, or a moment.
fn before(text: &str) -> Result<String, String> {
    if text == "now" {
        return Ok(moment::text(milliseconds(outside::unix_time())));
    }
    moment::read(text).map(moment::text)
}

/// A moment, or how far ahead.
fn ahead(text: &str) -> Result<String, String> {
    match (moment::read(text), units::duration(text)) {
        (Ok(at), _) => Ok(moment::text(at)),
        (_, Ok(life)) => Ok(moment::text(milliseconds(outside::unix_time() + life))),
        (Err(no_moment), Err(no_duration)) => Err(if text.contains('-') {
            no_moment
        } else {
            no_duration
        }),
    }
}

fn milliseconds(at: Duration) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: RevokeArgs,
    }

    #[test]
    fn a_line_names_one_thing_and_what_belongs_to_it() {
        for good in [
            "x --token-id t",
            "x --subject ann --issuer auth0",
            "x --subject ann --issued-before now --expires 48h",
            "x --tenant acme --issued-before 2026-05-28T20:26:40Z --wait quorum",
            "x --undo 00000000000000000000000000000001 --reason mistake",
        ] {
            assert!(Line::try_parse_from(good.split(' ')).is_ok(), "{good}");
        }
        for bad in [
            "x",
            "x --token-id t --subject ann",
            "x --token-id t --issued-before now",
            "x --issuer auth0 --token-id t",
            "x --tenant acme",
            "x --tenant acme --issued-before yesterday",
            "x --token-id t --expires 2d",
            "x --undo 01 --expires 48h",
        ] {
            assert!(Line::try_parse_from(bad.split(' ')).is_err(), "{bad}");
        }
    }
}
