//! Whatever the bounds and the seed: what is drawn keeps to them, and can be played.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::scenario::raw::REJOIN;

const REGIONS: [&str; 4] = ["eu-west", "us-east", "ap-south", "sa-east"];

fn bounds() -> impl Strategy<Value = Bounds> {
    // A few, so that those which find little room meet their like; or any number.
    let some = |most| {
        let all = DrawnKind::ALL.map(|(_, kind)| kind).to_vec();
        proptest::sample::subsequence(all, 1..=most)
    };
    let kinds = prop_oneof![some(4), some(DrawnKind::ALL.len())];
    let span = (100_u64..5_000, 0_u64..10_000).prop_map(|(least, more)| {
        Duration::from_millis(least)..=Duration::from_millis(least + more)
    });
    ((1_u32..6, 0_u32..10), 1_u32..4, kinds, span.clone(), span).prop_map(
        |((least, more), at_once, kinds, lasts, apart)| Bounds {
            count: least..=least + more,
            at_once,
            kinds,
            lasts,
            apart,
            within: Duration::from_secs(90),
        },
    )
}

fn cluster(regions: usize, nodes_per_region: usize) -> Cluster {
    let names = REGIONS[..regions].iter();
    Cluster {
        regions: names.map(|name| (*name).to_owned()).collect(),
        nodes: vec![nodes_per_region; regions],
        traffic: true,
    }
}

fn time(value: &Value, key: &str) -> Duration {
    let text = value[key].as_str().expect("a text");
    meridian_config::units::duration(text).expect("a duration")
}

/// The file's own reader says whether it can be played; the rest is counted here.
fn scenario(regions: &[String], nodes_per_region: usize, faults: &[Value]) -> String {
    let between: Vec<Value> = (0..regions.len())
        .flat_map(|a| (a + 1..regions.len()).map(move |b| (a, b)))
        .map(|(a, b)| json!({"regions": [regions[a], regions[b]], "latency": "40ms"}))
        .collect();
    json!({
        "name": "drawn", "says": "Drawn.", "regions": regions, "nodes_per_region": nodes_per_region,
        "network": {"within": "1ms", "between": between},
        "traffic": {"rate": "1/second"}, "writes": {"every": "2s"}, "faults": faults, "calm": "15s",
    })
    .to_string()
}

proptest! {
    #[test]
    fn what_is_drawn_keeps_to_its_bounds_and_can_be_read(
        mut bounds in bounds(), seed: u64, regions in 2_usize..=4, nodes_per_region in 1_usize..=3,
    ) {
        let cluster = cluster(regions, nodes_per_region);
        let regions = &cluster.regions;
        let all = bounds.clone();
        bounds.kinds.retain(|kind| kind.why_not(&all, &cluster).is_none());
        prop_assume!(!bounds.kinds.is_empty());
        let drawn = bounds.draw(&cluster, Seed(seed));
        prop_assert_eq!(&drawn, &bounds.draw(&cluster, Seed(seed)));
        prop_assert!(!drawn.is_empty());
        prop_assert!(drawn.len() <= *bounds.count.end() as usize);
        for fault in &drawn {
            let (at, lasts) = (time(fault, "at"), time(fault, "for"));
            prop_assert!(bounds.lasts.contains(&lasts));
            prop_assert!(at + lasts <= bounds.within);
            let others = drawn.iter().filter(|other| {
                let began = time(other, "at");
                began <= at && began + time(other, "for") > at
            });
            prop_assert!(others.count() <= bounds.at_once as usize);
        }
        for pair in drawn.windows(2) {
            prop_assert!(time(&pair[1], "at") - time(&pair[0], "at") >= *bounds.apart.start());
        }
        let source = meridian_config::diagnose::Source {
            name: "drawn.yaml".to_owned(),
            text: scenario(regions, nodes_per_region, &drawn),
        };
        let read = crate::scenario::Scenario::parse(&source);
        prop_assert!(read.is_ok(), "{:?} of {}", read.err(), source.text);
        prop_assert_eq!(read.unwrap().faults.len(), drawn.len());
    }
}

/// Kinds that may befall the leader.
const LED: [&str; 11] = [
    "power_off",
    "kill",
    "pause",
    "suspend",
    "disk_slow",
    "disk_stall",
    "disk_full",
    "disk_errors",
    "disk_corrupt",
    "clock",
    "isolate",
];

fn is_leader(target: &Value) -> bool {
    target == "leader" || target == "leader-node"
}

