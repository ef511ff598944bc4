//! Smaller scenarios than one that breaks something: fewer faults, nodes and regions, less time, less traffic, a
//! quieter network.
//!
//! A core: a document comes in, every next smaller one comes out, the boldest first. Its shell plays them, takes the
//! first that breaks the same, and asks again, until none does (delta debugging; Zeller and Hildebrandt 2002).

use std::time::Duration;

use meridian_config::units;
use serde_json::{Value, json};

use super::Document;

/// Every document that is one step smaller. Some cannot be played; the scenario's reader refuses those.
pub fn smaller(document: &Document) -> Vec<Document> {
    let mut all = Vec::new();
    all.extend(fewer_nodes(document));
    all.extend(fewer_faults(document));
    all.extend(fewer_regions(document));
    all.extend(fewer_keys(document));
    all.extend(less_time(document));
    all.extend(less_work(document));
    all.retain(|smaller| smaller != document);
    all
}

/// How large a document is, in words.
pub fn size(document: &Document) -> String {
    let faults = document.faults().len();
    let regions = document.get("regions").and_then(Value::as_array);
    let regions = regions.map_or(0, Vec::len);
    let nodes = document.get("nodes_per_region").and_then(Value::as_u64);
    let nodes = nodes.unwrap_or(1);
    let last = document.faults().iter().map(end).max();
    let last = units::duration_text(last.unwrap_or_default());
    let noun = if faults == 1 { "fault" } else { "faults" };
    format!("{faults} {noun} until {last}, {regions} regions of {nodes}")
}

/// What each run costs is mostly nodes, so this comes first: all that follows is cheaper then.
fn fewer_nodes(document: &Document) -> Vec<Document> {
    let nodes = document.get("nodes_per_region").and_then(Value::as_u64);
    let Some(nodes) = nodes.filter(|nodes| *nodes > 1) else {
        return Vec::new();
    };
    let with = |nodes: u64| document.with("nodes_per_region", json!(nodes));
    vec![with(1), with(nodes / 2), with(nodes - 1)]
}

/// Without all, then without halves, quarters and so on, down to single ones.
fn fewer_faults(document: &Document) -> Vec<Document> {
    let faults = document.faults();
    let mut all = Vec::new();
    let mut piece = faults.len();
    while piece > 0 {
        for start in (0..faults.len()).step_by(piece) {
            let end = (start + piece).min(faults.len());
            let kept = [&faults[..start], &faults[end..]].concat();
            all.push(document.with_faults(kept));
        }
        piece /= 2;
    }
    all
}

/// Without a region, its links, and what befalls it.
fn fewer_regions(document: &Document) -> Vec<Document> {
    let (Some(Value::Array(regions)), Some(Value::Object(network))) =
        (document.get("regions"), document.get("network"))
    else {
        return Vec::new();
    };
    if regions.len() < 2 {
        return Vec::new();
    }
    let without = |region: &Value| {
        let kept: Vec<Value> = regions
            .iter()
            .filter(|one| *one != region)
            .cloned()
            .collect();
        let mut network = network.clone();
        if let Some(Value::Array(between)) = network.get_mut("between") {
            between.retain(|link| !names(link, region));
        }
        let mut faults = document.faults();
        faults.retain(|fault| !names(fault, region));
        document
            .with("regions", Value::from(kept))
            .with("network", Value::Object(network))
            .with_faults(faults)
    };
    regions.iter().map(without).collect()
}

/// Whether a region, or a node of it, stands anywhere in a value.
fn names(value: &Value, region: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| names(item, region)),
        Value::Object(entries) => entries.values().any(|item| names(item, region)),
        Value::String(text) => region.as_str().is_some_and(|region| {
            let rest = text.strip_prefix(region);
            rest.is_some_and(|rest| {
                let number = rest.strip_prefix('-').unwrap_or(rest);
                number.chars().all(|letter| letter.is_ascii_digit())
            })
        }),
        _ => false,
    }
}

/// Without each key that can be left out, and without each key of a mapping.
fn fewer_keys(document: &Document) -> Vec<Document> {
    let keys: Vec<&str> = document.keys().filter(|key| !KEPT.contains(key)).collect();
    let mut all: Vec<Document> = keys.iter().map(|key| document.without(key)).collect();
    for key in document.keys() {
        let Some(Value::Object(inner)) = document.get(key) else {
            continue;
        };
        for name in inner.keys() {
            let mut fewer = inner.clone();
            fewer.shift_remove(name);
            all.push(document.with(key, Value::Object(fewer)));
        }
    }
    all
}

