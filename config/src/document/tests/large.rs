//! A document as large as a big cluster's: what is quadratic in it would show by the minute.

use std::fmt::Write as _;

use super::*;
use crate::diff;

/// Ten thousand tenants and two thousand routes, in one text or with a file for each section.
fn document(limit: u32) -> [String; 3] {
    let mut head = format!(
        "meridian: 1\n\
         regions: {{ a: {{ zone: eu }}, b: {{ zone: us }} }}\n\
         plans:\n  small: {{ limits: [{limit}/hour] }}\n  large: {{ limits: [5000/hour, 100/second] }}\n\
         issuers:\n  idp: {{ issuer: 'https://idp.example.com/', audiences: [x], algorithms: [ES256] }}\n\
         services:\n"
    );
    for n in 0..200 {
        writeln!(
            head,
            "  service-{n:03}: {{ endpoints: {{ a: [http://10.0.0.{n}:80], b: [http://10.1.0.{n}:80] }} }}"
        )
        .expect("memory");
    }
    let mut tenants = "tenants:\n".to_owned();
    for n in 0..10_000 {
        let zone = if n % 3 == 0 { "eu" } else { "us" };
        writeln!(
            tenants,
            "  tenant-{n:05}: {{ plan: small, issuers: [idp], residency: [{zone}], aliases: [org_{n:05}] }}"
        )
        .expect("memory");
    }
    let mut routes = "routes:\n".to_owned();
    for n in 0..2_000 {
        writeln!(
            routes,
            "  route-{n:04}:\n    match: {{ hosts: [api.example.com], path: \"/v1/{n}/{{*rest}}\", methods: [GET, POST] }}\n    service: service-{:03}\n    allow: {{ scopes: [read] }}\n    limits: [20/second]\n    request: {{ rewrite: \"/{{rest}}\", headers: {{ set: {{ x-tenant: \"{{tenant}}\" }} }} }}",
            n % 200
        )
        .expect("memory");
    }
    [head, tenants, routes]
}

fn one_file(limit: u32) -> Vec<Source> {
    vec![source("gateway.yaml", &document(limit).concat())]
}

#[test]
fn ten_thousand_tenants_and_two_thousand_routes_are_one_document() {
    let parsed = Document::parse(&one_file(1000)).unwrap_or_else(|told| panic!("{told:#?}"));
    assert_eq!(parsed.document.tenants.len(), 10_000);
    assert_eq!(parsed.document.routes.len(), 2_000);
    // And in several files, whose sections are merged name by name.
    let [head, tenants, routes] = document(1000);
    let more = tenants
        .replace("tenant-", "other-")
        .replace("org_", "also_");
    let half: String = more
        .lines()
        .take(1 + 3_000)
        .fold(String::new(), |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        });
    let files = [
        source("a.yaml", &head),
        source("b.yaml", &tenants),
        source("c.yaml", &routes),
        source("d.yaml", &half),
    ];
    let parsed = Document::parse(&files).unwrap_or_else(|told| panic!("{told:#?}"));
    assert_eq!(parsed.document.tenants.len(), 13_000);
}

#[test]
fn one_change_in_ten_thousand_tenants_is_one_line() {
    let told = diff::changes(&one_file(1000), &one_file(999));
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["~ plans.small.limits: [1000/hour] -> [999/hour]"]);
}
