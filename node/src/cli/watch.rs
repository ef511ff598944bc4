//! `meridian status --watch`: the status as a page that stays.
//!
//! In: the status, read again every second and after every event, and the last events. Out: a page on the
//! terminal's alternate screen; where stdout is no terminal, the status again and again.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, IsTerminal as _},
    time::Duration,
};

use terminal_size::{Height, terminal_size};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    client::Client,
    events,
    outcome::{Exit, Failure},
    status,
    stream::Stream,
    terminal::{Format, Terminal},
};
use crate::admin::body::{Event, Status, Traffic};

/// Time between two looks where nothing happens.
const EVERY: Duration = Duration::from_secs(1);

/// Events on the page.
const EVENTS: usize = 8;

/// Lines where the terminal does not say how many it has.
const LINES: usize = 24;

/// Another screen, no cursor, and lines cut at the right edge (DEC private modes 1049, 25 and 7).
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Shows the status until it is interrupted.
pub(super) async fn watch(client: &Client, terminal: &Terminal) -> Result<Exit, Failure> {
    // What a wrong token or address says is told on the usual screen.
    client.get::<Status>("/api/v1/status").await?;
    let page = io::stdout().is_terminal() && terminal.format() == Format::Table;
    let shown = Screen::enter(terminal, page);
    let ended = tokio::select! {
        ended = show(client, terminal, page) => ended,
        interrupted = tokio::signal::ctrl_c() => interrupted
            .map(|()| Exit::Done)
            .map_err(|error| Failure::failed(format!("Ctrl-C cannot be heard: {error}"))),
    };
    drop(shown);
    ended
}

async fn show(client: &Client, terminal: &Terminal, page: bool) -> Result<Exit, Failure> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stream = None;
    let mut last_event = None;
    let mut happened: VecDeque<String> = VecDeque::new();
    let mut rates = Rates::default();
    while !terminal.is_lost() {
        tokio::select! {
            _ = ticks.tick() => {
                if stream.is_none() {
                    // Without events the page still shows how things stand.
                    stream = client.stream("/api/v1/events", last_event.as_deref()).await.ok();
                }
            }
            event = next(&mut stream) => match event {
                Some((id, text)) => {
                    last_event = id.or(last_event);
                    happened.push_back(text);
                    if happened.len() > EVENTS {
                        happened.pop_front();
                    }
                }
                None => {
                    stream = None;
                    continue;
                }
            }
        }
        let read = client.get::<Status>("/api/v1/status").await;
        if page {
            let text = match &read {
                Ok(status) => rates.page(status, Instant::now(), &happened),
                Err(failure) => format!(
                    "{}\nTrying again every second; Ctrl-C ends it.\n",
                    failure.message
                ),
            };
            terminal.data(&framed(&text, height()));
        } else {
            match read {
                Ok(status) => terminal.value(&status, status::table),
                Err(failure) => terminal.warn(&failure.message),
            }
        }
    }
    Ok(Exit::Done)
}

/// The next event of an open stream; `None` when it has ended. Without a stream it waits for ever.
async fn next(stream: &mut Option<Stream>) -> Option<(Option<String>, String)> {
    let Some(stream) = stream else {
        return std::future::pending().await;
    };
    loop {
        let sent = stream.next().await?;
        if let Ok(event) = serde_json::from_str::<Event>(&sent.data) {
            return Some((sent.id, events::line(&event)));
        }
    }
}

/// The terminal's other screen while it lives.
struct Screen<'a> {
    terminal: &'a Terminal,
    page: bool,
}

impl<'a> Screen<'a> {
    fn enter(terminal: &'a Terminal, page: bool) -> Self {
        if page {
            terminal.raw(ENTER);
        }
        Self { terminal, page }
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        if self.page {
            self.terminal.raw(LEAVE);
        }
    }
}

fn height() -> usize {
    terminal_size().map_or(LINES, |(_, Height(lines))| usize::from(lines))
}