/// Shorter faults, closer together; a shorter half without faults.
fn less_time(document: &Document) -> Vec<Document> {
    let faults = document.faults();
    let mut all = Vec::new();
    if let Some(calm) = document.get("calm").and_then(duration)
        && calm > SHORTEST_CALM
    {
        all.push(document.with("calm", text(SHORTEST_CALM)));
    }
    let closer = closer(&faults);
    all.push(document.with_faults(closer.clone()));
    let halved = |fault: &Value| {
        let lasts = fault.get("for").and_then(duration).unwrap_or_default();
        with(fault, "for", (lasts / 2).max(SHORTEST_FAULT).min(lasts))
    };
    all.push(document.with_faults(faults.iter().map(halved).collect()));
    for (index, fault) in faults.iter().enumerate() {
        let mut one = faults.clone();
        one[index] = halved(fault);
        all.push(document.with_faults(one));
    }
    all
}

/// The same with half as long a wait before each fault.
fn closer(faults: &[Value]) -> Vec<Value> {
    let mut order: Vec<(Duration, usize)> = faults.iter().map(begin).zip(0..).collect();
    order.sort_unstable();
    let mut closer = faults.to_vec();
    let (mut before, mut now) = (Duration::ZERO, Duration::ZERO);
    for (at, index) in order {
        let wait = at - before;
        before = at;
        now += (wait / 2).max(SHORTEST_WAIT).min(wait);
        closer[index] = with(&faults[index], "at", now);
    }
    closer
}

/// Fewer requests, documents and revocations.
fn less_work(document: &Document) -> Vec<Document> {
    let mut all = Vec::new();
    for key in ["writes", "revocations"] {
        let Some(every) = document
            .get(key)
            .and_then(|value| duration(value.get("every")?))
        else {
            continue;
        };
        if every < RAREST {
            let mut rarer = document.get(key).cloned().unwrap_or_default();
            rarer["every"] = text(every * 4);
            all.push(document.with(key, rarer));
        }
    }
    let rate = document
        .get("traffic")
        .and_then(|traffic| traffic.get("rate"));
    let rate = rate.and_then(|rate| rate.as_str()?.split_once('/'));
    if let Some((amount, span)) = rate
        && let Ok(amount @ 2..) = amount.parse::<u64>()
    {
        let mut rarer = document.get("traffic").cloned().unwrap_or_default();
        rarer["rate"] = json!(format!("{}/{span}", amount / 2));
        all.push(document.with("traffic", rarer));
    }
    all
}

fn begin(fault: &Value) -> Duration {
    fault.get("at").and_then(duration).unwrap_or_default()
}

fn end(fault: &Value) -> Duration {
    begin(fault) + fault.get("for").and_then(duration).unwrap_or_default()
}

fn duration(value: &Value) -> Option<Duration> {
    units::duration(value.as_str()?).ok()
}

fn text(span: Duration) -> Value {
    json!(units::duration_text(span))
}

fn with(fault: &Value, key: &str, span: Duration) -> Value {
    let mut changed = fault.clone();
    changed[key] = text(span);
    changed
}

/// Without these there is no scenario, or not this one.
const KEPT: [&str; 4] = ["name", "says", "seed", "faults"];

/// Nodes have ten seconds to become equal; then they must stay so.
const SHORTEST_CALM: Duration = Duration::from_secs(11);

/// A shorter one might leave no sign.
const SHORTEST_FAULT: Duration = Duration::from_millis(500);

/// Before a fault, so that traces can be read.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);

