//! `meridian explain`: what the running cluster would do with a request.
//!
//! In: a request as its client would send it. Out: the way it would take, step by step, as the node that
//! was asked sees it.

use std::net::IpAddr;

use clap::Args;

use super::{
    client::Client,
    outcome::{Exit, Failure},
    terminal::{Terminal, columns},
};
use crate::explain::{Candidate, Ending, Explanation, Field, Question, StepResult};

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// GET, POST and so on
    method: String,
    /// The whole URL, for example https://api.example.com/v1/plants
    url: String,
    /// A header field, as `Name: value`; may stand more than once
    #[arg(short = 'H', long = "header", value_name = "HEADER", value_parser = field)]
    headers: Vec<Field>,
    /// The address that connects [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    client_ip: Option<IpAddr>,
}

pub(super) async fn explain(
    args: ExplainArgs,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let question = Question {
        method: args.method.to_ascii_uppercase(),
        url: args.url,
        headers: args.headers,
        client_ip: args.client_ip,
    };
    let explanation: Explanation = client.post("/api/v1/explain", &question).await?;
    terminal.value(&explanation, |explanation| table(&question, explanation));
    Ok(Exit::Done)
}

/// Reads `Name: value`, as curl takes it.
fn field(text: &str) -> Result<Field, String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("write it as Name: value, for example -H 'Accept: application/json'")?;
    Ok(Field {
        name: name.trim().to_owned(),
        value: value.trim().to_owned(),
    })
}

fn table(question: &Question, told: &Explanation) -> String {
    let revision = told
        .revision
        .map_or("no revision yet".to_owned(), |number| {
            format!("revision {number}")
        });
    let mut text = format!(
        "{} {} at {} ({}, {revision})\n\n",
        question.method, question.url, told.node, told.region
    );
    let mut rows = Vec::new();
    for step in &told.steps {
        let result = match step.result {
            StepResult::Pass => "pass",
            StepResult::Skip => "skip",
            StepResult::Refuse => "REFUSE",
        };
        rows.push(vec![
            step.step.clone(),
            result.to_owned(),
            step.says.clone(),
        ]);
        for fact in &step.facts {
            rows.push(vec![String::new(), String::new(), format!("· {fact}")]);
        }
    }
    text.push_str(&columns(&rows));
    if !told.candidates.is_empty() {
        text.push('\n');
        text.push_str(&places(&told.candidates));
    }
    let verdict = &told.verdict;
    text.push_str("\nVerdict: ");
    if let Some(status) = verdict.status {
        text.push_str(&format!("{status} "));
    }
    if let Some(name) = verdict
        .problem
        .as_ref()
        .and_then(|kind| kind.rsplit(':').next())
    {
        text.push_str(&format!("{name}: "));
    }
    text.push_str(&verdict.detail);
    if let Some(seconds) = verdict.retry_after {
        text.push_str(&format!("; try again in {seconds} s"));
    }
    if verdict.outcome == Ending::Forwarded {
        text.push_str("; the status is the upstream's");
    }
    text.push('\n');
    text
}

fn places(candidates: &[Candidate]) -> String {
    let mut rows = vec![
        ["", "REGION", "ZONE", "PLACE", "RTT", "LOAD", "WHY"]
            .map(String::from)
            .to_vec(),
    ];
    for candidate in candidates {
        let mark = match (candidate.chosen, candidate.usable) {
            (true, _) => "→",
            (false, true) => " ",
            (false, false) => "×",
        };
        let place = candidate.endpoint.as_ref().or(candidate.node.as_ref());
        let number = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        rows.push(vec![
            mark.to_owned(),
            candidate.region.clone(),
            candidate.zone.clone(),
            number(place.cloned()),
            number(candidate.rtt_ms.map(|ms| format!("{ms:.1} ms"))),
            number(candidate.load.map(|load| load.to_string())),
            candidate.why.clone(),
        ]);
    }
    columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{Told, Verdict};

    #[test]
    fn a_header_is_read_as_curl_reads_it() {
        let read = field("Authorization: Bearer a:b").unwrap();
        assert_eq!((&*read.name, &*read.value), ("Authorization", "Bearer a:b"));
        assert!(field("Authorization").unwrap_err().contains("Name: value"));
    }

    #[test]
    fn a_table_shows_each_step_every_place_and_the_verdict() {
        let question = Question {
            method: "GET".into(),
            url: "http://x/v1".into(),
            headers: Vec::new(),
            client_ip: None,
        };
        let step = |step: &str, result, says: &str, facts: &[&str]| Told {
            step: step.into(),
            result,
            says: says.into(),
            facts: facts.iter().map(ToString::to_string).collect(),
        };
        let told = Explanation {
            node: "a-1".into(),
            region: "a".into(),
            revision: Some(7),
            verdict: Verdict {
                outcome: Ending::Refused,
                status: Some(429),
                problem: Some("urn:meridian:problem:rate-limited".into()),
                detail: "limit tenant-hour is used up".into(),
                retry_after: Some(12),
            },
            steps: vec![
                step("route", StepResult::Pass, "plants takes it by /v1", &[]),
                step(
                    "limit",
                    StepResult::Refuse,
                    "used up",
                    &["tenant-hour: 0 of 5"],
                ),
            ],
            route: None,
            tenant: None,
            limits: Vec::new(),
            upstream: None,
            candidates: vec![Candidate {
                region: "a".into(),
                zone: "eu".into(),
                node: None,
                endpoint: Some("10.0.0.8:80".into()),
                usable: true,
                chosen: true,
                load: Some(3),
                rtt_ms: Some(0.0),
                why: "healthy".into(),
            }],
        };
        assert_eq!(
            table(&question, &told),
            "GET http://x/v1 at a-1 (a, revision 7)\n\n\
             route  pass    plants takes it by /v1\n\
             limit  REFUSE  used up\n\
             \x20              · tenant-hour: 0 of 5\n\n\
             \x20  REGION  ZONE  PLACE        RTT     LOAD  WHY\n\
             →  a       eu    10.0.0.8:80  0.0 ms  3     healthy\n\n\
             Verdict: 429 rate-limited: limit tenant-hour is used up; try again in 12 s\n"
        );
    }
}
