//! Scenario files: the shipped ones read, and mistakes are told with their places.

use std::io;

use super::{
    shipped::{GROUPS, SCREEN, says},
    *,
};

fn shipped() -> Source {
    find("region-loss", |_| unreachable!("it is shipped")).unwrap()
}

fn mistakes(text: &str) -> Vec<String> {
    let source = Source {
        name: "s.yaml".to_owned(),
        text: text.to_owned(),
    };
    let found = Scenario::parse(&source).expect_err("it is wrong");
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn every_shipped_scenario_reads_and_has_its_own_name() {
    for (name, _) in SHIPPED {
        let source = find(name, |_| unreachable!("it is shipped")).unwrap();
        let scenario = Scenario::parse(&source).unwrap();
        assert_eq!(scenario.name, *name);
        assert!(!scenario.faults.is_empty() || scenario.drawn.is_some());
        assert!(scenario.explain().starts_with(name));
    }
}

#[test]
fn region_loss_says_what_the_file_says() {
    let scenario = Scenario::parse(&shipped()).unwrap();
    let latency = |a, b| scenario.links.latency(Place(a), Place(b)).as_millis();
    assert_eq!((latency(0, 1), latency(2, 0), latency(1, 2)), (40, 75, 110));
    let fault = |at| Fault {
        at: Duration::from_secs(at),
        what: FaultKind::PowerOff(Target::Leader),
        lasts: Duration::from_secs(10),
    };
    assert_eq!(scenario.faults, [fault(6), fault(24)]);
    assert_eq!(scenario.request_every, Some(Duration::from_millis(100)));
    assert_eq!(scenario.kinds.len(), 3);
}

#[test]
fn mistakes_are_all_reported_at_once_with_their_places() {
    let text = shipped()
        .text
        .replace("within: 1ms", "within: 1")
        .replacen("power_off: leader", "power_off: eu-wst", 1)
        .replace("loss: 0.1%", "loss: often");
    let found = mistakes(&text);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found[0].starts_with("s.yaml:15:11: network.within:"),
        "{found:#?}"
    );
    assert!(
        found[1].contains("network.loss: \"often\" is not a share"),
        "{found:#?}"
    );
    let region =
        "neither a region nor a node \"eu-wst\"; use leader, leader-node, or one of eu-west,";
    assert!(found[2].contains(region), "{found:#?}");
}

#[test]
fn clients_may_ask_for_some_kinds_alone() {
    let with = |asks: &str| {
        let traffic = format!("traffic: {{ rate: 10/second, asks: {asks} }}");
        shipped()
            .text
            .replace("traffic: { rate: 10/second }", &traffic)
    };
    let source = Source {
        name: "s.yaml".to_owned(),
        text: with("[remote, local]"),
    };
    let scenario = Scenario::parse(&source).unwrap();
    assert_eq!(scenario.lines().len(), 2 * 3);
    let words = scenario.explain();
    assert!(
        words.contains("one request every 100ms in each region, of each of: local, remote"),
        "{words}"
    );
    for (asks, told) in [
        (
            "[lokal]",
            "traffic.asks: there is no kind \"lokal\"; use some of local, order, remote",
        ),
        (
            "[local, local]",
            "traffic.asks: \"local\" stands here twice",
        ),
        (
            "[]",
            "traffic.asks: name at least one kind, or leave it out for all of them",
        ),
    ] {
        let found = mistakes(&with(asks));
        assert!(found.len() == 1 && found[0].contains(told), "{found:#?}");
    }
    let alone = |asks: &str| {
        let head = "name: s\nsays: s\nregions: [a]\nnodes_per_region: 3\ncalm: 20s\nnetwork: { within: 1ms, between: [] }\n";
        let source = Source {
            name: "s.yaml".to_owned(),
            text: format!(
                "{head}traffic: {{ rate: 10/second, asks: {asks} }}\nwrites: {{ every: 5s }}\n"
            ),
        };
        Scenario::parse(&source).map(|scenario| scenario.lines().len())
    };
    assert_eq!(alone("[remote, local]").unwrap(), 1);
    let told = format!("{:?}", alone("[remote]").unwrap_err());
    assert!(told.contains("there is one region"), "{told}");
}

