//! Whatever the bounds and the seed: what is drawn keeps to them, and can be played.

use proptest::prelude::*;

use super::*;

const REGIONS: [&str; 4] = ["eu-west", "us-east", "ap-south", "sa-east"];

fn bounds() -> impl Strategy<Value = Bounds> {
    let kinds = proptest::sample::subsequence(
        DrawnKind::ALL.map(|(_, kind)| kind).to_vec(),
        1..=DrawnKind::ALL.len(),
    );
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
        "writes": {"every": "2s"}, "faults": faults, "calm": "15s",
    })
    .to_string()
}

proptest! {
    #[test]
    fn what_is_drawn_keeps_to_its_bounds_and_can_be_read(
        bounds in bounds(), seed: u64, regions in 2_usize..=4, nodes_per_region in 1_usize..=3,
    ) {
        let regions: Vec<String> = REGIONS[..regions].iter().map(|name| (*name).to_owned()).collect();
        let cluster = Cluster { regions: &regions, nodes_per_region };
        let drawn = bounds.draw(cluster, Seed(seed));
        prop_assert_eq!(&drawn, &bounds.draw(cluster, Seed(seed)));
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
            text: scenario(&regions, nodes_per_region, &drawn),
        };
        let read = crate::scenario::Scenario::parse(&source);
        prop_assert!(read.is_ok(), "{:?} of {}", read.err(), source.text);
        prop_assert_eq!(read.unwrap().faults.len(), drawn.len());
    }
}

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
    let regions: Vec<String> = REGIONS.map(str::to_owned).to_vec();
    let cluster = Cluster {
        regions: &regions,
        nodes_per_region: 2,
    };
    let (mut leaders, mut stops) = (0, 0);
    for seed in 0..200 {
        let drawn = bounds.draw(cluster, Seed(seed));
        for (index, fault) in drawn.iter().enumerate() {
            let (at, ends) = (time(fault, "at"), time(fault, "at") + time(fault, "for"));
            let later = &drawn[index + 1..];
            if ["power_off", "kill", "isolate"]
                .iter()
                .any(|key| is_leader(&fault[*key]))
            {
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
                for key in ["power_off", "kill", "stop"] {
                    let again = later.iter().find(|one| one[key] == fault["stop"]);
                    assert!(again.is_none(), "seed {seed}: {drawn:#?}");
                    assert!(later.iter().all(|one| !is_leader(&one[key])), "{drawn:#?}");
                }
            }
        }
    }
    assert!(leaders > 20 && stops > 200, "{leaders} {stops}");
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