/// A text as a whole page: over what stood there before, and never taller than the terminal.
fn framed(text: &str, height: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let room = height.saturating_sub(1).max(1);
    let mut page = String::from("\x1b[H");
    let more = lines.len().saturating_sub(room);
    let kept = if more > 0 { room - 1 } else { lines.len() };
    for line in &lines[..kept] {
        page.push_str(line);
        page.push_str("\x1b[K\n");
    }
    if more > 0 {
        page.push_str(&format!("… {} more lines\x1b[K\n", lines.len() - kept));
    }
    page.push_str("\x1b[J");
    page
}

/// Remembers counters, to show what they gain in a second.
#[derive(Debug, Default)]
struct Rates {
    before: Option<(String, Instant, Traffic)>,
    /// By the status's hundred, a second.
    shown: BTreeMap<String, f64>,
}

impl Rates {
    fn page(&mut self, status: &Status, now: Instant, happened: &VecDeque<String>) -> String {
        self.see(&status.node, now, &status.traffic);
        let rates: Vec<String> = self
            .shown
            .iter()
            .map(|(kind, rate)| format!("{kind} {rate:.0}/s"))
            .collect();
        let rates = if rates.is_empty() {
            "no requests".to_owned()
        } else {
            rates.join("  ")
        };
        let mut text = format!(
            "Traffic at {}: {rates}, {} in flight\n\n{}",
            status.node,
            status.traffic.in_flight,
            status::table(status)
        );
        if !happened.is_empty() {
            text.push_str("\nLast events\n");
        }
        for line in happened {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Another node, or one that was restarted, begins anew. Events come in bursts; over less than half
    /// a second a rate says little.
    fn see(&mut self, node: &str, now: Instant, traffic: &Traffic) {
        if let Some((known, then, before)) = &self.before {
            let seconds = now.duration_since(*then).as_secs_f64();
            let of =
                |traffic: &Traffic, kind: &str| traffic.answered.get(kind).copied().unwrap_or(0);
            let kinds = traffic.answered.keys();
            let gains: Option<BTreeMap<String, f64>> = kinds
                .map(|kind| {
                    let gain = of(traffic, kind).checked_sub(of(before, kind))?;
                    #[allow(clippy::cast_precision_loss, reason = "a rate for the eye")]
                    let rate = gain as f64 / seconds;
                    Some((kind.clone(), rate))
                })
                .collect();
            match gains.filter(|_| known == node) {
                Some(_) if seconds < 0.5 => return,
                Some(gains) => self.shown = gains,
                None => self.shown.clear(),
            }
        }
        self.before = Some((node.to_owned(), now, traffic.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(good: u64) -> Traffic {
        Traffic {
            in_flight: 0,
            answered: BTreeMap::from([("2xx".to_owned(), good)]),
        }
    }

    #[test]
    fn rates_are_gains_over_time_of_one_life_of_one_node() {
        let start = Instant::now();
        let mut rates = Rates::default();
        rates.see("a", start, &traffic(100));
        assert!(rates.shown.is_empty());
        rates.see("a", start + Duration::from_millis(100), &traffic(150));
        assert!(rates.shown.is_empty(), "too soon to tell");
        rates.see("a", start + Duration::from_secs(2), &traffic(300));
        assert_eq!(rates.shown["2xx"], 100.0);
        rates.see("a", start + Duration::from_secs(3), &traffic(4));
        assert!(rates.shown.is_empty(), "it was restarted");
        rates.see("a", start + Duration::from_secs(4), &traffic(14));
        assert_eq!(rates.shown["2xx"], 10.0);
        rates.see("b", start + Duration::from_secs(5), &traffic(24));
        assert!(rates.shown.is_empty(), "another node");
    }

    #[test]
    fn a_page_is_never_taller_than_the_terminal() {
        let text = "1\n2\n3\n4\n5\n";
        assert_eq!(framed(text, 6).matches('\n').count(), 5);
        let cut = framed(text, 4);
        assert_eq!(cut.matches('\n').count(), 3);
        assert!(cut.contains("… 3 more lines"), "{cut:?}");
    }
}
