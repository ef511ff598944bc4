//! Whole documents: the example, and many that are wrong, with all that must be said of them.

use super::*;

mod large;

fn source(name: &str, text: &str) -> Source {
    Source {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

/// The mistakes of a document of one file.
fn mistakes(text: &str) -> Vec<String> {
    shown(Document::parse(&[source("g.yaml", text)]).map(|parsed| parsed.document))
}

fn shown<T: std::fmt::Debug>(result: Result<T, Vec<Diagnostic>>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

/// The warnings of a document of one file that has no mistakes.
fn warnings(text: &str) -> Vec<String> {
    let parsed = Document::parse(&[source("g.yaml", text)]).unwrap();
    parsed.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn the_example_passes_the_check() {
    let text = expand_env(EXAMPLE, |_| None).unwrap();
    assert_eq!(mistakes(&text), [""; 0]);
}

/// Documents that are wrong; each ends with what must be said of it, a line each after `#!`.
const WRONG: [(&str, &str); 9] = [
    ("keys", include_str!("../../golden/keys.yaml")),
    ("identity", include_str!("../../golden/identity.yaml")),
    ("services", include_str!("../../golden/services.yaml")),
    ("limits", include_str!("../../golden/limits.yaml")),
    ("terms", include_str!("../../golden/terms.yaml")),
    ("routes", include_str!("../../golden/routes.yaml")),
    ("reach", include_str!("../../golden/reach.yaml")),
    ("yaml", include_str!("../../golden/yaml.yaml")),
    ("syntax", include_str!("../../golden/syntax.yaml")),
];

#[test]
fn all_that_is_wrong_is_told_with_its_place() {
    for (name, text) in WRONG {
        let expected: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("#! "))
            .collect();
        let told = mistakes(text);
        let told: Vec<&str> = told
            .iter()
            .map(|line| line.trim_start_matches("g.yaml:"))
            .collect();
        assert!(!expected.is_empty(), "{name}.yaml expects nothing");
        assert_eq!(
            told,
            expected,
            "{name}.yaml; told:\n#! {}\n",
            told.join("\n#! ")
        );
    }
}

/// Every mistake of the example with one commented line taken into use, in place of the line with the same
/// key beside it.
#[test]
fn the_example_shows_what_is_not_supported_and_each_of_it_is_refused() {
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    let mut shown = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(line) = line.strip_suffix(" # not in this version") else {
            continue;
        };
        let (indent, rest) = line.split_once("# ").expect("such a line is a comment");
        let key = rest.split(':').next().expect("a key");
        let mut text: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        text[at] = format!("{indent}{rest}");
        let same = format!("{indent}{key}:");
        let nearest = (0..at).rev().find(|other| lines[*other].starts_with(&same));
        if let Some(other) = nearest.filter(|other| at - other < 6) {
            text[other].clear();
        }
        let told = mistakes(&text.join("\n"));
        assert_eq!(told.len(), 1, "{key}: {told:#?}");
        assert!(
            told[0].contains("not supported by this version"),
            "{key}: {told:?}"
        );
        shown.push(key);
    }
    shown.sort_unstable();
    let all = [
        "allow",
        "auth",
        "balance",
        "circuit_breaker",
        "cors",
        "on_region_loss",
    ];
    assert_eq!(shown, all);
}

#[test]
fn what_is_left_out_gets_its_default() {
    let text = "\
meridian: 1
regions: { eu: {} }
plans: { p: { limits: [10/minute, 5/30s, { rate: 1/day, name: once, window: fixed, on_region_loss: strict }] } }
defaults: { plan: p }
issuers: { i: { issuer: https://i/, audiences: [a] } }
tenants: { t: {} }
services: { s: { endpoints: { eu: [https://h] }, health: { path: / } } }
routes: { r: { match: { path: / }, service: s, limits: [20/second] } }
";
    let parsed = Document::parse(&[source("g.yaml", text)]).unwrap();
    let document = parsed.document;
    assert_eq!(document.regions["eu"].zone, Zone::new("eu"));
    assert_eq!(document.tenants["t"].plan, Some(PlanName::new("p")));
    let limits: Vec<_> = document.plans["p"]
        .limits
        .iter()
        .map(|limit| {
            (
                limit.id.as_str(),
                limit.amount,
                limit.span.as_secs(),
                limit.window,
            )
        })
        .collect();
    assert_eq!(
        limits,
        [
            ("tenant-minute", 10, 60, Window::Sliding),
            ("tenant-30s", 5, 30, Window::Sliding),
            ("once", 1, 86_400, Window::Fixed),
        ]
    );
    let issuer = &document.issuers["i"];
    assert_eq!(issuer.algorithms, ["RS256", "ES256"]);
    assert_eq!(issuer.claims.tenant, "tenant");
    assert_eq!(
        (issuer.leeway.as_secs(), issuer.jwks_refresh.as_secs()),
        (30, 600)
    );
    let service = &document.services["s"];
    assert_eq!(
        service.endpoints["eu"],
        [Endpoint {
            tls: true,
            host: "h".to_owned(),
            port: 443
        }]
    );
    assert_eq!(service.retries.on.len(), 5);
    assert_eq!(
        service.health.as_ref().map(|health| health.healthy_after),
        Some(2)
    );
    let route = &document.routes["r"];
    assert_eq!(route.limits[0].id, "route.r-second");
    assert_eq!(route.request.max_body, 10 << 20);
    assert_eq!(route.action, Action::Service(ServiceName::new("s")));
    assert!(!route.exempt.auth && route.issuers.is_empty());
}

#[test]
fn the_issuers_of_a_route_are_those_of_its_auth() {
    let text = expand_env(EXAMPLE, |_| None).unwrap();
    let parsed = Document::parse(&[source("g.yaml", &text)]).unwrap();
    assert_eq!(
        parsed.document.routes["plants"].issuers,
        [IssuerName::new("auth0")]
    );
}

/// A document that says all that a document may, whether this version does it or not.
fn whole(text: &str) -> Document {
    let sources = [source("g.yaml", text)];
    let mut findings = Findings::in_sources(&sources);
    let tree = tree(&sources, &mut findings).unwrap();
    let raw = raw::DocumentRaw::read(&tree, &Path::default(), &mut findings).unwrap();
    let document = check::document(&raw, tree.place, &mut findings);
    findings.end().unwrap();
    document
}

const TERMS: &str = "\
meridian: 1
regions: { eu: {} }
issuers: { i: { issuer: https://i/, audiences: [a] } }
plans:
  p:
    limits:
      - { rate: 1000/hour, on_empty: { wait: 400ms }, on_lapse: deny, priority: 80 }
      - { rate: 10/minute, per: subject, on_empty: { wait: 1s }, on_lapse: deny }
      - { rate: 5/second, name: try, shadow: true, per: client_ip }
      - 64/30s
      - 65/40s
tenants: { t: { plan: p } }
defaults: { unidentified: { limits: [60/minute], cap: [9000/minute] } }
routes:
  r:
    match: { path: / }
    respond: { status: 204 }
    per: subject
    cost: 5
    limits: [20/second, { rate: 30/minute, per: tenant }]
    exempt:
      - limits: { tenants: [t], roles: [ops, admin], subjects: [probe], listeners: [http] }
      - limits: { listeners: [https] }
  open: { match: { path: /open }, respond: { status: 204 }, exempt: [auth], per: client_ip, limits: [70/second] }
";

#[test]
fn all_that_a_limit_may_say_is_read() {
    let document = whole(TERMS);
    let secs = Duration::from_secs;
    let wait = |millis| OnEmpty::Wait(Duration::from_millis(millis));
    let plan = &document.plans["p"].limits;
    assert_eq!(
        *plan,
        [
            Limit {
                on_empty: wait(400),
                on_lapse: OnLapse::Deny,
                priority: 80,
                ..Limit::new("tenant-hour", 1000, secs(3600))
            },
            Limit {
                per: Per::Subject,
                on_empty: wait(1000),
                on_lapse: OnLapse::Deny,
                ..Limit::new("tenant-minute", 10, secs(60))
            },
            Limit {
                per: Per::ClientIp,
                shadow: true,
                on_empty: OnEmpty::Deny,
                ..Limit::new("try", 5, secs(1))
            },
            Limit::new("tenant-30s", 64, secs(30)),
            Limit::new("tenant-40s", 65, secs(40)),
        ]
    );
    assert_eq!(
        (plan[3].on_empty, plan[4].on_empty),
        (wait(400), OnEmpty::Deny)
    );
    assert_eq!(
        (plan[4].on_lapse, plan[4].priority),
        (OnLapse::Base, PRIORITY)
    );
    let counted: Vec<_> = document
        .defaults
        .unidentified
        .iter()
        .map(|limit| (limit.id.as_str(), limit.per))
        .collect();
    assert_eq!(
        counted,
        [
            ("unidentified-minute", Per::ClientIp),
            ("unidentified-all-minute", Per::Tenant),
        ]
    );
    let route = &document.routes["r"];
    assert_eq!(route.cost, 5);
    assert_eq!(
        (route.limits[0].per, route.limits[1].per),
        (Per::Subject, Per::Tenant)
    );
    let text = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    assert_eq!(
        route.exempt.some,
        [
            Exemption {
                tenants: vec!["t".into()],
                roles: text(&["ops", "admin"]),
                subjects: text(&["probe"]),
                listeners: vec![Listener::Http],
            },
            Exemption {
                listeners: vec![Listener::Https],
                ..Exemption::default()
            },
        ]
    );
    let open = &document.routes["open"];
    assert_eq!((open.cost, open.limits[0].per), (1, Per::ClientIp));
    let nodes = [source("g.yaml", TERMS)];
    let nodes = tree::parse(&nodes, &mut Findings::in_sources(&nodes)).unwrap();
    crate::schema_test::accepts(&schema(), &nodes[0]);
}

#[test]
fn odd_limits_are_refused_at_their_place_with_what_is_possible() {
    let told = |limits: &str| {
        mistakes(&format!(
            "meridian: 1\nplans:\n  p:\n    limits: [{limits}]\n"
        ))
    };
    for (limits, words) in [
        (
            "0/hour",
            &["4:14: plans.p.limits[0]", "must be at least 1"][..],
        ),
        ("-1/hour", &["4:14: plans.p.limits[0]"]),
        (
            "1099511627776/hour",
            &["4:14: plans.p.limits[0]", "at most 1073741824"],
        ),
        ("5/1ms", &["4:14: plans.p.limits[0]", "1s"]),
        ("5/1500ms", &["4:14: plans.p.limits[0]", "whole"]),
        ("5/8785h", &["4:14: plans.p.limits[0]", "8784h"]),
        (
            "9/second, { rate: 5/hour, per: api_key }",
            &[
                "4:45: plans.p.limits[1].per: there are no API keys here",
                "use subject",
            ],
        ),
    ] {
        let mistakes = told(limits);
        assert_eq!(mistakes.len(), 1, "{limits}: {mistakes:?}");
        for word in words {
            assert!(mistakes[0].contains(word), "{word} is not in {mistakes:?}");
        }
    }
    for good in ["1/second", "1073741824/day", "5/8760h", "5/8784h"] {
        assert_eq!(told(good), [""; 0], "{good}");
    }
    assert_eq!(
        mistakes("meridian: 1\ndefaults: { unidentified: { limits: [9/second], per: api_key } }\n"),
        [
            "g.yaml:2:54: defaults.unidentified.per: \"api_key\" is not supported by this version; use client_ip"
        ]
    );
}

#[test]
fn a_hundred_limits_in_one_place_pass_and_a_few_more_do_not() {
    let text = |count: u32| {
        let limits: Vec<_> = (1..=count).map(|n| format!("100/{n}s")).collect();
        format!(
            "meridian: 1\nroutes:\n  r:\n    match: {{ path: / }}\n    respond: {{ status: 204 }}\n    limits: [{}]\n",
            limits.join(", ")
        )
    };
    assert_eq!(mistakes(&text(100)), [""; 0]);
    assert_eq!(mistakes(&text(128)), [""; 0]);
    assert_eq!(
        mistakes(&text(129)),
        ["g.yaml:6:13: routes.r.limits: has 129 limits; 128 is the most in one place"]
    );
}

#[test]
fn several_files_are_one_document() {
    let files = [
        source("main.yaml", "meridian: 1\nregions: { eu: {} }\n"),
        source(
            "a/tenants.yaml",
            "tenants: { acme: {} }\nplans: { p: {} }\ndefaults: { plan: p }\n",
        ),
        source(
            "b/tenants.yaml",
            "meridian: 1\ntenants: { globex: { plan: p } }\n---\ntenants: { initech: {} }\n",
        ),
        source("empty.yaml", "# nothing yet\n"),
    ];
    let document = Document::parse(&files).unwrap().document;
    let tenants: Vec<&str> = document.tenants.keys().map(TenantId::as_str).collect();
    assert_eq!(tenants, ["acme", "globex", "initech"]);
}

#[test]
fn what_is_defined_in_two_files_is_told_with_both_places() {
    let files = [
        source(
            "a.yaml",
            "meridian: 1\nplans: { p: {} }\ntenants:\n  acme: { plan: p }\nlog: {}\n",
        ),
        source(
            "b.yaml",
            "meridian: 2\ntenants:\n  acme: {}\nlog: {}\nplans: []\n",
        ),
        source("c.yaml", "[]"),
    ];
    assert_eq!(
        shown(Document::parse(&files)),
        [
            "b.yaml:1:1: meridian: is different here and at a.yaml:1:1; keep one of them",
            "b.yaml:3:3: tenants.acme: is defined here and at a.yaml:4:3; keep one of them",
            "b.yaml:4:1: log: is defined here and at a.yaml:5:1; keep one of them",
            "b.yaml:5:8: plans: must be a map, not a list",
            "c.yaml:1:1: the document: must be a map, not a list",
        ]
    );
}

#[test]
fn a_document_says_its_version() {
    let missing =
        ["g.yaml:1:1: meridian: is missing; begin the document with \"meridian: 1\"".to_owned()];
    assert_eq!(mistakes("regions: {}\n"), missing);
    assert_eq!(mistakes(""), missing);
    assert_eq!(
        shown(Document::parse(&[])),
        [":1:1: meridian: is missing; begin the document with \"meridian: 1\""]
    );
    assert_eq!(mistakes("meridian: 1\n"), [""; 0]);
}

#[test]
fn what_is_legal_but_suspicious_is_a_warning() {
    let text = "\
meridian: 1
regions: { eu: {}, us: {} }
plans: { p: { limits: [1/hour] } }
edge: { trusted_proxies: [0.0.0.0/0] }
issuers: { i: { issuer: http://localhost:9000/, audiences: [a] } }
tenants: { t: { residency: [us] } }
services: { s: { endpoints: { eu: [http://h] } }, idle: { endpoints: { eu: [http://h], us: [http://h] } } }
routes:
  r: { match: { path: / }, service: s }
  open: { match: { path: /open }, service: s, exempt: [auth] }
";
    assert_eq!(
        warnings(text),
        [
            "g.yaml:4:27: edge.trusted_proxies[0]: 0.0.0.0/0 believes every client's x-forwarded-for",
            "g.yaml:5:25: issuers.i.issuer: production nodes reject an http issuer; use https",
            "g.yaml:6:12: tenants.t: has no plan, and there is no defaults.plan: its requests are not limited",
            "g.yaml:6:28: tenants.t.residency: no endpoint of s lies there; requests of this tenant for it end in 403 residency",
            "g.yaml:7:51: services.idle: no route uses it",
            "g.yaml:7:93: services.idle.endpoints.us[0]: \"http://h\" stands under eu too (g.yaml:7:77); an endpoint lies in one region, and residency goes by it",
            "g.yaml:10:3: routes.open: needs no token, and defaults.unidentified has no limits: nothing limits it",
        ]
    );
}

#[test]
fn a_request_that_costs_a_great_part_of_a_limit_had_better_wait() {
    let text = "\
meridian: 1
issuers: { i: { issuer: https://i, audiences: [a] } }
plans:
  a: { limits: [1000/minute, 900/5m, { rate: 500/hour, name: w, on_empty: { wait: 1s } }, { rate: 100/day, shadow: true }] }
tenants: { t: { issuers: [i], plan: a } }
routes:
  fits: { match: { path: /fits }, respond: { status: 204 }, cost: 13 }
  great: { match: { path: /great }, respond: { status: 204 }, cost: 14, limits: [60/minute] }
";
    assert_eq!(
        warnings(text),
        [
            "g.yaml:8:69: routes.great.cost: 14 is a great part of plans.a.limits[1] (900/5m, g.yaml:4:30), of which each node has a share: a request that finds less there is denied, though others have enough; add on_empty: { wait: 400ms } to the limit"
        ]
    );
}

#[test]
fn aliases_cannot_make_a_small_file_large() {
    let mut text = "meridian: 1\nl0: &l0 [x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..8 {
        let before = format!("*l{}", level - 1);
        text += &format!(
            "l{level}: &l{level} [{}]\n",
            [before.as_str(); 8].join(", ")
        );
    }
    let told = mistakes(&text);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("not valid YAML"), "{told:?}");
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = format!("meridian: 1\nx: {}1{}\n", "[".repeat(200), "]".repeat(200));
    assert!(mistakes(&deep)[0].contains("not valid YAML"));
    let long = format!("meridian: 1\n# {}\n", "x".repeat(MAX_TEXT));
    assert_eq!(
        mistakes(&long),
        [format!(
            "g.yaml:1:1: the files are longer than {MAX_TEXT} bytes together"
        )]
    );
}

#[test]
fn the_schema_takes_the_example_and_knows_every_key_that_is_read() {
    let nodes = [source("g.yaml", EXAMPLE)];
    let nodes = tree::parse(&nodes, &mut Findings::in_sources(&nodes)).unwrap();
    crate::schema_test::accepts(&schema(), &nodes[0]);
    for (name, text) in WRONG {
        let wrong = [source(name, text)];
        for node in tree::parse(&wrong, &mut Findings::in_sources(&wrong)).unwrap_or_default() {
            let refused = crate::schema_test::check(&schema(), &schema(), &node, "");
            // What is wrong only beside something else is beyond a schema.
            if ["keys", "identity", "services", "routes", "limits", "terms"].contains(&name) {
                assert!(refused.is_err(), "{name}.yaml");
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = Document::parse(&[source("g.yaml", &text)]);
    }

    #[test]
    fn no_change_of_the_example_panics(at in 0..EXAMPLE.len(), cut in 0usize..20, with in "[ -~\n]{0,8}") {
        let at = EXAMPLE.floor_char_boundary(at);
        let end = EXAMPLE.floor_char_boundary((at + cut).min(EXAMPLE.len())).max(at);
        let mut text = EXAMPLE.to_owned();
        text.replace_range(at..end, &with);
        if let Err(mistakes) = Document::parse(&[source("g.yaml", &text)]) {
            let lines = u32::try_from(text.lines().count()).unwrap() + 1;
            for mistake in mistakes {
                proptest::prop_assert!((1..=lines).contains(&mistake.line), "{}", mistake);
            }
        }
        let changed = source("g.yaml", &text);
        proptest::prop_assert_eq!(crate::diff::changes(std::slice::from_ref(&changed), std::slice::from_ref(&changed)), []);
    }
}
