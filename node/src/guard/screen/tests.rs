//! The screen against the shapes that smuggling is made of, and against itself in pieces.

use proptest::prelude::*;

use super::*;

/// What became of a whole input.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// All of it passed.
    Passed,
    /// It ends within a head.
    Unfinished,
    /// This many bytes passed before something was refused.
    Refused(usize),
    Broken,
}

/// Feeds the input in the given pieces, as the shell does.
fn feed(input: &[u8], cuts: &[usize]) -> Outcome {
    let mut screen = Screen::new(Limits::default());
    let mut passed = 0;
    let mut ends: Vec<usize> = cuts.iter().map(|&c| c.min(input.len())).collect();
    ends.push(input.len());
    ends.sort_unstable();
    for end in ends {
        while passed < end {
            match screen.examine(&input[passed..end]) {
                Verdict::Pass(length) => passed += length,
                Verdict::More => break,
                Verdict::Refuse(refusal) => {
                    // The shell may come back to a refused head; it must not become good meanwhile.
                    let again = screen.examine(&input[passed..end]);
                    assert_eq!(again, Verdict::Refuse(refusal));
                    return Outcome::Refused(passed);
                }
                Verdict::Break => return Outcome::Broken,
            }
        }
    }
    if passed == input.len() {
        Outcome::Passed
    } else {
        Outcome::Unfinished
    }
}

fn whole(input: &str) -> Outcome {
    feed(input.as_bytes(), &[])
}

#[test]
fn good_requests_pass_one_after_the_other() {
    let good = "GET / HTTP/1.1\r\nhost: a\r\n\r\n\
        POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc\
        POST /y HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nt: 1\r\n\r\n\
        \r\nGET /z HTTP/1.0\r\n\r\n";
    assert_eq!(whole(good), Outcome::Passed);
}

#[test]
fn smuggling_shapes_are_refused() {
    for head in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 3, 3\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: +3\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 0x3\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length:\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: xchunked\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: \x0bchunked\r\n\r\n",
        "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding : chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nx: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\n x: a\r\n\r\n",
        "GET / HTTP/1.1\r\nx: a\n\r\n\r\n",
        "GET / HTTP/1.1\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nx: a\rb: c\r\n\r\n",
        "GET / HTTP/1.1\r\nx\r\n\r\n",
        "GET / HTTP/1.1\r\n: x\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / x HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.2\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET /\r\n\r\n",
        "G\u{e9}T / HTTP/1.1\r\n\r\n",
        "GET /\u{e9} HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nx: \0\r\n\r\n",
    ] {
        assert_eq!(whole(head), Outcome::Refused(0), "{head:?}");
    }
}

#[test]
fn broken_chunks_end_the_connection() {
    for body in [
        "x\r\n",
        "\r\n",
        "3\nabc\r\n",
        "3\r\nabcd\r\n",
        "3 \r\nabc\r\n",
        "1000000000000000\r\n",
        "3;x\n\r\n",
        "0\r\nt: 1\n\r\n",
    ] {
        let input = format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        assert_eq!(whole(&input), Outcome::Broken, "{body:?}");
    }
    let endless = format!(
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3;{}",
        "x".repeat(300)
    );
    assert_eq!(whole(&endless), Outcome::Broken);
}

#[test]
fn heads_that_are_too_large_are_refused_before_their_end() {
    let line = format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000));
    assert_eq!(whole(&line), Outcome::Refused(0));
    let mut screen = Screen::new(Limits::default());
    let target = format!("GET /{}", "a".repeat(9000));
    assert!(matches!(
        screen.examine(target.as_bytes()),
        Verdict::Refuse(Refusal::UriTooLong { .. })
    ));
    let mut screen = Screen::new(Limits::default());
    let large = format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(40_000));
    assert!(matches!(
        screen.examine(large.as_bytes()),
        Verdict::Refuse(Refusal::HeadersTooLarge { .. })
    ));
    let mut screen = Screen::new(Limits::default());
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    assert!(matches!(
        screen.examine(many.as_bytes()),
        Verdict::Refuse(Refusal::HeadersTooLarge { .. })
    ));
}

#[test]
fn what_follows_an_upgrade_is_not_looked_at() {
    let input = "GET /ws HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n\x01\x02\n\n\0";
    assert_eq!(whole(input), Outcome::Passed);
}

/// Text that looks like requests often enough to reach every state.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST /a HTTP/1.1\r\n",
        "host: a\r\n",
        "content-length: 5\r\n",
        "transfer-encoding: chunked\r\n",
        "upgrade: x\r\n",
        "\r\n",
        "\r",
        "\n",
        "5\r\n",
        "abcde",
        "0\r\n\r\n",
        "3;e\r\nabc\r\n",
        " ",
        "x",
        "\0",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn how_the_bytes_are_cut_changes_nothing(
        input in soup(), cuts in prop::collection::vec(0usize..200, 0..12)
    ) {
        let outcome = feed(&input, &[]);
        let every: Vec<usize> = (0..input.len()).collect();
        prop_assert_eq!(&feed(&input, &cuts), &outcome);
        prop_assert_eq!(&feed(&input, &every), &outcome);
    }

    #[test]
    fn no_bytes_make_it_panic(input in prop::collection::vec(any::<u8>(), 0..400)) {
        feed(&input, &[]);
    }
}
