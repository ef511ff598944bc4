//! Keys that change, providers that are down, key ids that are made up.

use meridian_cluster::host::Files;

use super::{
    super::{schedule::ASK_EVERY, testing::base64url},
    *,
};

#[tokio::test(start_paused = true)]
async fn a_rotated_key_is_found_by_the_first_request_that_brings_it() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let provider = Provider::new(&[&old]);
    let node = Node::start(&provider);
    let before = old.sign(&claims());
    node.identify(&before).await.expect("good");
    provider.publish(&[&new]);
    node.identify(&new.sign(&claims()))
        .await
        .expect("fetched on demand");
    assert_eq!(provider.fetches(), 2);
    // The key that signed it is withdrawn, and the token that was remembered with it.
    assert_eq!(node.fault(&before).await, TokenFault::Signature);
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_again_on_their_own() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let provider = Provider::new(&[&old]);
    let node = Node::start(&provider);
    node.identify(&old.sign(&claims())).await.expect("good");
    provider.publish(&[&old, &new]);
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert_eq!(provider.fetches(), 2);
    provider.set_up(false);
    node.identify(&new.sign(&claims()))
        .await
        .expect("known before anybody asked");
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_does_not_matter_until_its_keys_are_too_old() {
    let signer = Signer::es256("k");
    let provider = Provider::new(&[&signer]);
    let node = Node::start(&provider);
    let lasting = signer.sign(&claims_with(json!({ "exp": NOW + 1_000_000 })));
    node.identify(&lasting).await.expect("good");
    provider.set_up(false);
    tokio::time::sleep(Duration::from_secs(86_000)).await;
    node.identify(&lasting).await.expect("remembered");
    node.identify(&signer.sign(&claims_with(json!({ "exp": NOW + 999_999 }))))
        .await
        .expect("verified");
    let status = &node.issuers.status()[0];
    assert!(status.usable && status.failure.is_some(), "{status:?}");
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(
        node.identify(&lasting).await,
        Err(Refusal::IssuerUnavailable)
    );
    assert!(!node.issuers.status()[0].usable);
    provider.set_up(true);
    tokio::time::sleep(Duration::from_secs(31)).await;
    node.identify(&lasting).await.expect("the issuer is back");
}

