//! What the steps have found, in words.
//!
//! In: [`Findings`]. Out: an [`Explanation`]. A core: it decides nothing about the request.

use meridian_cluster::directory::Override;
use meridian_config::{
    document::Limit,
    units::{self, Rate},
};

use super::{
    Changed, Findings, Outcome,
    body::{Candidate, Ending, Explanation, Field, LimitUse, Sent, StepResult, Told, Verdict},
    hint::hints,
    near,
};
use crate::{
    admin::moment,
    ban::Bans,
    pipeline::decide::Step,
    problem::whole_seconds,
    revision::{CompiledRoute, Handling},
    upstream::{
        Destination, repeatable,
        survey::{self, Place, Spot, Survey},
    },
    worker::Worker,
};

/// Tells all of it.
pub(super) fn tell(findings: &Findings, worker: &Worker) -> Explanation {
    let subject = &findings.subject;
    let chosen = subject.chosen();
    let identity = subject.context.identity.as_deref();
    Explanation {
        node: worker.node.to_string(),
        region: worker.region.to_string(),
        revision: subject.compiled.as_ref().map(|compiled| compiled.number),
        verdict: verdict(findings),
        steps: steps(findings, &worker.bans),
        route: chosen.map(|chosen| chosen.route.name.to_string()),
        tenant: identity.map(|identity| identity.tenant.to_string()),
        limits: chosen.map_or_else(Vec::new, |chosen| limits(findings, chosen)),
        upstream: chosen
            .zip(findings.changed.as_ref())
            .and_then(|(chosen, changed)| {
                let Handling::Service { destination, .. } = &chosen.handling else {
                    return None;
                };
                Some(sent(findings, destination, changed))
            }),
        candidates: findings.survey.as_ref().map(candidates).unwrap_or_default(),
    }
}

fn verdict(findings: &Findings) -> Verdict {
    match &findings.outcome {
        Err(refusal) => Verdict {
            outcome: Ending::Refused,
            status: Some(refusal.status().as_u16()),
            problem: Some(format!("urn:meridian:problem:{}", refusal.name())),
            detail: refusal.to_string(),
            retry_after: refusal.retry_after().map(whole_seconds),
        },
        Ok(Outcome::Answer(status)) => Verdict {
            outcome: Ending::Answered,
            status: Some(*status),
            problem: None,
            detail: "the gateway answers it itself".to_owned(),
            retry_after: None,
        },
        Ok(Outcome::Sent) => Verdict {
            outcome: Ending::Forwarded,
            status: None,
            problem: None,
            detail: match findings.survey.as_ref().map(|survey| &survey.place) {
                Some(Ok(place)) => format!("it is sent to {}", place_text(place)),
                _ => "it is sent on".to_owned(),
            },
            retry_after: None,
        },
    }
}

fn place_text(place: &Place) -> String {
    match &place.spot {
        Spot::Endpoint(endpoint) => format!("the endpoint {endpoint} in {}", place.region),
        Spot::Peer(node) => {
            format!(
                "{node} in {}, which chooses an endpoint there",
                place.region
            )
        }
        Spot::Region => place.region.to_string(),
    }
}

/// Every step up to the last one that was come to.
fn steps(findings: &Findings, bans: &Bans) -> Vec<Told> {
    let mut told = Vec::new();
    for step in ORDER {
        if step > findings.subject.step {
            break;
        }
        let last = step == findings.subject.step;
        let refusal = findings.outcome.as_ref().err().filter(|_| last);
        let (skipped, says, mut facts) = tell_step(findings, step);
        let (result, says) = match refusal {
            Some(refusal) => {
                facts.extend(hints(findings, refusal, bans));
                (StepResult::Refuse, refusal.to_string())
            }
            None if skipped => (StepResult::Skip, says),
            None => (StepResult::Pass, says),
        };
        told.push(Told {
            step: name(step).to_owned(),
            result,
            says,
            facts,
        });
    }
    told
}