#[test]
fn a_leaders_region_is_named_while_nothing_else_goes_wrong_and_a_stopped_region_is_left_alone() {
    let ms = Duration::from_millis;
    let bounds = Bounds {
        count: 20..=20,
        at_once: 3,
        kinds: DrawnKind::ALL.map(|(_, kind)| kind).to_vec(),
        lasts: ms(500)..=ms(20_000),
        apart: ms(100)..=ms(3_000),
        within: Duration::from_secs(200),
    };
    let cluster = cluster(4, 2);
    let (mut leaders, mut stops) = (0, 0);
    for seed in 0..200 {
        let drawn = bounds.draw(&cluster, Seed(seed));
        for (index, fault) in drawn.iter().enumerate() {
            let (at, ends) = (time(fault, "at"), time(fault, "at") + time(fault, "for"));
            let later = &drawn[index + 1..];
            if LED.iter().any(|key| is_leader(&fault[*key])) {
                leaders += 1;
                let before = drawn[..index].iter();
                let mut overlapping = before.filter(|one| time(one, "at") + time(one, "for") > at);
                assert!(overlapping.next().is_none(), "seed {seed}: {drawn:#?}");
                assert!(
                    later.iter().all(|one| time(one, "at") >= ends),
                    "{drawn:#?}"
                );
            }
            if fault["stop"].is_string() {
                stops += 1;
                for key in LED.iter().chain(&["stop"]) {
                    let again = later.iter().find(|one| one[*key] == fault["stop"]);
                    assert!(again.is_none(), "seed {seed}: {drawn:#?}");
                    assert!(later.iter().all(|one| !is_leader(&one[*key])), "{drawn:#?}");
                }
            }
        }
    }
    assert!(leaders > 20 && stops > 100, "{leaders} {stops}");
}

/// What a fault is called in bounds.
fn kind(fault: &Value) -> &'static str {
    let marked = |key: &str| fault[key] == true;
    let found = DrawnKind::ALL.iter().find(|(name, _)| match *name {
        "wipe" => marked("wipe"),
        "kill" => fault["kill"].is_string() && !marked("wipe"),
        "cut_one_way" => fault["cut"].is_array() && marked("one_way"),
        "cut" => fault["cut"].is_array() && !marked("one_way"),
        name => fault.get(name).is_some(),
    });
    found.unwrap_or_else(|| panic!("{fault} is of no kind")).0
}

fn ends(fault: &Value) -> Duration {
    time(fault, "at") + time(fault, "for")
}

/// All kinds, in a time that has room for each.
fn anything(count: u32, at_once: u32, within: u64) -> Bounds {
    let ms = Duration::from_millis;
    Bounds {
        count: count..=count,
        at_once,
        kinds: DrawnKind::ALL.map(|(_, kind)| kind).to_vec(),
        lasts: ms(1_000)..=ms(10_000),
        apart: ms(500)..=ms(4_000),
        within: Duration::from_secs(within),
    }
}

#[test]
fn every_kind_is_drawn_for_the_shipped_chaos() {
    let source = crate::scenario::find("chaos", |_| unreachable!("it is shipped")).unwrap();
    let chaos = crate::scenario::Scenario::parse(&source).unwrap();
    let bounds = chaos.drawn.clone().expect("it draws");
    let mut seen: std::collections::BTreeMap<&str, u32> = std::collections::BTreeMap::new();
    for seed in 0..1_000 {
        for fault in bounds.draw(chaos.cluster(), Seed(seed)) {
            *seen.entry(kind(&fault)).or_default() += 1;
        }
    }
    // Each of some 3 500 has the same chance, but for those that need most room.
    for (name, _) in DrawnKind::ALL {
        let seen = seen.get(name).copied().unwrap_or_default();
        assert!(seen >= 15, "{name} was drawn {seen} times");
    }
}

#[test]
fn a_second_disk_is_lost_only_when_nothing_has_gone_wrong_for_long_since_the_first() {
    let mut bounds = anything(20, 2, 300);
    use DrawnKind::{DiskCorrupt, Kill, Slow, Wipe};
    bounds.kinds = vec![Wipe, DiskCorrupt, Kill, Slow];
    bounds.apart = Duration::from_millis(500)..=Duration::from_secs(14);
    let cluster = cluster(3, 2);
    let mut twice = 0;
    for seed in 0..100 {
        let drawn = bounds.draw(&cluster, Seed(seed));
        let lost = |fault: &&Value| ["wipe", "disk_corrupt"].contains(&kind(fault));
        let lost: Vec<&Value> = drawn.iter().filter(lost).collect();
        for pair in lost.windows(2) {
            twice += 1;
            let (first, second) = (ends(pair[0]), time(pair[1], "at"));
            let busy = |from: Duration| {
                drawn
                    .iter()
                    .any(|fault| time(fault, "at") < from + REJOIN && ends(fault) > from)
            };
            let mut quiet = drawn
                .iter()
                .map(ends)
                .filter(|from| *from >= first && *from + REJOIN <= second);
            assert!(quiet.any(|from| !busy(from)), "seed {seed}: {drawn:#?}");
        }
    }
    assert!(twice > 20, "{twice}");
}

