//! The tenants of a scenario: who asks for what, where, how often, and in which pattern.
//!
//! In: the `tenants` of a scenario file. Out: [`Tenant`]s, and from them what their clients ask for.

use std::time::Duration;

use meridian_config::units::{duration_text, rate};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::raw::Check;
use crate::{
    workload::{
        ask::Pattern,
        document::{DAY, What},
    },
    world::Place,
};

/// A tenant beside the one that every run has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// What its clients ask for.
    pub asks: Vec<What>,
    /// Between two requests of one kind in one region.
    pub every: Duration,
    /// How that changes with time.
    pub pattern: Pattern,
    /// Where its clients are.
    pub from: Vec<Place>,
    /// The regions where its requests may be served; empty: anywhere.
    pub zones: Vec<Place>,
    /// Its limits, as a document has them; each document in turn has the next set. None: it has no limit.
    pub limits: Vec<Vec<String>>,
    /// What an operator sets in their place for a while, as `meridian quota set` does.
    pub set: Vec<Set>,
    /// How long its tokens are good for; clients fetch a new one when a quarter of it is left.
    pub tokens: Duration,
}

/// Limits that an operator sets in place of a plan's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// When, from the moment when all nodes serve.
    pub at: Duration,
    /// For how long: each node's own clock says when that is over.
    pub lasts: Duration,
    /// As a document has them.
    pub limits: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSet {
    at: Spanned<String>,
    #[serde(rename = "for")]
    lasts: Spanned<String>,
    limits: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTenant {
    name: Spanned<String>,
    asks: Option<Vec<Spanned<String>>>,
    rate: Option<Spanned<String>>,
    bursts: Option<RawBursts>,
    ramp: Option<RawRamp>,
    sun: Option<Spanned<String>>,
    #[serde(default)]
    from: Vec<Spanned<String>>,
    #[serde(default)]
    zones: Vec<Spanned<String>>,
    tokens: Option<Spanned<String>>,
    #[serde(default)]
    limits: Vec<Spanned<String>>,
    /// What they are in later documents.
    #[serde(default)]
    then: Vec<Vec<Spanned<String>>>,
    /// What operators set beside.
    #[serde(default)]
    set: Vec<RawSet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBursts {
    times: Spanned<u32>,
    #[serde(rename = "for")]
    lasts: Spanned<String>,
    every: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRamp {
    times: Spanned<u32>,
    over: Spanned<String>,
}

impl RawTenant {
    /// Its name as it was written.
    pub(super) fn name(&self) -> &str {
        &self.name.value
    }
}

impl Check<'_> {
    /// The tenants; `every` is the pace of the scenario's traffic.
    pub(super) fn tenants(&mut self, raw: &[RawTenant], every: Option<Duration>) -> Vec<Tenant> {
        let mut tenants: Vec<Tenant> = Vec::new();
        for (index, tenant) in raw.iter().enumerate() {
            let name = &tenant.name;
            let taken = tenants.iter().any(|other| other.name == name.value);
            let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if taken || name.value == crate::workload::document::TENANT {
                let message = format!("tenants[{index}].name: {} is taken", name.value);
                self.mistake(name.referenced, message);
            }
            if name.value.is_empty() || name.value.len() > 40 || !name.value.chars().all(letters) {
                let message = format!(
                    "tenants[{index}].name: {:?} is no name; use up to 40 of a-z, 0-9 and -",
                    name.value
                );
                self.mistake(name.referenced, message);
            }
            let Some(steady) = every else {
                let message = format!(
                    "tenants[{index}]: without traffic nobody asks; add `traffic: {{ rate: 10/second }}`"
                );
                self.mistake(name.referenced, message);
                continue;
            };
            let own = tenant.rate.as_ref();
            let tenant = Tenant {
                name: name.value.clone(),
                asks: self.asks(index, tenant.asks.as_deref()),
                every: own.map_or(steady, |rate| self.interval(rate)),
                pattern: self.pattern(index, tenant),
                from: self.named_regions(&tenant.from),
                zones: self.named_regions(&tenant.zones),
                tokens: self.tokens(tenant.tokens.as_ref()),
                limits: self.limits(index, tenant),
                set: self.set(index, &tenant.set),
            };
            tenants.push(tenant);
        }
        tenants
    }

    fn limits(&mut self, index: usize, raw: &RawTenant) -> Vec<Vec<String>> {
        let mut sets = Vec::new();
        for set in std::iter::once(&raw.limits).chain(&raw.then) {
            sets.push(self.limit_texts(index, set));
        }
        match sets.iter().all(Vec::is_empty) {
            true => Vec::new(),
            false => sets,
        }
    }

    fn limit_texts(&mut self, index: usize, raw: &[Spanned<String>]) -> Vec<String> {
        let mut limits = Vec::new();
        for limit in raw {
            // With a window or a wait: `{ rate: 200/second, on_empty: { wait: 400ms } }`.
            let text = limit.value.trim();
            if !text.starts_with('{')
                && let Err(why) = rate(text)
            {
                let message = format!("tenants[{index}].limits: {why}");
                self.mistake(limit.referenced, message);
            }
            limits.push(text.to_owned());
        }
        limits
    }

    fn set(&mut self, index: usize, raw: &[RawSet]) -> Vec<Set> {
        let sets = raw.iter().map(|raw| Set {
            at: self.span("tenants.set.at", &raw.at),
            lasts: self.span("tenants.set.for", &raw.lasts),
            limits: self.limit_texts(index, &raw.limits),
        });
        sets.collect()
    }

    fn asks(&mut self, index: usize, raw: Option<&[Spanned<String>]>) -> Vec<What> {
        let Some(raw) = raw else {
            return What::ALL.to_vec();
        };
        let mut asks = Vec::new();
        for ask in raw {
            let found = What::ALL.into_iter().find(|what| what.name() == ask.value);
            match found {
                Some(what) if !asks.contains(&what) => asks.push(what),
                Some(_) => {
                    let message = format!("tenants[{index}].asks: {} stands here twice", ask.value);
                    self.mistake(ask.referenced, message);
                }
                None => {
                    let known = What::ALL.map(What::name).join(", ");
                    let message = format!(
                        "tenants[{index}].asks: {:?} is none; use some of {known}",
                        ask.value
                    );
                    self.mistake(ask.referenced, message);
                }
            }
        }
        asks
    }

    fn pattern(&mut self, index: usize, raw: &RawTenant) -> Pattern {
        let times = |check: &mut Self, times: &Spanned<u32>| {
            if !(2..=MOST_TIMES).contains(&times.value) {
                let message = format!(
                    "tenants[{index}]: {} times as fast; write a number from 2 to {MOST_TIMES}",
                    times.value
                );
                check.mistake(times.referenced, message);
            }
            times.value
        };
        if let Some(turn) = &raw.sun {
            if raw.bursts.is_some() || raw.ramp.is_some() {
                let message =
                    format!("tenants[{index}]: bursts, a ramp or the sun, not two of them");
                self.mistake(turn.referenced, message);
            }
            let turn = self.span("tenants.sun", turn);
            return Pattern::Sun { turn };
        }
        match (&raw.bursts, &raw.ramp) {
            (None, None) => Pattern::Steady,
            (Some(bursts), None) => {
                let pattern = Pattern::Bursts {
                    every: self.span("tenants.bursts.every", &bursts.every),
                    lasts: self.span("tenants.bursts.for", &bursts.lasts),
                    times: times(self, &bursts.times),
                };
                if let Pattern::Bursts { every, lasts, .. } = pattern
                    && lasts >= every
                {
                    let message = format!(
                        "tenants[{index}].bursts.for: a burst must be shorter than `every`"
                    );
                    self.mistake(bursts.lasts.referenced, message);
                }
                pattern
            }
            (None, Some(ramp)) => Pattern::Ramp {
                over: self.span("tenants.ramp.over", &ramp.over),
                times: times(self, &ramp.times),
            },
            (Some(bursts), Some(_)) => {
                let message = format!("tenants[{index}]: bursts or a ramp, not both");
                self.mistake(bursts.every.referenced, message);
                Pattern::Steady
            }
        }
    }

    fn tokens(&mut self, raw: Option<&Spanned<String>>) -> Duration {
        let Some(raw) = raw else {
            return DAY;
        };
        let lifetime = self.span("tenants.tokens", raw);
        if lifetime < SHORTEST_TOKEN {
            let message = format!(
                "tenants.tokens: {lifetime:?} is too short; a token has whole seconds, write {SHORTEST_TOKEN:?} or more"
            );
            self.mistake(raw.referenced, message);
        }
        lifetime
    }

    fn named_regions(&mut self, raw: &[Spanned<String>]) -> Vec<Place> {
        let mut places = Vec::new();
        for region in raw {
            places.extend(self.region(&region.value, region.referenced));
        }
        places
    }
}

/// A tenant's traffic grows so many times at most: the clock has a grain of 1 ms.
const MOST_TIMES: u32 = 50;

/// Times in a token are whole seconds.
const SHORTEST_TOKEN: Duration = Duration::from_secs(4);

impl Tenant {
    /// What its clients do, in words; `region` gives a region's name.
    pub(super) fn describe(&self, region: impl Fn(Place) -> String) -> String {
        let names = |places: &[Place]| {
            let names = places.iter().map(|place| region(*place));
            names.collect::<Vec<_>>().join(", ")
        };
        let asks: Vec<&str> = self.asks.iter().map(|what| what.name()).collect();
        let every = duration_text(self.every);
        let mut text = format!("{}: {}, each every {every}", self.name, asks.join(", "));
        match &*self.from {
            [] => text.push_str(" in each region"),
            from => text.push_str(&format!(" in {}", names(from))),
        }
        match self.pattern {
            Pattern::Steady => {}
            Pattern::Bursts {
                every,
                lasts,
                times,
            } => {
                let (every, lasts) = (duration_text(every), duration_text(lasts));
                text.push_str(&format!(
                    "; {times} times as fast for {lasts} of every {every}"
                ));
            }
            Pattern::Sun { turn } => {
                let turn = duration_text(turn);
                text.push_str(&format!(
                    "; the regions take turns of {turn}, and the others ask a tenth"
                ));
            }
            Pattern::Ramp { over, times } => {
                let over = duration_text(over);
                text.push_str(&format!("; faster over {over} until {times} times as fast"));
            }
        }
        let sets: Vec<String> = self
            .limits
            .iter()
            .map(|set| match &**set {
                [] => "no limit".to_owned(),
                set => set.join(", "),
            })
            .collect();
        if !sets.is_empty() {
            text.push_str(&format!("; limited to {}", sets.join(", then ")));
        }
        for set in &self.set {
            let (at, lasts) = (duration_text(set.at), duration_text(set.lasts));
            let limits = set.limits.join(", ");
            text.push_str(&format!("; at {at} set to {limits} for {lasts}"));
        }
        if !self.zones.is_empty() {
            text.push_str(&format!("; may be served in {} alone", names(&self.zones)));
        }
        if self.tokens != DAY {
            let tokens = duration_text(self.tokens);
            text.push_str(&format!("; its tokens are good for {tokens}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use meridian_config::diagnose::Source;

    use crate::scenario::{Scenario, find};

    fn with(tenants: &str) -> Result<Scenario, Vec<String>> {
        let mut source: Source = find("region-loss", |_| unreachable!("it is shipped")).unwrap();
        source.text.push_str(&format!("tenants:\n{tenants}"));
        Scenario::parse(&source).map_err(|wrong| wrong.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_tenant_says_what_it_asks_for_where_and_how_fast() {
        let scenario = with(
            "  - { name: a, asks: [put], rate: 2/second, bursts: { times: 10, for: 2s, every: 6s } }
  - { name: b, from: [us-east], zones: [eu-west, us-east], ramp: { times: 4, over: 10s }, tokens: 30s }
",
        )
        .unwrap();
        let words = scenario.explain();
        for told in [
            "a: put, each every 500ms in each region; 10 times as fast for 2s of every 6s",
            "b: get, get-elsewhere, put, post, post-keyed, each every 100ms in us-east; faster over 10s until 4 times as fast; may be served in eu-west, us-east alone; its tokens are good for 30s",
        ] {
            assert!(words.contains(told), "{words}");
        }
        // The nine flows of every run, three of `a`, five of `b`.
        assert_eq!(scenario.lines().len(), 9 + 3 + 5);
    }

    #[test]
    fn mistakes_have_their_places() {
        let wrong = with(
            "  - { name: acme, asks: [get, gte], from: [mars], tokens: 1s }
  - { name: A b, bursts: { times: 1, for: 6s, every: 6s } }
",
        )
        .unwrap_err();
        let told = [
            "tenants[0].name: acme is taken",
            "tenants[0].asks: \"gte\" is none; use some of get, get-elsewhere, put, post, post-keyed",
            "there is no region \"mars\"",
            "tenants.tokens: 1s is too short",
            "tenants[1].name: \"A b\" is no name",
            "tenants[1]: 1 times as fast",
            "tenants[1].bursts.for: a burst must be shorter",
        ];
        for (told, wrong) in told.iter().zip(&wrong) {
            assert!(wrong.contains(told), "{wrong} is not {told}");
        }
        assert_eq!(wrong.len(), told.len(), "{wrong:#?}");
    }
}
