//! Blocks and revocations: real nodes, real tokens, cut links, restarts.

use std::time::Duration;

use meridian_tests::{
    dev::{Dev, Node},
    http::{Call, get},
    wait::{LONG, until},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

/// The claims of a token; whoever holds one may read them.
fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("three parts");
    let mut bits = Vec::new();
    for letter in payload.bytes() {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let value = alphabet.iter().position(|known| *known == letter);
        let value = value.expect("base64url");
        bits.extend((0..6).rev().map(|bit| value >> bit & 1 == 1));
    }
    let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    let bytes: Vec<u8> = bits.chunks_exact(8).map(byte).collect();
    serde_json::from_slice(&bytes).expect("claims")
}

fn token_id(token: &str) -> String {
    claims(token)["jti"].as_str().expect("a jti").to_owned()
}

/// Every node gives this answer to this call, now.
async fn everywhere(dev: &Dev, call: &Call, status: u16, problem: Option<&str>) {
    for node in dev.nodes() {
        let answer = call.send(node.http).await;
        match problem {
            Some(problem) => {
                answer.expect_problem(status, problem);
            }
            None => assert_eq!(answer.status, status, "{}: {answer:?}", node.id),
        }
    }
}

/// Regions whose nodes have all applied it, and the longest it took, in ms.
fn applied(receipt: &Value) -> (Vec<String>, f64) {
    let regions = receipt["regions"].as_array().expect("regions");
    let mut longest = 0.0;
    let mut names = Vec::new();
    for region in regions {
        if region["state"] == "applied" {
            names.push(region["region"].as_str().expect("a name").to_owned());
            longest = region["after_ms"].as_f64().expect("ms").max(longest);
        }
    }
    (names, longest)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_and_a_blocked_client_are_refused_at_every_node_at_once() {
    let dev = Dev::start().await;
    let (one, other) = (
        dev.token("acme", &["plants:read"]).await,
        dev.token("acme", &["plants:read"]).await,
    );
    let call = |token: &str| get("/v1/plants").token(token);
    for node in dev.nodes() {
        for token in [&one, &other] {
            let good = |answer: &meridian_tests::http::Answer| answer.status == 200;
            node.eventually(&call(token), LONG, good).await;
        }
    }
    let mut tunnels = Vec::new();
    for node in dev.nodes() {
        tunnels.push(open_tunnel(&node, &one).await);
    }

    let first = dev.node("us-east");
    let began = Instant::now();
    let ran = dev
        .admin(
            &first,
            &[
                "revoke",
                "--token-id",
                &token_id(&one),
                "--reason",
                "stolen",
                "-o",
                "json",
            ],
        )
        .await
        .expect(0);
    let command = began.elapsed();
    everywhere(&dev, &call(&one), 401, Some("token-revoked")).await;
    let (regions, longest) = applied(&ran.json());
    assert_eq!(regions, ["ap-south", "eu-west", "us-east"], "{ran:?}");
    assert!(longest < 500.0, "{ran:?}");
    println!("revoked on three nodes after {longest} ms; the command took {command:?}");
    everywhere(&dev, &call(&other), 200, None).await;
    for mut tunnel in tunnels {
        let mut rest = Vec::new();
        let ended = timeout(Duration::from_secs(5), tunnel.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "a tunnel of a revoked token goes on");
    }

    // An operator reads why, and what lifts it.
    let bearer = format!("Authorization: Bearer {one}");
    let url = format!("http://localhost:{}/v1/plants", first.http.port());
    let told = dev
        .admin(
            &dev.node("eu-west"),
            &["explain", "GET", &url, "-H", &bearer],
        )
        .await
        .expect(0);
    for part in ["token-revoked", "because: stolen", "revoke --undo"] {
        assert!(told.stdout.contains(part), "{part}: {told:?}");
    }
    let list = dev
        .admin(&dev.node("ap-south"), &["revocations", "-o", "json"])
        .await
        .expect(0)
        .json();
    let id = list["revocations"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert_eq!(list["revocations"][0]["token_id"], token_id(&one));
    dev.admin(&first, &["revoke", "--undo", &id])
        .await
        .expect(0);
    everywhere(&dev, &call(&one), 200, None).await;
    // Once is enough.
    dev.admin(&first, &["revoke", "--undo", &id])
        .await
        .expect(1);

    let ran = dev
        .admin(&first, &["block", "add", "127.0.0.0/8", "--ttl", "1h"])
        .await
        .expect(0);
    everywhere(&dev, &call(&other), 403, Some("blocked")).await;
    assert!(
        ran.stdout.contains("127.0.0.0/8 is blocked until"),
        "{ran:?}"
    );
    assert_eq!(ran.stdout.matches("applied").count(), 3, "{ran:?}");
    let list = dev
        .admin(&dev.node("eu-west"), &["block", "list"])
        .await
        .expect(0);
    assert!(list.stdout.contains("127.0.0.0/8"), "{list:?}");
    dev.admin(&dev.node("ap-south"), &["block", "remove", "127.0.0.0/8"])
        .await
        .expect(0);
    everywhere(&dev, &call(&other), 200, None).await;
    dev.admin(&first, &["block", "remove", "127.0.0.0/8"])
        .await
        .expect(1);
    for wrong in ["10.0.0.1/8", "0.0.0.0/0", "somewhere"] {
        dev.admin(&first, &["block", "add", wrong]).await.expect(2);
    }
    dev.stop().await;
}

/// A WebSocket at a node, without what a WebSocket would say on it.
async fn open_tunnel(node: &Node, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(node.http).await.expect("connected");
    let request = format!(
        "GET /v1/ws HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_and_after_a_restart_alone_what_was_stopped_stays_so() {
    let dev = Dev::start().await;
    let tokens = [
        dev.token("acme", &["plants:read"]).await,
        dev.token("acme", &["plants:read"]).await,
    ];
    let call = |token: &str| get("/v1/plants").token(token);
    for node in dev.nodes() {
        let good = |answer: &meridian_tests::http::Answer| answer.status == 200;
        node.eventually(&call(&tokens[0]), LONG, good).await;
    }
    let revoke = async |token: &str, wait: &str| {
        let id = token_id(token);
        let line = ["revoke", "--token-id", &id, "--wait", wait, "-o", "json"];
        dev.admin(&dev.node("ap-south"), &line).await
    };
    // A quorum agrees while there is one.
    let ran = revoke(&tokens[0], "quorum").await.expect(0);
    assert_eq!(ran.json()["durable"], true, "{ran:?}");
    for region in ["eu-west", "us-east"] {
        dev.dev(&["kill", region]).await.expect(0);
    }
    // Nobody else is there, and the receipt names who is not.
    until("the dead are noticed", LONG, async || {
        let status = dev.status(&dev.node("ap-south")).await;
        match status["stale"] == true {
            true => Ok(()),
            false => Err(status.to_string()),
        }
    })
    .await;
    let ran = revoke(&tokens[1], "all").await.expect(0);
    let receipt = ran.json();
    let states: Vec<&str> = receipt["regions"]
        .as_array()
        .expect("regions")
        .iter()
        .map(|region| region["state"].as_str().expect("a state"))
        .collect();
    assert_eq!(
        states,
        ["applied", "out-of-reach", "out-of-reach"],
        "{ran:?}"
    );
    assert!(
        ran.stderr
            .contains("eu-west-1, us-east-1: cannot be reached"),
        "{ran:?}"
    );
    let ran = revoke(&tokens[1], "quorum").await.expect(4);
    assert!(ran.stderr.contains("no quorum has agreed"), "{ran:?}");

    // Killed and started again, with nobody to ask: its own disk is all it has.
    dev.dev(&["kill", "ap-south"]).await.expect(0);
    dev.dev(&["start", "ap-south"]).await.expect(0);
    let alone = dev.node("ap-south");
    for token in &tokens {
        // From its very first answer on.
        until("it serves", LONG, async || {
            let answer = call(token).try_send(alone.http).await?;
            // Its issuer's keys come from its disk or from the issuer, which lives.
            match answer.status {
                401 => {
                    answer.expect_problem(401, "token-revoked");
                    Ok(())
                }
                503 => Err(format!("{answer:?}")),
                _ => panic!("{answer:?}"),
            }
        })
        .await;
    }
    // Whoever comes back is told before it lets clients in.
    for region in ["eu-west", "us-east"] {
        dev.dev(&["start", region]).await.expect(0);
        let node = dev.node(region);
        for token in &tokens {
            until("it serves", LONG, async || {
                let answer = call(token).try_send(node.http).await?;
                match answer.status {
                    401 => {
                        answer.expect_problem(401, "token-revoked");
                        Ok(())
                    }
                    503 => Err(format!("{answer:?}")),
                    _ => panic!("{}: {answer:?}", node.id),
                }
            })
            .await;
        }
    }
    // And a quorum has agreed in the end, and knows who did it, from where, and through which node.
    until("all is agreed on", LONG, async || {
        let list = dev.admin(&alone, &["revocations", "-o", "json"]).await;
        let list = list.expect(0).json();
        let all = list["revocations"].as_array().expect("a list");
        match all.len() == 3 && all.iter().all(|one| one["durable"] == true) {
            true => Ok(()),
            false => Err(list.to_string()),
        }
    })
    .await;
    let key = std::fs::read_to_string(dev.folder().join("admin.token")).expect("a token");
    let audit = get("/api/v1/audit").token(key.trim());
    let of = |token: &str| format!("token id {}", token_id(token));
    let wanted = [of(&tokens[0]), of(&tokens[1]), of(&tokens[1])];
    // A node that is not the leader applies it a moment later.
    until("it is in the audit everywhere", LONG, async || {
        for node in dev.nodes() {
            let answer = audit.send(node.admin).await.json();
            let acts = answer["acts"].as_array().expect("acts").iter();
            let mut targets = Vec::new();
            for act in acts.filter(|act| act["act"] == "revoke") {
                assert_eq!(act["node"], "ap-south-1", "{act}");
                assert_eq!(act["done"], true, "{act}");
                let from = act["from"].as_str().unwrap_or_default();
                assert!(from.starts_with("127.0.0.1:"), "{act}");
                targets.push(act["target"].as_str().expect("a target").to_owned());
            }
            if targets != wanted {
                return Err(format!("{}: {targets:?}", node.id));
            }
        }
        Ok(())
    })
    .await;
    dev.stop().await;
}