#[tokio::test(start_paused = true)]
async fn without_keys_a_token_is_never_called_bad() {
    let signer = Signer::es256("k");
    let provider = Provider::new(&[&signer]);
    provider.set_up(false);
    let node = Node::start(&provider);
    let token = signer.sign(&claims());
    for _ in 0..3 {
        assert_eq!(node.identify(&token).await, Err(Refusal::IssuerUnavailable));
    }
    provider.set_up(true);
    tokio::time::sleep(Duration::from_secs(31)).await;
    node.identify(&token).await.expect("the issuer is back");
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_two_seconds_at_most_for_an_issuer_that_does_not_answer() {
    let signer = Signer::es256("k");
    let provider = Provider::new(&[&signer]);
    provider
        .mute
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let node = Node::start(&provider);
    let asked = tokio::time::Instant::now();
    assert_eq!(
        node.identify(&signer.sign(&claims())).await,
        Err(Refusal::IssuerUnavailable)
    );
    let waited = asked.elapsed();
    assert!(
        (Duration::from_secs(2)..Duration::from_millis(2010)).contains(&waited),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_made_up_keys_makes_one_fetch_in_ten_seconds_and_hurts_no_good_token() {
    let signer = Signer::es256("k");
    let provider = Provider::new(&[&signer]);
    let node = Node::start(&provider);
    let good = signer.sign(&claims());
    node.identify(&good).await.expect("good");
    let at_start = provider.fetches();
    let forger = Signer::es256("x");
    let body = forger.sign(&claims());
    let (_, rest) = body.split_once('.').expect("three parts");
    let mut verdicts = [0, 0];
    let started = tokio::time::Instant::now();
    while started.elapsed() < Duration::from_secs(60) {
        let id = started.elapsed().as_micros().to_string();
        let header = base64url(json!({ "alg": "ES256", "kid": id }).to_string().as_bytes());
        match node.identify(&format!("{header}.{rest}")).await {
            Err(Refusal::Unauthenticated(TokenFault::Signature)) => verdicts[0] += 1,
            Err(Refusal::IssuerUnavailable) => verdicts[1] += 1,
            other => panic!("{other:?}"),
        }
        node.identify(&good).await.expect("still good");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let fetches = provider.fetches() - at_start;
    assert!((5..=7).contains(&fetches), "{fetches} fetches in 60 s");
    assert!(verdicts[0] > 0 && verdicts[1] > 0, "{verdicts:?}");
}

#[tokio::test(start_paused = true)]
async fn one_made_up_key_is_refused_again_and_again_without_a_fetch() {
    let (signer, forger) = (Signer::es256("k"), Signer::es256("x"));
    let provider = Provider::new(&[&signer]);
    let node = Node::start(&provider);
    for _ in 0..50 {
        assert_eq!(
            node.fault(&forger.sign(&claims())).await,
            TokenFault::Signature
        );
    }
    assert!(provider.fetches() <= 2, "{} fetches", provider.fetches());
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_together_share_one_fetch() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let provider = Provider::new(&[&old]);
    let node = Node::start(&provider);
    node.identify(&old.sign(&claims())).await.expect("good");
    provider.publish(&[&old, &new]);
    let tokens: Vec<String> = (0..20)
        .map(|number| new.sign(&claims_with(json!({ "jti": number.to_string() }))))
        .collect();
    let all = futures_util::future::join_all(tokens.iter().map(|token| node.identify(token))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(provider.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_new_within_the_pause_between_fetches_is_not_called_bad() {
    let (old, new, forger) = (
        Signer::es256("old"),
        Signer::es256("new"),
        Signer::es256("x"),
    );
    let provider = Provider::new(&[&old]);
    let node = Node::start(&provider);
    node.identify(&old.sign(&claims())).await.expect("good");
    assert_eq!(
        node.fault(&forger.sign(&claims())).await,
        TokenFault::Signature
    );
    provider.publish(&[&old, &new]);
    let token = new.sign(&claims());
    assert_eq!(node.identify(&token).await, Err(Refusal::IssuerUnavailable));
    tokio::time::sleep(ASK_EVERY).await;
    node.identify(&token)
        .await
        .expect("fetched when the pause was over");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_knows_the_keys_while_the_issuer_is_down() {
    let signer = Signer::rs256("k");
    let provider = Provider::new(&[&signer]);
    let files = Arc::<FakeFiles>::default();
    let token = signer.sign(&claims());
    let first = Node::start_with(&provider, files.clone(), document());
    first.identify(&token).await.expect("good");
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(files.list("jwks-").expect("names"), ["jwks-idp"]);
    drop(first);

    provider.set_up(false);
    let second = Node::start_with(&provider, files.clone(), document());
    second.identify(&token).await.expect("from its own files");
    assert_eq!(provider.fetches(), 1);
    drop(second);

    // Too old keys are no keys.
    let third = Node::start_with(&provider, files, document());
    *third.host.ahead.lock().expect("no panic") = Duration::from_secs(90_000);
    assert_eq!(
        third.identify(&token).await,
        Err(Refusal::IssuerUnavailable)
    );
}

#[tokio::test(start_paused = true)]
async fn changed_settings_keep_the_keys_and_another_url_does_not() {
    let signer = Signer::es256("k");
    let provider = Provider::new(&[&signer]);
    let mut node = Node::start(&provider);
    let token = signer.sign(&claims());
    node.identify(&token).await.expect("good");
    provider.set_up(false);
    let mut slower = document();
    slower.issuers.get_mut("idp").expect("there").jwks_refresh = Duration::from_secs(1200);
    node.adopt(&slower, 2);
    node.identify(&token).await.expect("its keys were kept");
    let mut elsewhere = document();
    elsewhere.issuers.get_mut("idp").expect("there").issuer = "http://other.test".to_owned();
    node.adopt(&elsewhere, 3);
    assert_eq!(node.fault(&token).await, TokenFault::Issuer);
    let theirs = signer.sign(&claims_with(json!({ "iss": "http://other.test" })));
    assert_eq!(
        node.identify(&theirs).await,
        Err(Refusal::IssuerUnavailable)
    );
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_leaves_the_document_is_fetched_no_more() {
    let signer = Signer::es256("k");
    let provider = Provider::new(&[&signer]);
    let mut node = Node::start(&provider);
    node.identify(&signer.sign(&claims())).await.expect("good");
    let mut without = document();
    without.issuers.clear();
    node.adopt(&without, 2);
    tokio::time::sleep(Duration::from_secs(10_000)).await;
    assert_eq!(provider.fetches(), 1);
    assert_eq!(
        node.fault(&signer.sign(&claims())).await,
        TokenFault::Issuer
    );
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_provider_that_says_it_is_another_issuer_are_not_taken() {
    let signer = Signer::es256("k");
    let provider = Provider::new(&[&signer]);
    *provider.says.lock().expect("no panic") = "http://other.test".to_owned();
    let node = Node::start(&provider);
    assert_eq!(
        node.identify(&signer.sign(&claims())).await,
        Err(Refusal::IssuerUnavailable)
    );
    assert_eq!(provider.fetches(), 0);
    let failure = node.issuers.status()[0].failure.clone().expect("a reason");
    assert!(failure.contains("another issuer"), "{failure}");
}

#[tokio::test]
async fn keys_come_over_https_from_a_server_whose_certificate_is_trusted() {
    let pair =
        rcgen::generate_simple_self_signed(vec!["idp.test".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der())
        .expect("a key");
    let provider_of_tls = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider_of_tls)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .expect("a certificate");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let url = "https://idp.test";
    let signer = Signer::es256("k");
    let token = signer.sign(&claims_with(json!({ "iss": url })));
    let mut document = document();
    document.issuers.get_mut("idp").expect("there").issuer = url.to_owned();
    for (trusted, expected) in [(true, true), (false, false)] {
        let provider = Provider::new(&[&signer]);
        *provider.says.lock().expect("no panic") = url.to_owned();
        *provider.base.lock().expect("no panic") = url.to_owned();
        let mut host = FakeHost::new(provider, Arc::default());
        host.acceptor = Some(acceptor.clone());
        let host = Arc::new(host);
        let mut roots = rustls::RootCertStore::empty();
        if trusted {
            roots.add(pair.cert.der().clone()).expect("a root");
        }
        let fetcher = Fetcher::with_roots(host.clone(), roots);
        let node = Node::around(host, Some(fetcher), document.clone());
        assert_eq!(node.identify(&token).await.is_ok(), expected);
    }
}

#[test]
fn a_document_with_issuers_that_cannot_be_served_is_rejected_with_the_reason() {
    let check = |change: &dyn Fn(&mut Document), dev| {
        let mut changed = document();
        change(&mut changed);
        Issuers::check(&changed, dev)
    };
    assert_eq!(check(&|_| {}, true), Ok(()));
    let plain = check(&|_| {}, false).expect_err("http");
    assert!(
        plain.contains("issuers.idp.issuer") && plain.contains("HTTPS"),
        "{plain}"
    );
    let algorithm = check(
        &|document| {
            document
                .issuers
                .get_mut("idp")
                .expect("there")
                .algorithms
                .push("ES512".to_owned());
        },
        true,
    );
    assert!(
        algorithm
            .expect_err("unknown")
            .contains("cannot check ES512")
    );
    let twice = check(
        &|document| drop(document.issuers.insert("twin".into(), issuer(URL))),
        true,
    );
    assert!(twice.expect_err("two").contains("same URL"));
}