#[test]
fn an_unknown_key_and_a_forgotten_latency_are_refused() {
    let found = mistakes(&shipped().text.replace("jitter:", "jiter:"));
    assert!(found[0].contains("jiter"), "{found:#?}");
    let line = "    - { regions: [us-east, ap-south], latency: 110ms }\n";
    let found = mistakes(&shipped().text.replace(line, ""));
    let forgotten = "no latency between us-east and ap-south";
    assert!(found[0].contains(forgotten), "{found:#?}");
}

#[test]
fn a_name_that_is_neither_shipped_nor_a_file_says_so() {
    let missing = |_: &str| Err(io::ErrorKind::NotFound.into());
    let unknown = find("region-los", missing).unwrap_err().to_string();
    assert!(unknown.contains("no shipped scenario"), "{unknown}");
}

#[test]
fn every_shipped_scenario_is_listed_once_with_a_whole_sentence() {
    let listed: Vec<&str> = GROUPS
        .iter()
        .flat_map(|(_, names)| names.iter().copied())
        .collect();
    let mut shipped: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    shipped.sort_unstable();
    assert_eq!(sorted, shipped);
    let text = list();
    assert!(
        text.lines().all(|line| line.chars().count() <= SCREEN),
        "{text}"
    );
    for name in listed {
        let says = says(name);
        let sentence = &says[..=says.find('.').unwrap()];
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(&format!("{name} {sentence}")), "{text}");
    }
}

#[test]
fn a_run_begins_with_a_release_that_can_be_upgraded() {
    let mut scenario = Scenario::parse(&shipped()).unwrap();
    assert_eq!(scenario.begin_with(1), Ok(()));
    assert!(scenario.release_before);
    assert_eq!(scenario.begin_with(2), Ok(()));
    assert!(!scenario.release_before);
    assert!(scenario.begin_with(3).unwrap_err().contains("reads 1-2"));
}

#[test]
fn nodes_that_join_have_names_of_their_own() {
    let text = shipped()
        .text
        .replacen("power_off: leader", "join: us-east", 2);
    let source = Source { text, ..shipped() };
    let scenario = Scenario::parse(&source).unwrap();
    let place = Place(1);
    let guests = [2, 3].map(|number| Spot { place, number });
    assert_eq!(scenario.guests(), guests);
}

#[test]
fn what_must_hold_is_read_told_and_never_wider_than_the_promise() {
    let text = shipped().text;
    let (plain, _) = text.split_once("holds:").unwrap();
    let with = |holds: &str| format!("{plain}holds: {holds}\n");
    let text = with(
        "{ tries: [availability, quota], outages: 700ms, equal: 4s, served: 99%, written: 60%, unanswered: 2 }",
    );
    let source = Source {
        name: "s.yaml".to_owned(),
        text,
    };
    let scenario = Scenario::parse(&source).unwrap();
    let holds = &scenario.holds;
    assert_eq!(holds.tries, ["availability", "quota"]);
    assert_eq!(holds.outages, Some(Duration::from_millis(700)));
    assert_eq!(holds.equal, Some(Duration::from_secs(4)));
    assert_eq!((holds.served, holds.written), (Some(0.99), Some(0.6)));
    let told = "these are put to the test: availability, quota; 99 % of outages are shorter than 700ms; all nodes are equal 4s after the last fault; 99 % of requests are served; 60 % of documents are acknowledged";
    assert!(scenario.explain().contains(told), "{}", scenario.explain());

    let found = mistakes(&with(
        "{ tries: [avilability], outages: 1001ms, equal: 11s, served: most }",
    ));
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(found[0].contains(
        "holds.tries: there is no invariant \"avilability\"; use one of agreement, availability,"
    ));
    assert!(
        found[1].contains("holds.outages: every run is held to 1s; write less, or leave it out")
    );
    assert!(found[2].contains("holds.equal: every run is held to 10s"));
    assert!(found[3].contains("holds.served: \"most\" is not a share"));
}
