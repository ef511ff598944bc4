//! The table against examples, and against a naive model.

use meridian_config::document::{
    Access, Action, Exempt, FixedResponse, HeaderChanges, Matching, RequestRules, ResponseRules,
};
use proptest::prelude::*;

use super::*;

fn route(name: &str, hosts: &[HostPattern], path: &str, methods: &[&str]) -> Route {
    Route {
        name: RouteName::from(name),
        matching: Matching {
            hosts: hosts.to_vec(),
            path: path.to_owned(),
            methods: methods.iter().map(|&m| m.to_owned()).collect(),
        },
        action: Action::Respond(FixedResponse {
            status: 200,
            body: String::new(),
            content_type: None,
        }),
        issuers: Vec::new(),
        exempt: Exempt::default(),
        access: Access::default(),
        limits: Vec::new(),
        cost: 1,
        request: RequestRules {
            rewrite: None,
            headers: HeaderChanges::default(),
            max_body: 1024,
        },
        response: ResponseRules::default(),
    }
}

fn exact(name: &str) -> HostPattern {
    HostPattern::Exact(name.to_owned())
}

fn wildcard(suffix: &str) -> HostPattern {
    HostPattern::Wildcard(suffix.to_owned())
}

fn table(routes: &[Route]) -> Table {
    Table::build(routes).expect("a table")
}

#[test]
fn an_exact_host_goes_before_a_wildcard_and_that_before_none() {
    let table = table(&[
        route("any", &[], "/a", &[]),
        route("wild", &[wildcard("example.com")], "/a", &[]),
        route("exact", &[exact("api.example.com")], "/a", &[]),
    ]);
    let at = |host: &str| table.find(host, "/a", &Method::GET).expect("a match").route;
    assert_eq!(at("api.example.com"), 2);
    assert_eq!(at("www.example.com"), 1);
    assert_eq!(at("example.com"), 0);
    assert_eq!(at("a.b.example.com"), 0);
}

#[test]
fn a_path_that_the_exact_host_lacks_is_looked_for_under_the_others() {
    let table = table(&[
        route("any", &[], "/status", &["GET"]),
        route("exact", &[exact("api.example.com")], "/a", &[]),
    ]);
    let found = table.find("api.example.com", "/status", &Method::GET);
    assert_eq!(found.expect("a match").route, 0);
}

#[test]
fn a_static_segment_goes_before_a_variable_and_variables_keep_their_order() {
    let table = table(&[
        route("one", &[], "/v1/{kind}/{id}", &[]),
        route("two", &[], "/v1/plants/{id}", &[]),
        route("rest", &[], "/v2/{*rest}", &[]),
    ]);
    let found = table.find("h", "/v1/trees/7", &Method::GET).expect("match");
    assert_eq!(found.route, 0);
    assert_eq!(
        found.variables,
        [("kind".into(), "trees".into()), ("id".into(), "7".into())]
    );
    let found = table
        .find("h", "/v1/plants/7", &Method::GET)
        .expect("match");
    assert_eq!(found.route, 1);
    let found = table.find("h", "/v2/a/b", &Method::GET).expect("match");
    assert_eq!(found.variables, [("rest".into(), "a/b".into())]);
}

#[test]
fn head_goes_where_get_goes_and_options_only_where_a_route_says_so() {
    let table = table(&[route("get", &[], "/a", &["GET"])]);
    assert!(table.find("h", "/a", &Method::HEAD).is_ok());
    assert_eq!(
        table.find("h", "/a", &Method::OPTIONS),
        Err(Refusal::MethodNotAllowed {
            allow: vec!["GET".into(), "HEAD".into()]
        })
    );
}

#[test]
fn a_route_with_methods_goes_before_one_with_none_at_the_same_path() {
    let table = table(&[
        route("every", &[], "/a/{x}", &[]),
        route("post", &[], "/a/{y}", &["POST"]),
    ]);
    assert_eq!(table.find("h", "/a/1", &Method::POST).expect("m").route, 1);
    assert_eq!(table.find("h", "/a/1", &Method::PUT).expect("m").route, 0);
    let brew = Method::from_bytes(b"BREW").expect("a token");
    assert_eq!(table.find("h", "/a/1", &brew).expect("m").route, 0);
}

#[test]
fn a_method_finds_its_route_behind_a_more_specific_path_of_another_method() {
    let table = table(&[
        route("get", &[], "/a/b", &["GET"]),
        route("post", &[], "/a/{x}", &["POST"]),
    ]);
    assert_eq!(table.find("h", "/a/b", &Method::POST).expect("m").route, 1);
    assert_eq!(
        table.find("h", "/a/b", &Method::DELETE),
        Err(Refusal::MethodNotAllowed {
            allow: vec!["GET".into(), "HEAD".into(), "POST".into()]
        })
    );
}

#[test]
fn a_host_that_no_route_covers_is_misdirected_and_a_path_without_route_is_not_found() {
    let table = table(&[route("a", &[exact("api.example.com")], "/a", &[])]);
    assert_eq!(
        table.find("other.org", "/a", &Method::GET),
        Err(Refusal::Misdirected("other.org".into()))
    );
    assert_eq!(
        table.find("api.example.com", "/b", &Method::GET),
        Err(Refusal::NoRoute)
    );
}

#[test]
fn two_routes_that_claim_the_same_requests_are_refused() {
    let error = Table::build(&[
        route("one", &[], "/a/{x}", &["GET"]),
        route("two", &[], "/a/{y}", &["GET"]),
    ])
    .expect_err("they overlap");
    assert!(error.to_string().contains("route two"), "{error}");
}

/// Segments of a pattern that the model understands: literals and whole-segment variables.
fn segment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "{x}"])
}

proptest! {
    /// Among routes of one host set and method, a literal at the first place where two patterns differ
    /// beats a variable.
    #[test]
    fn the_table_agrees_with_a_naive_search(
        patterns in prop::collection::btree_set(prop::collection::vec(segment(), 1..4), 1..6),
        path in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4),
    ) {
        let patterns: Vec<Vec<&str>> = patterns.into_iter().collect();
        let text = |pattern: &[&str]| {
            let mut n = 0;
            pattern.iter().map(|s| {
                n += 1;
                if *s == "{x}" { format!("/{{x{n}}}") } else { format!("/{s}") }
            }).collect::<String>()
        };
        let routes: Vec<Route> = patterns.iter().enumerate()
            .map(|(n, p)| route(&n.to_string(), &[], &text(p), &["GET"])).collect();
        let table = Table::build(&routes).expect("distinct patterns");
        let matches = |p: &[&str]| p.len() == path.len()
            && p.iter().zip(&path).all(|(s, v)| *s == "{x}" || s == v);
        let model = patterns.iter().enumerate().filter(|(_, p)| matches(p))
            .min_by_key(|(_, p)| p.iter().map(|s| *s == "{x}").collect::<Vec<_>>())
            .map(|(n, _)| n);
        let asked: String = path.iter().map(|s| format!("/{s}")).collect();
        let found = table.find("h", &asked, &Method::GET).ok().map(|m| m.route);
        prop_assert_eq!(found, model);
    }
}