/// Rarer than that happens once in a run.
const RAREST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use meridian_config::diagnose::Source;
    use proptest::prelude::*;

    use super::*;
    use crate::scenario::{Scenario, find};

    fn document(text: &str) -> Document {
        let name = "s.yaml".to_owned();
        let text = text.to_owned();
        Document::read(&Source { name, text }).unwrap()
    }

    fn shipped(name: &str) -> Document {
        let source = find(name, |_| unreachable!("it is shipped")).unwrap();
        Document::read(&source).unwrap()
    }

    /// What the shell does, with a breach that needs no run: the first smaller document that can be played and shows it.
    fn shrunk(from: Document, shows: impl Fn(&Document) -> bool) -> Document {
        let mut best = from;
        let mut tried = BTreeSet::new();
        loop {
            let next = smaller(&best).into_iter().find(|smaller| {
                let fresh = tried.insert(smaller.text());
                let can_be_played = Scenario::parse(&smaller.source("s.yaml")).is_ok();
                fresh && can_be_played && shows(smaller)
            });
            match next {
                Some(next) => best = next,
                None => return best,
            }
        }
    }

    #[test]
    fn a_breach_by_one_fault_is_shrunk_to_that_fault_on_the_smallest_cluster() {
        let partition = shipped("partition").with("nodes_per_region", json!(3));
        let is_it = |fault: &Value| fault.get("cut").is_some();
        let small = shrunk(partition, |document| document.faults().iter().any(is_it));
        assert_eq!(small.faults().len(), 1, "{}", small.text());
        assert_eq!(small.get("nodes_per_region"), Some(&json!(1)));
        assert_eq!(
            small.get("regions").and_then(Value::as_array).map(Vec::len),
            Some(2)
        );
        assert_eq!(small.get("traffic"), None);
        assert_eq!(small.get("calm"), Some(&json!("11s")));
        let network = small.get("network").and_then(Value::as_object).unwrap();
        let keys: Vec<&str> = network.keys().map(String::as_str).collect();
        assert_eq!(keys, ["within", "between"]);
        let fault = &small.faults()[0];
        assert!(
            begin(fault) <= SHORTEST_WAIT && end(fault) <= Duration::from_secs(1),
            "{fault}"
        );
    }

    #[test]
    fn a_breach_by_two_faults_keeps_both_and_what_a_breach_needs_stays() {
        let loss = shipped("region-loss");
        let small = shrunk(loss, |document| {
            let jitter = document
                .get("network")
                .and_then(|network| network.get("jitter"));
            document.faults().len() == 2 && jitter.is_some()
        });
        assert_eq!(small.faults().len(), 2);
        assert!(small.text().contains("jitter"), "{}", small.text());
        assert!(!small.text().contains("duplication"), "{}", small.text());
        assert!(
            size(&small).starts_with("2 faults until "),
            "{}",
            size(&small)
        );
    }

    #[test]
    fn without_a_region_nothing_names_it_or_its_nodes() {
        let document = document(
            "regions: [eu, us, eu-west]\n\
             network: { between: [{ regions: [eu, us] }, { regions: [us, eu-west] }] }\n\
             faults: [{ kill: eu-1 }, { kill: eu-west-1 }, { kill: us }, { cut: [eu, eu-west] }, { kill: leader }]\n",
        );
        let without = &fewer_regions(&document)[0];
        let left = "[{\"kill\":\"eu-west-1\"},{\"kill\":\"us\"},{\"kill\":\"leader\"}]";
        assert_eq!(Value::from(without.faults()).to_string(), left);
        assert_eq!(without.get("regions"), Some(&json!(["us", "eu-west"])));
        let between = &without.get("network").unwrap()["between"];
        assert_eq!(between, &json!([{"regions": ["us", "eu-west"]}]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Whatever a breach needs, shrinking comes to an end, and the end still shows it.
        #[test]
        fn shrinking_ends_and_keeps_what_is_needed(
            needed in proptest::collection::btree_set(0_usize..6, 0..4),
            late in proptest::collection::vec(0_usize..3_000, 6),
        ) {
            let faults: Vec<Value> = late.iter().enumerate().map(|(index, late)| json!({
                "at": format!("{}ms", index * 10_000 + late), "for": format!("{}s", index + 1),
                "cut": ["eu-west", "us-east"], "one_way": index % 2 == 0,
            })).collect();
            let from = shipped("partition").with_faults(faults);
            // Each fault is known by its length, unless that was changed; so this breach needs lengths too.
            let shows = |document: &Document| {
                let lengths: BTreeSet<Duration> = document.faults().iter()
                    .filter_map(|fault| fault.get("for").and_then(duration)).collect();
                needed.iter().all(|index| lengths.contains(&Duration::from_secs(u64::try_from(*index).unwrap() + 1)))
            };
            let small = shrunk(from, shows);
            prop_assert!(shows(&small));
            // Four can be halved into two, so that one fault may stand for another; never more than needed.
            prop_assert!(small.faults().len() <= needed.len());
        }
    }
}
