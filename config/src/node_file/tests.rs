//! Whole files: the example, a short one, and many that are wrong.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<NodeFile, Vec<String>> {
    let source = Source {
        name: "node.yaml".to_owned(),
        text: text.to_owned(),
    };
    NodeFile::parse(&source, Folder::new("/etc/meridian"))
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

const SHORT: &str = "\
cluster: { name: prod, bootstrap: [a] }
node: { id: a, region: eu, data_dir: /var/lib/meridian }
fabric: { ca: ca.pem, cert: node.pem, key: /keys/node.key }
admin: { tokens: tokens.yaml }
";

#[test]
fn the_example_passes_the_check() {
    let file = parse(EXAMPLE).unwrap();
    assert_eq!(file.tls[0].hosts, ["api.example.com", "*.example.org"]);
    assert_eq!(file.fabric.join, ["eu-west-2.internal:7400"]);
    assert_eq!(file.listen.https, "0.0.0.0:8443".parse().ok());
}

#[test]
fn a_short_file_gets_the_default_ports_and_paths_beside_it() {
    let file = parse(SHORT).unwrap();
    assert_eq!(
        file.listen,
        Listen {
            http: None,
            https: None,
            fabric: "0.0.0.0:7400".parse().unwrap(),
            bulk: "0.0.0.0:7450".parse().unwrap(),
            admin: "127.0.0.1:7500".parse().unwrap(),
        }
    );
    assert_eq!(file.fabric.ca, Folder::new("/etc/meridian/ca.pem"));
    assert_eq!(file.fabric.key, Folder::new("/keys/node.key"));
    assert_eq!(file.admin.tls, None);
    assert_eq!(file.bootstrap, [NodeId::new("a")]);
}

#[test]
fn an_empty_file_is_told_as_such() {
    let empty =
        ["node.yaml:1:1: the file is empty; see the example in the documentation".to_owned()];
    assert_eq!(parse("").unwrap_err(), empty);
    assert_eq!(parse("# nothing\n").unwrap_err(), empty);
}

#[test]
fn every_mistake_of_a_file_is_told_at_once() {
    let text = "\
cluster: { name: Prod, bootstrap: [a, a, -b] }
node: { id: \"a b\", data_dir: /d, regoin: eu }
listen: { http: 8080, https: \"0.0.0.0:8443\", fabric: localhost:7400, bulk: 10.0.0.1, admin: 10.0.0.1:8443 }
fabric: { advertise: 0.0.0.0:7400, cert: node.pem, key: \"pkcs11:token=x\", join: [eu-west-2, \"b:0\"] }
tokens: admin.yaml
admin: { tokens: \"\", cert: a.pem }
";
    let told = [
        "1:18: cluster.name: the name stands in certificates in small letters; write \"prod\"",
        "1:39: cluster.bootstrap[1]: \"a\" stands twice in the list; keep one",
        "1:42: cluster.bootstrap[2]: a name has 1 to 64 letters, digits, \"-\", \"_\" or \".\", and begins with a letter or digit",
        "2:1: node.region: is missing; it must be given",
        "2:13: node.id: a name has 1 to 64 letters, digits, \"-\", \"_\" or \".\", and begins with a letter or digit",
        "2:34: node.regoin: unknown key; did you mean \"region\"?",
        "3:17: listen.http: \"8080\" has no address; write \"0.0.0.0:8080\", or \"127.0.0.1:8080\" for this machine alone",
        "3:30: listen.https: needs a certificate; add tls: [{ hosts: [api.example.com], cert: edge.pem, key: edge.key }]",
        "3:54: listen.fabric: \"localhost:7400\" is a name; write the address, \"127.0.0.1:7400\"",
        "3:76: listen.bulk: \"10.0.0.1\" has no port; write \"10.0.0.1:7450\"",
        "3:93: listen.admin: 10.0.0.1:8443 is taken by listen.https; choose another port",
        "4:1: fabric.ca: is missing; it must be given",
        "4:22: fabric.advertise: \"0.0.0.0:7400\" is no address that a node could be reached at; write the node's own",
        "4:57: fabric.key: keys in hardware (pkcs11:) are not supported by this version; name a file",
        "4:82: fabric.join[0]: \"eu-west-2\" has no port; write \"eu-west-2:7400\"",
        "4:93: fabric.join[1]: \"b:0\": \"0\" is not a port; it must lie between 1 and 65535",
        "5:1: tokens: unknown key; known here: cluster, node, listen, fabric, tls, admin",
        "6:1: admin: 10.0.0.1:8443 is not on loopback, so the admin API must speak HTTPS; give cert, key and client_ca, or listen on 127.0.0.1",
        "6:18: admin.tokens: must not be empty",
    ];
    let told = told.map(|line| format!("node.yaml:{line}"));
    assert_eq!(parse(text).unwrap_err(), told);
}

#[test]
fn two_listeners_cannot_share_a_port_of_one_transport() {
    let text = format!(
        "{SHORT}listen: {{ http: 127.0.0.1:9000, admin: 127.0.0.1:9000, fabric: 127.0.0.1:9000, bulk: 127.0.0.1:0 }}\n"
    );
    assert_eq!(
        parse(&text).unwrap_err(),
        [
            "node.yaml:5:40: listen.admin: 127.0.0.1:9000 is taken by listen.http; choose another port"
        ]
    );
}

#[test]
fn the_admin_api_beyond_loopback_needs_https() {
    let open = format!("{SHORT}listen: {{ admin: 0.0.0.0:7500 }}\n");
    assert_eq!(
        parse(&open).unwrap_err(),
        [
            "node.yaml:4:1: admin: 0.0.0.0:7500 is not on loopback, so the admin API must speak HTTPS; give cert, key and client_ca, or listen on 127.0.0.1"
        ]
    );
    let shut = open.replace(
        "{ tokens: tokens.yaml }",
        "{ tokens: t, cert: c, key: k, client_ca: ca }",
    );
    assert!(parse(&shut).unwrap().admin.tls.is_some());
}

#[test]
fn the_schema_names_every_key_of_the_example() {
    let text = Source {
        name: String::new(),
        text: EXAMPLE.to_owned(),
    };
    let nodes = tree::parse(std::slice::from_ref(&text), &mut Findings::in_sources(&[])).unwrap();
    crate::schema_test::accepts(&schema(), &nodes[0]);
}

proptest! {
    #[test]
    fn no_change_of_the_example_panics(at in 0..EXAMPLE.len(), cut in 0usize..12, with in "[ -~\n]{0,6}") {
        let at = EXAMPLE.floor_char_boundary(at);
        let end = EXAMPLE.floor_char_boundary((at + cut).min(EXAMPLE.len())).max(at);
        let mut text = EXAMPLE.to_owned();
        text.replace_range(at..end, &with);
        let _ = parse(&text);
    }
}