#[test]
fn no_node_is_started_on_a_disk_that_it_cannot_use() {
    let mut bounds = anything(30, 1, 300);
    use DrawnKind::{DiskErrors, DiskFull, PowerOff};
    bounds.kinds = vec![PowerOff, DiskFull, DiskErrors];
    bounds.apart = Duration::from_millis(500)..=Duration::from_secs(4);
    let mut after = 0;
    for seed in 0..100 {
        // One node in each region, so that whoever is named is it.
        let drawn = bounds.draw(&cluster(3, 1), Seed(seed));
        for fault in drawn.iter().filter(|fault| kind(fault) != "power_off") {
            let began = time(fault, "at");
            for other in drawn.iter().filter(|other| ends(other) <= began) {
                let (here, there) = (silences(fault), silences(other));
                let leaders = here == Some("leader") || there == Some("leader");
                let since = began - ends(other);
                after += u32::from(here == there && since < Duration::from_secs(3));
                assert!(
                    (!leaders && here != there) || since >= Duration::from_secs(1),
                    "seed {seed}: {drawn:#?}"
                );
            }
        }
    }
    assert!(after > 20, "{after}");
}

#[test]
fn an_issuer_that_errs_is_asked_for_a_new_key_meanwhile_and_none_comes_too_soon_after_another() {
    let bounds = anything(20, 3, 300);
    let (mut errors, mut keys) = (0, 0);
    for seed in 0..300 {
        let drawn = bounds.draw(&cluster(3, 1), Seed(seed));
        let rotations: Vec<Duration> = drawn
            .iter()
            .filter(|fault| kind(fault) == "issuer_rotates")
            .map(|fault| time(fault, "at"))
            .collect();
        keys += rotations.len();
        assert!(
            rotations.len() <= 2,
            "the issuer has no more keys: {drawn:#?}"
        );
        if let [one, other] = rotations[..] {
            assert!(other - one > Duration::from_secs(11), "{drawn:#?}");
        }
        for fault in drawn.iter().filter(|fault| kind(fault) == "issuer_errors") {
            errors += 1;
            let (from, to) = (time(fault, "at"), ends(fault));
            let asked = |at: &Duration| *at > from && *at + Duration::from_secs(2) <= to;
            assert!(rotations.iter().any(asked), "{drawn:#?}");
        }
    }
    assert!(errors > 50 && keys > errors, "{errors} {keys}");
}

/// Which of `REGIONS` a fault silences wholly, with one node in each.
fn silences(fault: &Value) -> Option<&str> {
    let keys = [
        "power_off",
        "kill",
        "pause",
        "suspend",
        "stop",
        "disk_full",
        "disk_errors",
        "disk_corrupt",
    ];
    keys.iter().find_map(|key| fault[*key].as_str())
}

#[test]
fn no_link_or_disk_is_in_trouble_where_nobody_would_notice() {
    let bounds = anything(30, 3, 300);
    let (mut links, mut disks) = (0, 0);
    for seed in 0..300 {
        let drawn = bounds.draw(&cluster(3, 1), Seed(seed));
        for fault in &drawn {
            let beside = drawn.iter().filter(|other| {
                *other != fault
                    && time(other, "at") < ends(fault)
                    && time(fault, "at") < ends(other)
            });
            let silent: Vec<&str> = beside.clone().filter_map(silences).collect();
            match kind(fault) {
                key @ ("cut" | "flap" | "slow" | "lossy" | "narrow") => {
                    links += 1;
                    let both = fault[key].as_array().expect("a link");
                    assert!(
                        both.iter().all(|end| !silent.iter().any(|it| end == it)),
                        "{drawn:#?}"
                    );
                }
                "disk_slow" | "disk_stall" | "disk_full" | "disk_errors" => {
                    disks += 1;
                    assert!(silent.is_empty(), "{drawn:#?}");
                    let cut = |other: &Value| {
                        ["cut", "cut_one_way", "flap", "isolate"].contains(&kind(other))
                    };
                    let here = silences(fault)
                        .or(fault["disk_slow"].as_str())
                        .or(fault["disk_stall"].as_str());
                    let here = here.expect("a region or the leader");
                    for other in beside.filter(|other| cut(other)) {
                        assert!(!other.to_string().contains(here), "{drawn:#?}");
                    }
                }
                _ => {}
            }
        }
    }
    assert!(links > 300 && disks > 200, "{links} {disks}");
}

