//! The stream of events (server-sent events, HTML standard section 9.2).

use std::{collections::BTreeSet, convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::timeout,
};

use super::{
    Asked, Desk, reply,
    table::{Answer, Handler, Produced, Query, Resource, shape},
};
use crate::admin::{
    body::{Event, Happening, TYPES},
    events::{Batch, Feed},
    fault::Fault,
    moment,
};

pub(super) const RESOURCES: &[Resource] = &[Resource {
    query: &[Query {
        name: "types",
        about: "Only these, with commas between: node, draining, region, leader, revision, serving, rejected, act",
        shape: shape::<String>,
    }],
    gives: Produced {
        media: EVENT_STREAM,
        shape: shape::<Event>,
    },
    ..Resource::get(
        "/api/v1/events",
        "What happens from now on, or since `Last-Event-ID`; each event's data is one of these objects",
        shape::<Event>,
        Handler::Now(events),
    )
}];

const EVENT_STREAM: &str = "text/event-stream";

/// A line of comment after so long without an event: proxies and clients take a silent stream for dead.
const ALIVE: Duration = Duration::from_secs(15);

/// A stream on its way to one reader.
struct Reading {
    desk: Desk,
    news: watch::Receiver<u64>,
    /// The number of the next event for this reader.
    place: u64,
    types: Option<BTreeSet<&'static str>>,
    /// What goes out first.
    opening: Option<String>,
    _seat: OwnedSemaphorePermit,
}

fn events(desk: &Desk, asked: &Asked) -> Answer {
    let types = asked.query("types").map(types).transpose()?;
    let feed = &desk.feed;
    let seat = feed.place().ok_or(Fault::Crowded)?;
    // It ends with the node, and so do the connections.
    let news = feed.listen().ok_or(Fault::Crowded)?;
    let known = asked.last_event.as_deref().map(|id| feed.place_after(id));
    let place = known.flatten().unwrap_or_else(|| feed.next());
    let mut opening = String::from("retry: 1000\n\n");
    if known == Some(None) {
        opening.push_str(&line(feed, place, "missed", &told(desk, Happening::Missed)));
    }
    if known.flatten().is_none() {
        opening.push_str(&line(feed, place, "start", &told(desk, start(desk))));
    }
    let reading = Reading {
        desk: desk.clone(),
        news,
        place,
        types,
        opening: Some(opening),
        _seat: seat,
    };
    let frames = stream::unfold(reading, |mut reading| async move {
        let text = reading.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), reading))
    });
    let body = StreamBody::new(frames)
        .map_err(|never| match never {})
        .boxed_unsync();
    Ok(reply::typed(EVENT_STREAM, body))
}

/// The types that are asked for.
fn types(text: &str) -> Result<BTreeSet<&'static str>, Fault> {
    text.split(',')
        .map(|name| {
            let known = TYPES.into_iter().find(|known| *known == name.trim());
            known.ok_or_else(|| {
                Fault::Query(format!(
                    "no event has the type {name:?}; there are {}",
                    TYPES.join(", ")
                ))
            })
        })
        .collect()
}

fn start(desk: &Desk) -> Happening {
    let group = desk.node.group();
    Happening::Start {
        node: desk.node.own().id.to_string(),
        revision: desk.node.current().map_or(0, |newest| newest.number),
        leader: group.leader.map(|id| id.to_string()),
        term: group.term,
        quorum: group.quorum,
    }
}

fn told(desk: &Desk, what: Happening) -> String {
    let unix_ms = u64::try_from(desk.host.unix_time().as_millis()).unwrap_or(u64::MAX);
    let event = Event {
        time: moment::text(unix_ms),
        what,
    };
    serde_json::to_string(&event).expect("our own types are valid JSON")
}

/// An event as it goes out. `after` is the number of the event after it, where a reader goes on.
fn line(feed: &Feed, after: u64, kind: &str, json: &str) -> String {
    // JSON on one line has no line break that would end the field early.
    format!(
        "id: {}\nevent: {kind}\ndata: {json}\n\n",
        feed.id_before(after)
    )
}

impl Reading {
    /// What goes out next; `None` when the node ends.
    async fn next(&mut self) -> Option<String> {
        if let Some(opening) = self.opening.take() {
            return Some(opening);
        }
        loop {
            self.news.borrow_and_update();
            let text = self.gather();
            if !text.is_empty() {
                return Some(text);
            }
            match timeout(ALIVE, self.news.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some(": alive\n\n".to_owned()),
            }
        }
    }

    /// Everything that this reader has not had.
    fn gather(&mut self) -> String {
        let feed = &self.desk.feed;
        let Batch { missed, events } = feed.from(self.place);
        let mut text = String::new();
        if let (true, Some(first)) = (missed, events.first()) {
            let json = told(&self.desk, Happening::Missed);
            text.push_str(&line(feed, first.number, "missed", &json));
        }
        for event in events {
            self.place = event.number + 1;
            if self
                .types
                .as_ref()
                .is_none_or(|types| types.contains(event.kind))
            {
                text.push_str(&line(feed, self.place, event.kind, &event.json));
            }
        }
        text
    }
}
