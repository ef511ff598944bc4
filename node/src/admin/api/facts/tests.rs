use super::*;

fn wanted() -> body::WantedRevocation {
    body::WantedRevocation::default()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn addresses_are_read_as_operators_write_them() {
    for (text, net_text) in [
        ("203.0.113.7", "203.0.113.7/32"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
    ] {
        assert_eq!(
            net(text).map(|net| net.to_string()),
            Ok(net_text.to_owned())
        );
    }
    for (text, part) in [
        ("10.1.2.3/8", "write \"10.0.0.0/8\""),
        ("10.0.0.0/33", "not a network"),
        ("example.com", "not a network"),
        ("0.0.0.0/0", "every client"),
        ("::/0", "every client"),
        ("::ffff:0.0.0.0/96", "every client"),
        ("", "not a network"),
    ] {
        let wrong = net(text).unwrap_err();
        assert!(wrong.contains(part), "{text}: {wrong}");
    }
}

#[test]
fn a_revocation_names_one_thing() {
    let of = |wanted: &body::WantedRevocation| revocation(wanted, None).map(|(what, _)| what);
    assert_eq!(
        of(&body::WantedRevocation {
            token_id: some("t"),
            ..wanted()
        }),
        Ok(Revocation::TokenId("t".into()))
    );
    assert_eq!(
        of(&body::WantedRevocation {
            subject: some("ann"),
            issuer: some("auth0"),
            issued_before: some("1970-01-01T00:00:07.5Z"),
            ..wanted()
        }),
        Ok(Revocation::Subject {
            subject: "ann".into(),
            issuer: Some("auth0".into()),
            issued_before: Some(8),
        })
    );
    for wrong in [
        wanted(),
        body::WantedRevocation {
            token_id: some("t"),
            subject: some("ann"),
            ..wanted()
        },
        body::WantedRevocation {
            token_id: some("t"),
            issuer: some("auth0"),
            ..wanted()
        },
        // All tokens that a tenant will ever have are the document's to stop.
        body::WantedRevocation {
            tenant: some("acme"),
            ..wanted()
        },
        body::WantedRevocation {
            tenant: some("acme"),
            issued_before: some("yesterday"),
            ..wanted()
        },
    ] {
        assert!(of(&wrong).is_err(), "{wrong:?}");
    }
}