#[test]
fn what_a_cluster_or_bounds_have_no_room_for_is_said() {
    let bounds = anything(3, 2, 60);
    let why = |kind: DrawnKind, bounds: &Bounds, cluster: &Cluster| {
        kind.why_not(bounds, cluster).unwrap_or_default()
    };
    let (three, two) = (cluster(3, 1), cluster(2, 1));
    for (name, kind) in DrawnKind::ALL {
        assert_eq!(why(kind, &bounds, &three), "", "{name}");
    }
    assert!(why(DrawnKind::Wipe, &bounds, &two).contains("needs three nodes that vote"));
    assert_eq!(
        why(DrawnKind::Flap, &bounds, &cluster(1, 3)),
        "takes two regions"
    );
    let short = Bounds {
        lasts: Duration::from_secs(1)..=Duration::from_secs(3),
        ..bounds.clone()
    };
    let says = why(DrawnKind::DiskStall, &short, &three);
    assert!(says.contains("no sign in less than 4s"), "{says}");
    let idle = Cluster {
        traffic: false,
        ..three.clone()
    };
    assert!(why(DrawnKind::IssuerErrors, &bounds, &idle).contains("needs traffic"));
    let one = anything(3, 1, 60);
    assert!(why(DrawnKind::IssuerErrors, &one, &three).contains("comes with a new key"));
}

#[test]
fn an_operators_cluster_is_drawn_for_by_the_names_of_the_parts_it_plays() {
    let cluster = Cluster {
        regions: vec!["eu-west".to_owned(), "us-east".to_owned()],
        nodes: vec![2, 1],
        traffic: true,
    };
    for seed in 0..200 {
        for fault in anything(20, 2, 200).draw(&cluster, Seed(seed)) {
            let text = fault.to_string();
            assert!(
                !text.contains("us-east-") && !text.contains("eu-west-3"),
                "{text}"
            );
        }
    }
}

#[test]
fn bounds_that_leave_no_room_or_make_no_sense_are_refused_with_their_places() {
    let regions = ["eu-west".to_owned(), "us-east".to_owned()];
    let fixed = scenario(&regions, 3, &[]);
    let drawn = |drawn: &str| {
        let text = format!("{},\"drawn\": {drawn}}}", &fixed[..fixed.len() - 1]);
        let text = text.replace("\"faults\":[],", "");
        let name = "s.yaml".to_owned();
        let source = meridian_config::diagnose::Source { name, text };
        let read = crate::scenario::Scenario::parse(&source);
        read.map_or_else(
            |mistakes| mistakes.iter().map(ToString::to_string).collect(),
            |_| Vec::new(),
        )
    };
    let right = r#"{"count": "1..3", "at_once": 2, "kinds": ["kill", "stop"], "for": "1s..4s", "apart": "1s..2s", "within": "40s"}"#;
    assert_eq!(drawn(right), Vec::<String>::new());
    for (from, to, says) in [
        (
            "1..3",
            "3..1",
            "drawn.count: \"3..1\" is not a number of faults",
        ),
        (
            "1..3",
            "0..3",
            "drawn.count: \"0..3\" is not a number of faults",
        ),
        ("1..3", "1..99999999", "is not a number of faults"),
        (
            "1s..4s",
            "4s..1s",
            "drawn.for: \"4s..1s\" is not a range of durations",
        ),
        (
            "1s..4s",
            "1..4",
            "drawn.for: \"1..4\" is not a range of durations",
        ),
        (
            "1s..2s",
            "1ms..2s",
            "drawn.apart: \"1ms..2s\" is not a range",
        ),
        (
            "\"at_once\": 2",
            "\"at_once\": 0",
            "drawn.at_once: nothing would ever go wrong",
        ),
        (
            "[\"kill\", \"stop\"]",
            "[]",
            "drawn.kinds: name at least one kind",
        ),
        (
            "\"kill\"",
            "\"kil\"",
            "\"kil\" cannot be drawn; use some of power_off, kill,",
        ),
        (
            "40s",
            "19s",
            "stop may begin after 2s and take 18s, which does not end within 19s",
        ),
        ("40s", "0s", "drawn.within: no time at all"),
    ] {
        let found = drawn(&right.replace(from, to));
        let found = found.iter().find(|mistake| mistake.contains(says));
        let found = found.unwrap_or_else(|| panic!("{to}: nothing says {says}"));
        assert!(found.starts_with("s.yaml:1:"), "{found}");
    }
    let both = fixed.replace(
        "\"faults\":[]",
        r#""faults":[{"at": "1s", "for": "1s", "kill": "leader"}]"#,
    );
    let text = format!("{},\"drawn\": {right}}}", &both[..both.len() - 1]);
    let name = "s.yaml".to_owned();
    let source = meridian_config::diagnose::Source { name, text };
    let mistakes = crate::scenario::Scenario::parse(&source).expect_err("it does both");
    assert!(
        mistakes[0]
            .to_string()
            .contains("lists its faults or draws them")
    );
}
