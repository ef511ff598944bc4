//! What this node would do with a request, without doing it.
//!
//! ```text
//! Question ─► question (a head) ─► pipeline::decide, peeking ─► transform ─► upstream::survey ─► tell ─► Explanation
//! ```
//!
//! The steps are those of [`crate::pipeline`], run on a worker of its own that serves nobody: nothing is
//! charged, counted, logged or sent (a token's keys may be fetched, as for any request). [`tell`] puts what
//! they have learnt into words.

mod body;
mod hint;
mod near;
mod question;
mod tell;

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, header, request::Parts};
use hyper::body::SizeHint;

pub use body::{
    Candidate, Ending, Explanation, Field, LimitUse, Question, Sent, StepResult, Told, Verdict,
};

use crate::{
    listener::tls::EdgeTls,
    pipeline::decide::{Decision, Purse, Step, Subject, decide},
    problem::Refusal,
    revision::Handling,
    transform::{hop, request},
    upstream::survey::Survey,
    worker::Worker,
};

/// Explains requests on behalf of one node.
#[derive(Clone)]
pub struct Explainer {
    worker: Arc<Worker>,
    tls: Option<EdgeTls>,
}

/// What became of a request, and of its parts that would go upstream.
struct Findings {
    subject: Subject,
    /// As the client would send it.
    head: Parts,
    outcome: Result<Outcome, Refusal>,
    changed: Option<Changed>,
    survey: Option<Survey>,
}

/// What a request comes to.
enum Outcome {
    /// The gateway answers with this status.
    Answer(u16),
    /// An upstream would answer.
    Sent,
}

/// What the step transform did.
struct Changed {
    target: String,
    /// Fields that are new or have another value.
    set: Vec<(HeaderName, String)>,
    removed: Vec<HeaderName>,
}

impl Explainer {
    /// Explains with this worker's tools; `tls` are the edge's certificates.
    pub fn new(worker: Arc<Worker>, tls: Option<EdgeTls>) -> Self {
        Self { worker, tls }
    }

    /// Takes the question's request through all steps; an error says what is wrong with the question.
    pub async fn explain(&self, question: &Question) -> Result<Explanation, String> {
        let asked = question::read(question)?;
        let hosts = match (&self.tls, &asked.tls_name) {
            (Some(tls), Some(name)) => Some(tls.hosts(name)),
            _ => None,
        };
        let findings = self
            .find(
                asked.head,
                &asked.body,
                asked.client_ip,
                asked.tls_name.is_some(),
                hosts.as_deref(),
            )
            .await;
        Ok(tell::tell(&findings, &self.worker))
    }

    async fn find(
        &self,
        head: Parts,
        body: &SizeHint,
        peer: IpAddr,
        tls: bool,
        hosts: Option<&[String]>,
    ) -> Findings {
        let worker = &*self.worker;
        let mut subject = Subject::new(worker, &head, peer, tls);
        let decided = decide(&mut subject, &head, body, hosts, worker, Purse::Peek).await;
        let (mut changed, mut survey) = (None, None);
        let outcome = match decided {
            Err(refusal) => Err(refusal),
            Ok(Decision::Answer(answer)) => Ok(Outcome::Answer(answer.status().as_u16())),
            Ok(Decision::Send) => match transformed(&subject, &head, worker) {
                Err(refusal) => Err(refusal),
                Ok(done) => {
                    changed = Some(done);
                    subject.step = Step::Upstream;
                    survey = look(&subject, worker);
                    let place = survey.as_ref().map(|survey| &survey.place);
                    match place {
                        Some(Err(refusal)) => Err(refusal.clone()),
                        _ => Ok(Outcome::Sent),
                    }
                }
            },
        };
        Findings {
            subject,
            head,
            outcome,
            changed,
            survey,
        }
    }
}

/// The step transform on a copy.
fn transformed(subject: &Subject, head: &Parts, worker: &Worker) -> Result<Changed, Refusal> {
    let chosen = subject.chosen().ok_or(Refusal::NoRoute)?;
    let websocket = hop::asks_for_websocket(&head.method, head.version, &head.headers);
    let inbound = subject.inbound(worker.region.as_str(), websocket);
    let mut sent = head.clone();
    request::apply(&mut sent, &inbound, &chosen.rules)?;
    let values = |headers: &HeaderMap, name: &HeaderName| -> Vec<Vec<u8>> {
        let values = headers.get_all(name).iter();
        values.map(|value| value.as_bytes().to_vec()).collect()
    };
    let mut set = Vec::new();
    for name in sent.headers.keys() {
        let after = values(&sent.headers, name);
        if after != values(&head.headers, name) {
            let text = if secret(name) {
                "[redacted]".to_owned()
            } else {
                String::from_utf8_lossy(&after.join(&b", "[..])).into_owned()
            };
            set.push((name.clone(), text));
        }
    }
    let removed = head
        .headers
        .keys()
        .filter(|name| !sent.headers.contains_key(*name))
        .cloned()
        .collect();
    Ok(Changed {
        target: sent.uri.to_string(),
        set,
        removed,
    })
}

/// Whether a field's value is a credential, which no answer of the admin API repeats.
fn secret(name: &HeaderName) -> bool {
    [
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
        header::COOKIE,
    ]
    .contains(name)
        || name.as_str().contains("key")
        || name.as_str().contains("token")
        || name.as_str().contains("secret")
}

/// The step upstream, as far as it goes without sending.
fn look(subject: &Subject, worker: &Worker) -> Option<Survey> {
    let Handling::Service { destination, .. } = &subject.chosen()?.handling else {
        return None;
    };
    Some(worker.client.survey(&subject.errand(destination)))
}
