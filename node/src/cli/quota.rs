//! `meridian quota`: a tenant's limits, and those that operators set in place of its plan's.

use clap::{Args, Subcommand};
use http::Method;
use meridian_config::units;

use super::{
    client::{Client, encoded},
    inventory::limit_text,
    outcome::{Exit, Failure},
    terminal::{Terminal, columns},
};
use crate::admin::body::{Quota, QuotaChanged, SetLimits, WantedLimit, WantedQuota};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct QuotaArgs {
    /// The tenant's name
    #[arg(required = true)]
    tenant: Option<String>,
    #[command(subcommand)]
    command: Option<QuotaCommand>,
}

#[derive(Debug, Subcommand)]
enum QuotaCommand {
    /// Set limits in place of the plan's, everywhere, without a change of the document
    Set(SetArgs),
    /// Give the tenant its plan's limits back
    Clear {
        /// The tenant's name
        tenant: String,
    },
}

#[derive(Debug, Args)]
struct SetArgs {
    /// The tenant's name
    tenant: String,
    /// Limits as in a plan, all of them: 5000/hour, or '{ rate: 100/second, window: fixed }'
    #[arg(required = true, value_name = "LIMIT")]
    limits: Vec<String>,
    /// For how long, for example 2h; the plan's limits hold again afterwards [default: until cleared]
    #[arg(long = "for", value_name = "TIME", value_parser = lasting, allow_hyphen_values = true)]
    lasting: Option<String>,
    /// Why; the audit keeps it
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// A time that limits are set for, as the API takes it.
fn lasting(text: &str) -> Result<String, String> {
    match units::duration(text)?.is_zero() {
        true => Err(
            "it is over at once; leave it out to set the limits until they are cleared".to_owned(),
        ),
        false => Ok(text.to_owned()),
    }
}

pub(super) async fn quota(
    args: QuotaArgs,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let path = |tenant: &str| format!("/api/v1/tenants/{}/quota", encoded(tenant));
    match (args.command, args.tenant) {
        (Some(QuotaCommand::Set(set)), _) => {
            let wanted = WantedQuota {
                limits: set.limits.into_iter().map(WantedLimit::Text).collect(),
                lasting: set.lasting,
                reason: set.reason,
            };
            let changed: QuotaChanged = client.replace(&path(&set.tenant), &wanted).await?;
            terminal.value(&changed, |changed| match &changed.expires {
                Some(expires) => format!(
                    "{} has these limits in place of its plan's until {expires}\n",
                    changed.tenant
                ),
                None => format!(
                    "{} has these limits in place of its plan's\n",
                    changed.tenant
                ),
            });
            if changed.expires.is_none() {
                terminal.say(&format!(
                    "`meridian quota clear {}` gives it its plan's back",
                    changed.tenant
                ));
            }
            Ok(Exit::Done)
        }
        (Some(QuotaCommand::Clear { tenant }), _) => {
            let changed: QuotaChanged = client.act(Method::DELETE, &path(&tenant)).await?;
            terminal.value(&changed, |changed| {
                format!("{} has its plan's limits\n", changed.tenant)
            });
            Ok(Exit::Done)
        }
        (None, tenant) => {
            let quota: Quota = client.get(&path(&tenant.unwrap_or_default())).await?;
            if quota.stale {
                terminal.warn("this node sees no quorum; newer limits may have been set");
            }
            terminal.value(&quota, page);
            Ok(Exit::Done)
        }
    }
}

fn page(quota: &Quota) -> String {
    let pair = |name: &str, value: String| vec![format!("{name}:"), value];
    let plan = quota.plan.clone().unwrap_or_else(|| "none".to_owned());
    let mut rows = vec![
        pair("Tenant", quota.tenant.clone()),
        pair("Plan", plan),
        pair(
            "Set",
            quota.set.as_ref().map_or_else(|| "no".to_owned(), set_text),
        ),
        pair(
            "As of",
            quota.as_of.map_or_else(
                || "not known: this node has not read the log to its end yet".to_owned(),
                |index| format!("entry {index}"),
            ),
        ),
    ];
    if let Some(reason) = quota.set.as_ref().map(|set| &set.reason)
        && !reason.is_empty()
    {
        rows.push(pair("Reason", reason.clone()));
    }
    let mut text = columns(&rows);
    if quota.limits.is_empty() {
        text.push_str("\nIt has no limits of its own.\n");
        text.push_str(&stand(quota));
        return text;
    }
    let head = ["LIMIT", "RATE", "PER", "WHEN EMPTY", "PRIORITY", "SHADOW"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(quota.limits.iter().map(|limit| {
        vec![
            limit.id.clone(),
            limit_text(limit),
            limit.per.clone(),
            limit.on_empty.clone(),
            limit.priority.to_string(),
            if limit.shadow { "yes" } else { "no" }.to_owned(),
        ]
    }));
    text.push('\n');
    text.push_str(&columns(&rows));
    text.push_str(&stand(quota));
    text
}

/// How the limits stand over all nodes.
fn stand(quota: &Quota) -> String {
    if quota.stand.is_empty() {
        return String::new();
    }
    let head = [
        "LIMIT",
        "USED",
        "OF",
        "USED IN",
        "FREE HERE",
        "POOL",
        "BASE",
        "COOLING",
        "MAY PASS BY",
        "HELD BY",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    for one in &quota.stand {
        let holders: Vec<String> = one
            .holders
            .iter()
            .map(|holder| format!("{} {:+}", holder.node, holder.extra))
            .collect();
        let used_in = one.used_in.iter();
        let used_in: Vec<String> = used_in
            .map(|(region, used)| format!("{region} {used}"))
            .collect();
        rows.push(vec![
            one.id.clone(),
            one.used.to_string(),
            one.limit.to_string(),
            or_none((!used_in.is_empty()).then(|| used_in.join(", "))),
            one.free_here.to_string(),
            or_none(one.pool.map(|pool| pool.to_string())),
            or_none(one.base.map(|base| base.to_string())),
            or_none(one.cooling.map(|cooling| cooling.to_string())),
            one.overshoot.to_string(),
            or_none((!holders.is_empty()).then(|| holders.join(", "))),
        ]);
    }
    let mut text = format!("\n{}", columns(&rows));
    if !quota.ledger_answered {
        text.push_str(
            "\nThe ledger's leader did not answer: this is what the node knows by itself.\n",
        );
    }
    for one in quota.stand.iter().filter(|one| one.settling > 0) {
        text.push_str(&format!(
            "\n{} settles: {} tokens have still to come back before it holds. It was lowered, or a node that had lent its share has started again.\n",
            one.id, one.settling
        ));
    }
    for before in quota.before.iter().filter(|before| before.counts) {
        text.push_str(&format!(
            "\n{} was {}: requests pay that too until {}.\n",
            before.limit.id,
            limit_text(&before.limit),
            before.until
        ));
    }
    text.push_str(&bound(quota));
    text
}

/// By how much windows may pass their limits, and what that is made of.
fn bound(quota: &Quota) -> String {
    let mut text = String::new();
    for one in quota.stand.iter().filter(|one| one.overshoot > 0) {
        let starts = one.overshoot_of.iter().map(|part| {
            let times = if part.starts == 1 { "start" } else { "starts" };
            format!(
                "{} by {} {times} of {} without a quorum",
                part.tokens, part.starts, part.node
            )
        });
        let before = quota
            .before
            .iter()
            .filter(|before| !before.counts && before.limit.id == one.id);
        let before = before.map(|before| {
            format!(
                "{} by what it was until it was raised, {}, until {}",
                before.limit.amount,
                limit_text(&before.limit),
                before.until
            )
        });
        let parts: Vec<String> = starts.chain(before).collect();
        let made = match parts.is_empty() {
            true => "the cluster has no ledger yet, and each node admits all of it".to_owned(),
            false => parts.join(", "),
        };
        text.push_str(&format!(
            "\nA window of {} may pass it by {}: {made}.\n",
            one.id, one.overshoot
        ));
    }
    let settles = quota.stand.iter().any(|one| one.settling > 0);
    if text.is_empty() && quota.unheard.is_empty() && !settles {
        text.push_str("\nNo window that begins now passes its limit.\n");
    }
    if !quota.unheard.is_empty() {
        text.push_str(&format!(
            "\nNot in reach: {}. A window may pass its limit by the base share of each of them for each of its starts without a quorum{}.\n",
            quota.unheard.join(", "),
            if text.is_empty() { ", and by nothing else" } else { " too" }
        ));
    }
    text
}

/// Who set the limits, and until when.
pub(super) fn set_text(set: &SetLimits) -> String {
    match &set.expires {
        Some(expires) => format!("by {} at {}, until {expires}", set.by, set.since),
        None => format!("by {} at {}, until cleared", set.by, set.since),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: QuotaArgs,
    }

    fn line(text: &str) -> Result<QuotaArgs, clap::Error> {
        Line::try_parse_from(text.split(' ')).map(|line| line.args)
    }

    #[test]
    fn a_tenant_is_shown_set_or_cleared() {
        let shown = line("quota acme").unwrap();
        assert_eq!(shown.tenant.as_deref(), Some("acme"));
        let Some(QuotaCommand::Set(set)) =
            line("quota set acme 5000/hour 90/second --for 2h --reason launch")
                .unwrap()
                .command
        else {
            panic!("not set");
        };
        assert_eq!(set.limits, ["5000/hour", "90/second"]);
        assert_eq!(
            (set.lasting.as_deref(), set.reason.as_str()),
            (Some("2h"), "launch")
        );
        let cleared = line("quota clear acme").unwrap();
        assert!(
            matches!(cleared.command, Some(QuotaCommand::Clear { tenant }) if tenant == "acme")
        );
        for wrong in [
            "quota",
            "quota set acme",
            "quota clear",
            "quota acme 5/hour",
        ] {
            assert!(line(wrong).is_err(), "{wrong}");
        }
        for (time, why) in [
            ("-1h", "does not begin with a whole number"),
            ("1y", "years are not used here; write \"8760h\""),
            ("0s", "it is over at once"),
        ] {
            let set = line(&format!(
                "quota set acme 5/hour --for {time} --reason launch"
            ));
            let told = set.unwrap_err().to_string();
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn the_bound_says_what_it_is_made_of() {
        let stand = |overshoot: u64, overshoot_of: serde_json::Value| {
            serde_json::json!({
                "id": "tenant-hour", "limit": 1000, "used": 3, "free_here": 5, "pool": 700, "base": 300,
                "cooling": 0, "holders": [], "regions": {},
                "overshoot": overshoot, "overshoot_of": overshoot_of,
            })
        };
        let told = |stand: serde_json::Value, unheard: &[&str]| {
            let quota = serde_json::json!({
                "stale": false, "revision": 1, "tenant": "acme", "plan": "p", "limits": [], "set": null,
                "stand": [stand], "ledger_answered": true, "unheard": unheard,
            });
            bound(&serde_json::from_value(quota).unwrap())
        };
        let none = serde_json::json!([]);
        assert_eq!(
            told(stand(0, none.clone()), &[]),
            "\nNo window that begins now passes its limit.\n"
        );
        let of = serde_json::json!([{ "node": "a", "starts": 2, "tokens": 200 }]);
        assert_eq!(
            told(stand(200, of), &[]),
            "\nA window of tenant-hour may pass it by 200: 200 by 2 starts of a without a quorum.\n"
        );
        assert!(told(stand(2000, none.clone()), &[]).contains("has no ledger yet"));
        let raised = serde_json::json!({
            "stale": false, "revision": 1, "tenant": "acme", "plan": "p", "limits": [], "set": null,
            "stand": [stand(60, none.clone())], "ledger_answered": true, "unheard": [],
            "before": [{ "until": "2026-11-28T09:00:00Z", "counts": false, "limit": {
                "id": "tenant-hour", "amount": 60, "window_s": 3600.0, "window": "sliding", "per": "tenant",
                "on_empty": "deny", "on_lapse": "base", "priority": 50, "shadow": false,
            } }],
        });
        assert_eq!(
            bound(&serde_json::from_value(raised).unwrap()),
            "\nA window of tenant-hour may pass it by 60: 60 by what it was until it was raised, 60/hour, until 2026-11-28T09:00:00Z.\n"
        );
        let mut settling = stand(0, none.clone());
        settling["settling"] = 6.into();
        assert_eq!(
            told(settling, &[]),
            "",
            "the page says what has to come back"
        );
        let unheard = told(stand(0, none), &["b"]);
        assert!(unheard.contains("Not in reach: b.") && unheard.contains("nothing else"));
    }
}
