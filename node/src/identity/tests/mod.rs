//! The step as a whole: real signatures, a real provider over HTTP, a paused clock.

mod issuers;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use meridian_cluster::host::Host;
use meridian_config::document::{
    Action, Claims, Defaults, Document, Edge, Exempt, FixedResponse, Issuer, Log, Matching,
    RequestRules, ResponseRules, Route, Tenant,
};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Identifier, Issuers, Rules,
    fetch::Fetcher,
    testing::{FakeFiles, FakeHost, NOW, Provider, Signer, URL, claims, claims_with},
};
use crate::{
    ban::Bans,
    exchange::Identity,
    problem::{Refusal, TokenFault},
};

/// A node's identity step with everything around it.
struct Node {
    host: Arc<FakeHost>,
    issuers: Issuers,
    identifier: Identifier,
    rules: Rules,
    route: Route,
    stop: CancellationToken,
}

impl Node {
    fn start(provider: &Arc<Provider>) -> Self {
        Self::start_with(provider, Arc::default(), document())
    }

    fn start_with(provider: &Arc<Provider>, files: Arc<FakeFiles>, document: Document) -> Self {
        let host = Arc::new(FakeHost::new(provider.clone(), files));
        Self::around(host, None, document)
    }

    fn around(host: Arc<FakeHost>, fetcher: Option<Fetcher>, document: Document) -> Self {
        let stop = CancellationToken::new();
        let outside: Arc<dyn Host> = host.clone();
        let fetcher = fetcher.unwrap_or_else(|| Fetcher::new(outside.clone()));
        let issuers = Issuers::with_fetcher(
            outside.clone(),
            fetcher,
            TaskTracker::new(),
            stop.clone(),
            true,
        );
        issuers.adopt(&document);
        let identifier = Identifier::new(outside.clone(), issuers.clone(), Bans::none(outside));
        Self {
            host,
            issuers,
            identifier,
            rules: Rules::compile(&document, 1),
            route: route(&[]),
            stop,
        }
    }

    fn adopt(&mut self, document: &Document, revision: u64) {
        self.issuers.adopt(document);
        self.rules = Rules::compile(document, revision);
    }

    async fn identify(&self, token: &str) -> Result<Arc<Identity>, Refusal> {
        let mut headers = HeaderMap::new();
        let field = HeaderValue::from_str(&format!("Bearer {token}")).expect("a value");
        headers.insert(AUTHORIZATION, field);
        self.identifier
            .identify(&self.rules, &self.route, &headers)
            .await
    }

