//! The operator's regions as the places of a scenario, how far they lie apart, and how many nodes each has.
//!
//! A core.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

use meridian_config::document::Location;

/// How many nodes a run has in each region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Nodes {
    /// As many as the scenario says.
    #[default]
    AsScenario,
    /// So many in each.
    Each(usize),
    /// So many in these, by name; as the scenario says in the others.
    Of(BTreeMap<String, usize>),
}

impl Nodes {
    /// Reads `3`, or `eu-west=3,us-east=1`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| match text.trim().parse::<usize>() {
            Ok(number @ 1..=MOST) => Ok(number),
            _ => Err(format!(
                "{text:?} is no number of nodes; write one from 1 to {MOST}, as in \"3\" or \"eu-west=3,us-east=1\""
            )),
        };
        if !text.contains('=') {
            return number(text).map(Self::Each);
        }
        let mut nodes = BTreeMap::new();
        for part in text.split(',') {
            let Some((region, count)) = part.split_once('=') else {
                return Err(format!(
                    "{part:?} has no number; write \"{}=1\"",
                    part.trim()
                ));
            };
            let region = region.trim().to_owned();
            if nodes.insert(region.clone(), number(count)?).is_some() {
                return Err(format!("{region} stands here twice; keep one"));
            }
        }
        Ok(Self::Of(nodes))
    }

    /// The named region that is none of these, if there is one.
    pub(in super::super) fn stranger(&self, regions: &[String]) -> Option<&str> {
        match self {
            Self::Of(nodes) => nodes
                .keys()
                .find(|name| !regions.contains(name))
                .map(String::as_str),
            Self::AsScenario | Self::Each(_) => None,
        }
    }

    /// The count of each region; `each` is the scenario's.
    pub(in super::super) fn of(&self, regions: &[String], each: usize) -> Vec<usize> {
        let count = |region: &String| match self {
            Self::AsScenario => each,
            Self::Each(count) => *count,
            Self::Of(nodes) => nodes.get(region).copied().unwrap_or(each),
        };
        regions.iter().map(count).collect()
    }
}

impl fmt::Display for Nodes {
    /// As [`Nodes::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsScenario => Ok(()),
            Self::Each(count) => write!(f, "{count}"),
            Self::Of(nodes) => {
                for (index, (region, count)) in nodes.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{region}={count}")?;
                }
                Ok(())
            }
        }
    }
}

/// The regions in the order of a scenario's places: one of the same name keeps its place, the others fill the
/// places that are left, in their own order.
pub(super) fn places(regions: &[String], scenario: &[String]) -> Vec<String> {
    let mut others = regions
        .iter()
        .filter(|region| !scenario.contains(region))
        .cloned()
        .collect::<VecDeque<_>>();
    let mut placed: Vec<String> = Vec::new();
    for name in scenario {
        if regions.contains(name) {
            placed.push(name.clone());
        } else {
            placed.extend(others.pop_front());
        }
    }
    placed.extend(others);
    placed
}

/// One way between two places: light in fibre (200 km a millisecond) on a route half as long again as the great
/// circle, and a millisecond at the ends. Dublin to Northern Virginia: 42 ms.
pub(super) fn latency(a: Location, b: Location) -> Duration {
    let (lat_a, lat_b) = (a.lat.to_radians(), b.lat.to_radians());
    let (lat, lon) = (lat_b - lat_a, (b.lon - a.lon).to_radians());
    // The haversine formula.
    let h = (lat / 2.0).sin().powi(2) + lat_a.cos() * lat_b.cos() * (lon / 2.0).sin().powi(2);
    let km = 2.0 * EARTH_KM * h.sqrt().min(1.0).asin();
    let ms = (1.0 + km * ROUTE / FIBRE_KM_PER_MS).round();
    Duration::from_secs_f64(ms / 1000.0)
}

/// One way between two regions of which one has no location.
pub(super) const UNKNOWN: Duration = Duration::from_millis(50);

/// More nodes of a region than a world has room for.
const MOST: usize = 200;

const EARTH_KM: f64 = 6371.0;

/// Light in glass.
const FIBRE_KM_PER_MS: f64 = 200.0;

/// How much longer cables are than the great circle.
const ROUTE: f64 = 1.5;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn regions_of_one_name_keep_their_place_and_the_others_fill_up() {
        let scenario = names(&["eu-west", "us-east", "ap-south"]);
        let of = |regions: &[&str]| places(&names(regions), &scenario);
        assert_eq!(
            of(&["fra", "us-east", "sin", "syd"]),
            ["fra", "us-east", "sin", "syd"]
        );
        assert_eq!(
            of(&["ap-south", "us-east", "eu-west"]),
            ["eu-west", "us-east", "ap-south"]
        );
        assert_eq!(of(&["us-east", "fra"]), ["fra", "us-east"]);
        assert_eq!(of(&["ap-south"]), ["ap-south"]);
    }

    #[test]
    fn distances_are_near_what_networks_have() {
        let dublin = Location {
            lat: 53.35,
            lon: -6.26,
        };
        let virginia = Location {
            lat: 38.95,
            lon: -77.45,
        };
        let mumbai = Location {
            lat: 19.08,
            lon: 72.88,
        };
        let ms = |a, b| latency(a, b).as_millis();
        assert_eq!(ms(dublin, virginia), 42);
        assert_eq!(ms(virginia, dublin), 42);
        assert!((55..70).contains(&ms(dublin, mumbai)));
        assert!((90..110).contains(&ms(virginia, mumbai)));
        assert_eq!(ms(dublin, dublin), 1);
    }

    #[test]
    fn nodes_read_back_and_wrong_ones_are_refused() {
        for text in ["3", "eu-west=3,us-east=1"] {
            assert_eq!(Nodes::parse(text).unwrap().to_string(), text);
        }
        let regions = names(&["eu-west", "ap-south"]);
        let some = Nodes::parse("eu-west=3, mars=1").unwrap();
        assert_eq!(some.of(&regions, 2), [3, 2]);
        assert_eq!(some.stranger(&regions), Some("mars"));
        for wrong in ["", "0", "x", "a=1,a=2", "a=1,b", "a=0", "201"] {
            assert!(Nodes::parse(wrong).is_err(), "{wrong}");
        }
    }
}