const ORDER: [Step; 9] = [
    Step::Guard,
    Step::Route,
    Step::Identity,
    Step::Access,
    Step::Residency,
    Step::Body,
    Step::Limit,
    Step::Transform,
    Step::Upstream,
];

fn name(step: Step) -> &'static str {
    match step {
        Step::Guard => "guard",
        Step::Route => "route",
        Step::Identity => "identity",
        Step::Access => "access",
        Step::Residency => "residency",
        Step::Body => "body",
        Step::Limit => "limit",
        Step::Transform => "transform",
        Step::Upstream => "upstream",
    }
}

/// Whether the step had nothing to do, what it came to, and what else is known.
fn tell_step(findings: &Findings, step: Step) -> (bool, String, Vec<String>) {
    let subject = &findings.subject;
    let Some(compiled) = &subject.compiled else {
        return (false, "well-formed".to_owned(), Vec::new());
    };
    let (host, path) = (&subject.host, subject.path());
    let misses = || {
        nearly(near::misses(
            &compiled.routes,
            subject.route,
            host,
            path,
            &subject.method,
        ))
    };
    let Some(chosen) = subject.chosen().filter(|_| step != Step::Guard) else {
        if step == Step::Route {
            return (false, String::new(), misses());
        }
        let from = subject.context.client_ip;
        let says = format!("well-formed; charged and logged as from {from}");
        return (false, says, vec![format!("host {host}, path {path}")]);
    };
    match step {
        Step::Guard | Step::Route => {
            let says = format!(
                "{} takes it by {}",
                chosen.route.name, chosen.route.matching.path
            );
            (false, says, misses())
        }
        Step::Identity | Step::Access | Step::Residency if chosen.route.exempt.auth => (
            true,
            "the route is exempt: nobody is asked who they are".to_owned(),
            Vec::new(),
        ),
        Step::Identity => identity(findings),
        Step::Access => access(chosen),
        Step::Residency => residency(findings, chosen),
        Step::Body => {
            let limit = units::size_text(chosen.route.request.max_body);
            (false, format!("within the route's {limit}"), Vec::new())
        }
        Step::Limit => limit(findings, chosen),
        Step::Transform => match &chosen.handling {
            Handling::Respond { status, .. } => (
                false,
                format!("the document says to answer {status}"),
                Vec::new(),
            ),
            Handling::Service { .. } => transform(findings),
        },
        Step::Upstream => match &chosen.handling {
            Handling::Respond { .. } => (true, "none is asked".to_owned(), Vec::new()),
            Handling::Service { destination, .. } => upstream(findings, destination),
        },
    }
}

fn nearly(misses: Vec<String>) -> Vec<String> {
    misses
        .into_iter()
        .map(|line| format!("nearly: {line}"))
        .collect()
}

fn identity(findings: &Findings) -> (bool, String, Vec<String>) {
    let Some(identity) = findings.subject.context.identity.as_deref() else {
        return (false, String::new(), Vec::new());
    };
    let words = |words: &[String]| match words {
        [] => "none".to_owned(),
        words => words.join(" "),
    };
    let says = format!(
        "a good token of {} for tenant {}",
        identity.issuer, identity.tenant
    );
    let mut facts = vec![
        format!("scopes: {}", words(&identity.scopes)),
        format!("roles: {}", words(&identity.roles)),
    ];
    if !identity.subject.is_empty() {
        facts.insert(0, format!("subject: {}", clipped(&identity.subject)));
    }
    (false, says, facts)
}

fn access(chosen: &CompiledRoute) -> (bool, String, Vec<String>) {
    let access = &chosen.route.access;
    if access.scopes.is_empty() && access.roles.is_empty() {
        let says = "the route asks for no scope and no role".to_owned();
        return (true, says, Vec::new());
    }
    let mut facts = Vec::new();
    if !access.scopes.is_empty() {
        facts.push(format!("scopes needed: {}", access.scopes.join(" ")));
    }
    if !access.roles.is_empty() {
        facts.push(format!("one role needed of: {}", access.roles.join(" ")));
    }
    (
        false,
        "the token holds what the route asks for".to_owned(),
        facts,
    )
}

