//! An operator's document in a scenario: what is asked for, what is replaced, and what does not fit.

use meridian_config::document::EXAMPLE;

use super::*;
use crate::scenario::{FaultKind, Link, Scenario, find};

const EVERY: Duration = Duration::from_millis(100);

fn operator(text: &str) -> Operator {
    let source = Source {
        name: "gateway.yaml".to_owned(),
        text: text.to_owned(),
    };
    Operator::read(&[source]).unwrap_or_else(|wrong| panic!("{wrong:#?}"))
}

fn settled(text: &str) -> Operator {
    let mut operator = operator(text);
    operator.take_places(&[], &Nodes::AsScenario, 1);
    operator.settle(Some(EVERY));
    operator
}

fn play(scenario: &str, text: &str, nodes: &str) -> Result<Scenario, Vec<String>> {
    let source = find(scenario, |_| unreachable!("it is shipped")).unwrap();
    let nodes = Nodes::parse(nodes).unwrap();
    let told = |wrong: Vec<Diagnostic>| wrong.iter().map(ToString::to_string).collect();
    Scenario::parse_for(&source, operator(text), &nodes).map_err(told)
}

#[test]
fn every_route_of_the_example_is_asked_for_and_the_document_that_nodes_run_passes_the_check() {
    let operator = settled(EXAMPLE);
    let names: Vec<&str> = operator
        .asks()
        .iter()
        .map(|ask| ask.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "GET plants as acme",
            "POST plants as acme",
            "GET status",
            "POST status"
        ]
    );
    let plants = &operator.asks()[0];
    assert_eq!(
        (plants.host.as_str(), plants.path.as_str()),
        ("api.example.com", "/v1/plants/{}")
    );
    // acme may be served in the zone eu alone, though the service is in us-east too.
    assert_eq!(plants.confined, Some(vec![Place(0)]));
    assert_eq!(plants.served_in, Some(vec![Place(0)]));
    let holder = plants.holder.as_ref().unwrap();
    assert_eq!(holder.issuer, "http://issuer:9000/auth0");
    assert_eq!(holder.texts, [("org_id".to_owned(), "acme".to_owned())]);
    assert_eq!(
        holder.words[1],
        ("scope".to_owned(), vec!["plants:read".to_owned()])
    );
    assert_eq!(operator.asks()[2].status, Some(200));
    assert_eq!(
        operator.ports().iter().map(Vec::len).collect::<Vec<_>>(),
        [2, 1, 0]
    );

    let (first, second) = (operator.document(1), operator.document(2));
    assert_ne!(first, second);
    let run = Document::parse(&[first]).unwrap().document;
    let issuer = run.issuers.values().next().unwrap();
    assert_eq!(
        (issuer.issuer.as_str(), &*issuer.algorithms),
        ("http://issuer:9000/auth0", &["EdDSA".to_owned()][..])
    );
    let ours = &operator.document;
    assert_eq!(
        (&run.regions, &run.tenants, &run.edge),
        (&ours.regions, &ours.tenants, &ours.edge)
    );
    assert_eq!(run.routes.len(), ours.routes.len());
    // 2 × 30 requests a second, of all kinds, do not fit into the plan's 5000 an hour.
    let premium = &run.plans["premium"].limits;
    assert!(
        premium[0].amount > 5000 && premium[0].id == "tenant-hour",
        "{premium:?}"
    );
    assert!(
        operator
            .notes
            .iter()
            .any(|note| note.contains("plans.premium's 5000/hour")),
        "{:#?}",
        operator.notes
    );
}

#[test]
fn a_scenario_is_played_in_the_operators_regions_as_far_apart_as_they_are() {
    let text = EXAMPLE.replace("us-east", "fra");
    let scenario = play("partition", &text, "fra=3").unwrap();
    assert_eq!(scenario.regions, ["eu-west", "fra", "ap-south"]);
    assert_eq!(scenario.node_count(), 5);
    assert_eq!(scenario.links.latency(Place(0), Place(1)).as_millis(), 42);
    let cut = FaultKind::Cut(Link {
        from: Place(0),
        to: Place(1),
        one_way: false,
    });
    assert_eq!(scenario.faults[0].what, cut);
    assert_eq!(scenario.name, "partition on gateway.yaml");
    let words = scenario.explain();
    for told in [
        "fra takes the part of us-east",
        "fra with 3 nodes",
        "GET plants as acme of api.example.com/v1/plants/N",
    ] {
        assert!(words.contains(told), "{words}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    let one = "meridian: 1
regions: { fra: {} }
issuers: { idp: { issuer: https://id.example/, audiences: [a], algorithms: [ES256] } }
tenants: { acme: {} }
services: { web: { endpoints: { fra: [https://10.0.0.1] } } }
routes: { web: { match: { path: / }, service: web } }
";
    let wrong = play("partition", one, "1").unwrap_err();
    let told = "us-east is the scenario's region 2, and gateway.yaml has only 1; choose a scenario that needs no more";
    assert!(wrong[0].ends_with(told), "{wrong:#?}");
    let wrong = play("region-loss", one, "mars=2").unwrap_err();
    assert!(
        wrong[0].contains("gateway.yaml has no region \"mars\"; use one of fra"),
        "{wrong:#?}"
    );
    assert!(play("region-loss", one, "200").unwrap().node_count() == 200);
    let closed = one.replace("tenants: { acme: {} }\n", "");
    let wrong = play("region-loss", &closed, "1").unwrap_err();
    assert!(
        wrong[0].contains("has no route that clients can ask for"),
        "{wrong:#?}"
    );
    let nowhere = Source {
        name: "g.yaml".to_owned(),
        text: "meridian: 1\n".to_owned(),
    };
    let wrong = Operator::read(&[nowhere]).unwrap_err();
    assert!(
        wrong[0].to_string().contains("regions: there are none"),
        "{wrong:#?}"
    );
}

#[test]
fn a_document_of_many_routes_is_asked_for_in_part_and_more_slowly() {
    let mut text = EXAMPLE.split("routes:").next().unwrap().to_owned() + "routes:\n";
    for number in 0..40 {
        text.push_str(&format!(
            "  r{number}: {{ match: {{ path: /r/{number} }}, service: plant }}\n"
        ));
    }
    let operator = settled(&text);
    assert_eq!(operator.asks().len(), 24);
    assert_eq!(operator.asks()[0].every, Duration::from_millis(250));
    let told = |what: &str| operator.notes.iter().any(|note| note.contains(what));
    assert!(
        told("24 of 80 kinds") && told("instead of every 100ms"),
        "{:#?}",
        operator.notes
    );
}
