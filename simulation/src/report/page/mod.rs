//! A run as one page that a browser opens from a file: no network, no other file.
//!
//! In: the scenario, the run, the command that plays it again. Out: HTML. The page's style and scripts are written by
//! hand and lie beside this file; what they show is one JSON object in the page ([`data::Data`]), whose size is bounded:
//! what is many is counted in bins, what is long is cut, and the page says so.
//!
//! - `data`: the object;
//! - `bins`: requests by outcome and latency over time;
//! - `limits`: how full limits were, by node;
//! - `tracks`: what nodes, leaders, upstreams and links were like over time;
//! - `events`: the log, in words.

mod bins;
mod data;
mod events;
mod limits;
mod tracks;

use data::Data;

use crate::scenario::{Account, Scenario};

/// The page of a run; `replay` is the command that plays it again.
pub fn page(scenario: &Scenario, account: &Account, replay: &str) -> String {
    let data = Data::new(scenario, account, replay);
    let json = serde_json::to_string(&data).expect("the data of a page is plain data");
    let finding = &account.finding;
    let title = format!("{}, seed {}", finding.scenario, finding.seed);
    let mut page = String::with_capacity(json.len() + (1 << 17));
    let mut rest = FRAME;
    // Each part goes in once: nothing that a scenario's text holds is taken for a mark.
    while let Some((before, after)) = rest.split_once("{{") {
        let (mark, after) = after.split_once("}}").unwrap_or((after, ""));
        page.push_str(before);
        match mark {
            "title" => page.push_str(&escape_text(&title)),
            "style" => page.push_str(STYLE),
            "data" => page.push_str(&escape_json(&json)),
            "script" => {
                for script in SCRIPTS {
                    page.push_str(script);
                }
            }
            _ => {}
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

fn escape_text(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

/// JSON that may stand in a script element: neither `</script` nor `<!--` can occur in it (HTML, section 4.12.1.3).
fn escape_json(json: &str) -> String {
    json.replace('<', "\\u003c")
}

const FRAME: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");

/// In the order in which they need each other.
const SCRIPTS: [&str; 7] = [
    include_str!("text.js"),
    include_str!("draw.js"),
    include_str!("lanes.js"),
    include_str!("nodes.js"),
    include_str!("words.js"),
    include_str!("log.js"),
    include_str!("timeline.js"),
];

#[cfg(test)]
mod tests;