fn residency(findings: &Findings, chosen: &CompiledRoute) -> (bool, String, Vec<String>) {
    let identity = findings.subject.context.identity.as_deref();
    let zones = identity.map_or(&[][..], |identity| &identity.zones);
    let list = |zones: &[meridian_config::name::Zone]| {
        let names: Vec<_> = zones.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    match &chosen.handling {
        Handling::Service { zones: places, .. } if !zones.is_empty() => {
            let facts = vec![format!(
                "the service has endpoints in the zones {}",
                list(places)
            )];
            (
                false,
                format!("may be served in the zones {}", list(zones)),
                facts,
            )
        }
        _ => (
            true,
            "the tenant may be served anywhere".to_owned(),
            Vec::new(),
        ),
    }
}

fn limit(findings: &Findings, chosen: &CompiledRoute) -> (bool, String, Vec<String>) {
    let subject = &findings.subject;
    if let Some(why) = subject.exempted(chosen) {
        return (true, format!("{why}: no limit is charged"), Vec::new());
    }
    let payer = match &subject.context.identity {
        Some(identity) => format!("tenant {}", identity.tenant),
        None => format!("client {}", subject.context.client_ip),
    };
    let shadows: Vec<_> = apply(findings, chosen)
        .filter(|limit| limit.shadow)
        .map(|limit| {
            let rate = Rate {
                amount: limit.amount,
                span: limit.span,
            };
            format!(
                "{}: {rate} is a shadow limit: counted, and refuses nobody",
                limit.id
            )
        })
        .collect();
    let set = set(findings).map(|set| {
        let until = set
            .expires_ms
            .map_or_else(|| "it is cleared".to_owned(), moment::text);
        let reason = match set.reason.is_empty() {
            true => String::new(),
            false => format!(": {}", set.reason),
        };
        format!(
            "{} set the tenant's limits in place of its plan's, until {until}{reason}",
            set.by
        )
    });
    if subject.states.is_empty() {
        let says = match shadows.is_empty() {
            true => format!("no limit applies to {payer}"),
            false => format!("no limit may refuse {payer}"),
        };
        return (true, says, shadows.into_iter().chain(set).collect());
    }
    let mut facts: Vec<_> = limits(findings, chosen)
        .iter()
        .map(|used| {
            let (limit, remaining, amount) = (&used.limit, used.remaining, used.amount);
            let terms: String = used.terms.iter().map(|term| format!("; {term}")).collect();
            format!(
                "{limit}: {remaining} of {amount} left in {} s{terms}",
                used.window
            )
        })
        .collect();
    facts.extend(shadows);
    facts.extend(set);
    if chosen.route.cost != 1 {
        facts.push(format!("a request costs {}", chosen.route.cost));
    }
    (false, format!("{payer} has room on this node"), facts)
}

/// What an operator has set for the tenant that pays.
fn set(findings: &Findings) -> Option<&Override> {
    let subject = &findings.subject;
    let tenant = &subject.context.identity.as_deref()?.tenant;
    let compiled = subject.compiled.as_deref()?;
    compiled.tenants.get(tenant)?.set.as_ref()
}

/// The limits that are charged: of who pays, and of the route.
fn apply<'f>(findings: &'f Findings, chosen: &'f CompiledRoute) -> impl Iterator<Item = &'f Limit> {
    let subject = &findings.subject;
    let compiled = subject.compiled.as_deref();
    let standing = compiled.map(|compiled| match subject.context.identity.as_deref() {
        Some(identity) => {
            let tenant = compiled.tenants.get(&identity.tenant);
            tenant.map_or(&[][..], |tenant| tenant.limits.as_slice())
        }
        None => compiled.document.defaults.unidentified.as_slice(),
    });
    standing.into_iter().flatten().chain(&chosen.route.limits)
}

fn limits(findings: &Findings, chosen: &CompiledRoute) -> Vec<LimitUse> {
    let states = findings.subject.states.iter();
    states
        .map(|state| LimitUse {
            limit: state.id.to_string(),
            amount: state.amount,
            window: state.span.as_secs(),
            remaining: state.remaining,
            terms: apply(findings, chosen)
                .find(|limit| limit.id == *state.id)
                .map(Limit::terms)
                .unwrap_or_default(),
        })
        .collect()
}

fn transform(findings: &Findings) -> (bool, String, Vec<String>) {
    let Some(changed) = &findings.changed else {
        return (false, String::new(), Vec::new());
    };
    let asked = findings.head.uri.to_string();
    let says = if asked == changed.target {
        format!("the target stays {asked}")
    } else {
        format!("{asked} becomes {}", changed.target)
    };
    let mut facts: Vec<_> = changed
        .set
        .iter()
        .map(|(name, value)| format!("set {name}: {}", clipped(value)))
        .collect();
    facts.extend(changed.removed.iter().map(|name| format!("remove {name}")));
    (false, says, facts)
}

fn upstream(findings: &Findings, destination: &Destination) -> (bool, String, Vec<String>) {
    let settings = &destination.settings;
    let text = units::duration_text;
    let timeouts = settings.timeouts;
    let retries = &settings.retries;
    let head = &findings.head;
    let mut facts = vec![format!(
        "timeouts: connect {}, response {}, idle {}",
        text(timeouts.connect),
        text(timeouts.response),
        text(timeouts.idle)
    )];
    facts.push(if retries.attempts == 0 {
        "it is tried once: the service's retries are off".to_owned()
    } else if repeatable(&head.method, &head.headers) {
        format!(
            "up to {} more tries, within {:.0} % of the requests: it is idempotent or carries an Idempotency-Key",
            retries.attempts,
            retries.budget * 100.0
        )
    } else {
        format!(
            "up to {} more tries, only while no upstream can have seen it: it is neither idempotent nor carries an Idempotency-Key",
            retries.attempts
        )
    });
    let says = match findings.survey.as_ref().map(|survey| &survey.place) {
        Some(Ok(place)) => format!("{}: {}", destination.name, place_text(place)),
        _ => destination.name.to_string(),
    };
    (false, says, facts)
}

fn sent(findings: &Findings, destination: &Destination, changed: &Changed) -> Sent {
    Sent {
        service: destination.name.to_string(),
        method: findings.head.method.to_string(),
        target: changed.target.clone(),
        set: changed
            .set
            .iter()
            .map(|(name, value)| Field {
                name: name.to_string(),
                value: value.clone(),
            })
            .collect(),
        removed: changed.removed.iter().map(ToString::to_string).collect(),
    }
}

fn candidates(survey: &Survey) -> Vec<Candidate> {
    let chosen = |candidate: &survey::Candidate| {
        survey
            .place
            .as_ref()
            .is_ok_and(|place| place.region == candidate.region && place.spot == candidate.spot)
    };
    survey
        .candidates
        .iter()
        .map(|candidate| {
            let (node, endpoint) = match &candidate.spot {
                Spot::Endpoint(endpoint) => (None, Some(endpoint.clone())),
                Spot::Peer(node) => (Some(node.to_string()), None),
                Spot::Region => (None, None),
            };
            Candidate {
                region: candidate.region.to_string(),
                zone: candidate.zone.to_string(),
                node,
                endpoint,
                usable: candidate.usable,
                chosen: chosen(candidate),
                load: candidate.load,
                rtt_ms: candidate
                    .rtt
                    .map(|rtt| (rtt.as_secs_f64() * 1e7).round() / 1e4),
                why: candidate.why.clone(),
            }
        })
        .collect()
}

/// Text of the request, short enough for a line.
pub(super) fn clipped(text: &str) -> &str {
    let end = text
        .char_indices()
        .nth(200)
        .map_or(text.len(), |(at, _)| at);
    &text[..end]
}