    async fn fault(&self, token: &str) -> TokenFault {
        match self.identify(token).await {
            Err(Refusal::Unauthenticated(fault)) => fault,
            other => panic!("not a 401: {other:?}"),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn issuer(url: &str) -> Issuer {
    Issuer {
        issuer: url.to_owned(),
        audiences: vec!["api".to_owned(), "api2".to_owned()],
        algorithms: ["RS256", "ES256", "EdDSA"].map(str::to_owned).to_vec(),
        claims: Claims {
            tenant: "tenant".to_owned(),
            roles: "roles".to_owned(),
            scopes: "scope".to_owned(),
        },
        leeway: Duration::from_secs(30),
        jwks_refresh: Duration::from_secs(600),
        jwks_max_stale: Duration::from_secs(86_400),
    }
}

fn tenant(aliases: &[&str], issuers: &[&str]) -> Tenant {
    Tenant {
        plan: None,
        issuers: issuers.iter().map(|name| (*name).into()).collect(),
        residency: vec!["eu".into()],
        aliases: aliases.iter().map(ToString::to_string).collect(),
    }
}

fn document() -> Document {
    Document {
        regions: Default::default(),
        plans: Default::default(),
        edge: Edge::default(),
        defaults: Defaults {
            plan: None,
            unidentified: Vec::new(),
        },
        issuers: [("idp".into(), issuer(URL))].into(),
        tenants: [
            ("acme".into(), tenant(&["org_abc"], &["idp"])),
            ("globex".into(), tenant(&[], &[])),
            ("initech".into(), tenant(&[], &["other"])),
        ]
        .into(),
        services: Default::default(),
        routes: Default::default(),
        log: Log::default(),
    }
}

fn route(issuers: &[&str]) -> Route {
    Route {
        name: "plants".into(),
        matching: Matching {
            hosts: Vec::new(),
            path: "/".to_owned(),
            methods: Vec::new(),
        },
        action: Action::Respond(FixedResponse {
            status: 200,
            body: String::new(),
            content_type: None,
        }),
        issuers: issuers.iter().map(|name| (*name).into()).collect(),
        exempt: Exempt::default(),
        access: Default::default(),
        limits: Vec::new(),
        cost: 1,
        request: RequestRules {
            rewrite: None,
            headers: Default::default(),
            max_body: 0,
        },
        response: ResponseRules::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_token_of_each_algorithm_gives_the_identity_it_claims() {
    let signers = [Signer::rs256("r"), Signer::es256("e"), Signer::eddsa("d")];
    let node = Node::start(&Provider::new(&signers.each_ref()));
    for signer in &signers {
        let identity = node
            .identify(&signer.sign(&claims()))
            .await
            .expect("a good token");
        assert_eq!(
            *identity,
            Identity {
                tenant: "acme".into(),
                zones: vec!["eu".into()],
                subject: "ann".to_owned(),
                issuer: "idp".into(),
                scopes: vec!["plants:read".to_owned(), "plants:write".to_owned()],
                roles: vec!["editor".to_owned()],
                token_id: Some("t-1".to_owned()),
                issued: Some(NOW),
                expires: NOW + 3600,
            }
        );
    }
}

#[tokio::test(start_paused = true)]
async fn every_wrong_claim_has_its_own_refusal() {
    let signer = Signer::es256("k");
    let node = Node::start(&Provider::new(&[&signer]));
    let cases: [(Value, TokenFault); 13] = [
        (json!({ "iss": "http://other.test" }), TokenFault::Issuer),
        (json!({ "iss": format!("{URL}/") }), TokenFault::Issuer),
        (json!({ "iss": null }), TokenFault::Claims),
        (json!({ "aud": "portal" }), TokenFault::Audience),
        (json!({ "aud": null }), TokenFault::Audience),
        (json!({ "exp": NOW - 31 }), TokenFault::Expired),
        (json!({ "exp": null }), TokenFault::Claims),
        (json!({ "exp": "soon" }), TokenFault::Claims),
        (json!({ "nbf": NOW + 60 }), TokenFault::NotYetValid),
        (json!({ "tenant": null }), TokenFault::Claims),
        (json!({ "tenant": 7 }), TokenFault::Claims),
        (json!({ "roles": "editor" }), TokenFault::Claims),
        // The tenant has other issuers.
        (json!({ "tenant": "initech" }), TokenFault::Issuer),
    ];
    for (change, fault) in cases {
        assert_eq!(
            node.fault(&signer.sign(&claims_with(change.clone()))).await,
            fault,
            "{change}"
        );
    }
    for change in [
        json!({ "exp": NOW - 20 }),
        json!({ "nbf": NOW + 20 }),
        json!({ "nbf": null, "iat": null, "sub": null, "jti": null, "scope": null, "roles": null }),
        json!({ "aud": ["portal", "api2"] }),
        json!({ "tenant": "globex" }),
    ] {
        let outcome = node
            .identify(&signer.sign(&claims_with(change.clone())))
            .await;
        assert!(outcome.is_ok(), "{change}: {outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_alias_means_its_tenant_and_an_unknown_tenant_is_forbidden() {
    let signer = Signer::es256("k");
    let node = Node::start(&Provider::new(&[&signer]));
    let known = node
        .identify(&signer.sign(&claims_with(json!({ "tenant": "org_abc" }))))
        .await;
    assert_eq!(known.expect("an alias").tenant, "acme".into());
    let unknown = node
        .identify(&signer.sign(&claims_with(json!({ "tenant": "org_xyz" }))))
        .await;
    let Err(refusal @ Refusal::Forbidden { tenant: None, .. }) = unknown else {
        panic!("not forbidden: {unknown:?}");
    };
    assert!(
        !refusal.to_string().contains("org_xyz"),
        "the token's text is repeated"
    );
}

#[tokio::test(start_paused = true)]
async fn a_route_takes_tokens_of_its_own_issuers_only_remembered_or_not() {
    let signer = Signer::es256("k");
    let mut node = Node::start(&Provider::new(&[&signer]));
    let token = signer.sign(&claims());
    node.route = route(&["other"]);
    assert_eq!(node.fault(&token).await, TokenFault::Issuer);
    node.route = route(&["other", "idp"]);
    node.identify(&token).await.expect("its own issuer");
    node.route = route(&["other"]);
    assert_eq!(node.fault(&token).await, TokenFault::Issuer);
}

#[tokio::test(start_paused = true)]
async fn an_algorithm_that_the_issuer_does_not_list_is_refused() {
    let signer = Signer::es256("k");
    let mut document = document();
    document.issuers.get_mut("idp").expect("there").algorithms = vec!["RS256".to_owned()];
    let node = Node::start_with(&Provider::new(&[&signer]), Arc::default(), document);
    assert_eq!(
        node.fault(&signer.sign(&claims())).await,
        TokenFault::Signature
    );
}

#[tokio::test(start_paused = true)]
async fn claims_changed_after_signing_are_refused() {
    let signer = Signer::es256("k");
    let node = Node::start(&Provider::new(&[&signer]));
    let (mine, yours) = (
        signer.sign(&claims()),
        signer.sign(&claims_with(json!({ "tenant": "globex" }))),
    );
    let part = |token: &str, index: usize| token.split('.').nth(index).expect("a part").to_owned();
    let mixed = format!("{}.{}.{}", part(&mine, 0), part(&yours, 1), part(&mine, 2));
    assert_eq!(node.fault(&mixed).await, TokenFault::Signature);
    let unsigned = format!("{}.{}.", part(&mine, 0), part(&mine, 1));
    assert_eq!(node.fault(&unsigned).await, TokenFault::Signature);
}

#[tokio::test(start_paused = true)]
async fn a_remembered_token_expires_all_the_same() {
    let signer = Signer::es256("k");
    let node = Node::start(&Provider::new(&[&signer]));
    let token = signer.sign(&claims_with(json!({ "exp": NOW + 100 })));
    node.identify(&token).await.expect("good");
    tokio::time::sleep(Duration::from_secs(128)).await;
    node.identify(&token).await.expect("within the leeway");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(node.fault(&token).await, TokenFault::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_remembered_token_stays_so_until_its_issuer_or_tenant_changes() {
    let signer = Signer::es256("k");
    let mut node = Node::start(&Provider::new(&[&signer]));
    let token = signer.sign(&claims());
    let first = node.identify(&token).await.expect("good");
    let same = |one: &Arc<Identity>, other: &Arc<Identity>| Arc::ptr_eq(one, other);

    let mut other = document();
    other
        .tenants
        .insert("new".into(), tenant(&["org_new"], &[]));
    node.adopt(&other, 2);
    let second = node.identify(&token).await.expect("good");
    assert!(same(&first, &second), "it was verified again for nothing");

    let acme = other.tenants.get_mut("acme").expect("a tenant");
    acme.residency = vec!["us".into()];
    node.adopt(&other, 3);
    let third = node.identify(&token).await.expect("good");
    assert!(!same(&second, &third));
    assert_eq!(third.zones, ["us".into()]);

    for issuer in other.issuers.values_mut() {
        issuer.jwks_refresh = Duration::from_secs(60);
    }
    node.adopt(&other, 4);
    let fourth = node.identify(&token).await.expect("good");
    assert!(!same(&third, &fourth), "its keys are not renewed any more");
}

#[tokio::test(start_paused = true)]
async fn a_remembered_token_is_judged_again_under_a_new_revision() {
    let signer = Signer::es256("k");
    let mut node = Node::start(&Provider::new(&[&signer]));
    let token = signer.sign(&claims());
    node.identify(&token).await.expect("good");
    let mut without = document();
    without.tenants.remove("acme");
    node.adopt(&without, 2);
    assert!(matches!(
        node.identify(&token).await,
        Err(Refusal::Forbidden { .. })
    ));
}
