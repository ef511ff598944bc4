//! A stream of server-sent events from the admin API (HTML standard section 9.2).
//!
//! In: the bytes of the body, in whatever pieces they come. Out: [`Sent`] events. The core is [`Reader`].

use std::{collections::VecDeque, pin::Pin};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::{
    client::{ANSWER, Client, interpret, unsendable},
    outcome::Failure,
};

/// The longest event that is read; one with a long reason has some kB.
const LONGEST: usize = 1 << 20;

/// An event as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    /// Where to go on after it.
    pub(super) id: Option<String>,
    /// What it says.
    pub(super) data: String,
}

/// An open stream. Its connection ends with it.
pub(super) struct Stream {
    body: Incoming,
    reader: Reader,
    /// Moves the connection's bytes; `None` after its end.
    driver: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Client {
    /// Opens a stream; with the id of the last event that was had, it goes on there.
    pub(super) async fn stream(&self, path: &str, last: Option<&str>) -> Result<Stream, Failure> {
        let (base, stream) = self.reach().await?;
        let mut request = self
            .request(base, Method::GET, path)
            .header(header::ACCEPT, "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request: Request<Empty<Bytes>> = request.body(Empty::new()).map_err(unsendable)?;
        let broke = |cause: String| Failure::unreachable(format!("{}: {cause}", base.text));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broke(error.to_string()))?;
        // How it ends, the body tells.
        let mut driver = Some(Box::pin(async move {
            let _ = connection.await;
        }) as Pin<Box<dyn Future<Output = ()>>>);
        let answer = async {
            let response = sender.send_request(request).await?;
            let (head, body) = response.into_parts();
            if head.status.is_success() {
                return Ok((head.status, Ok(body)));
            }
            let text = Limited::new(body, LONGEST).collect().await;
            Ok::<_, hyper::Error>((head.status, Err(text.map(|text| text.to_bytes()))))
        };
        let (status, body) = timeout(ANSWER, driven(&mut driver, answer))
            .await
            .map_err(|_| broke(format!("no answer in {ANSWER:?}")))?
            .map_err(|error| broke(error.to_string()))?;
        let body = match body {
            Ok(body) => body,
            Err(Err(error)) => return Err(broke(error.to_string())),
            Err(Ok(bytes)) => {
                return Err(interpret::<()>(&base.text, status, &bytes)
                    .err()
                    .unwrap_or_else(|| broke(format!("it answered {status}"))));
            }
        };
        Ok(Stream {
            body,
            reader: Reader::default(),
            driver,
        })
    }
}

impl Stream {
    /// The next event; `None` when the stream has ended or broken.
    pub(super) async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some(event) = self.reader.ready.pop_front() {
                return Some(event);
            }
            let frame = driven(&mut self.driver, self.body.frame()).await?.ok()?;
            if let Ok(bytes) = frame.into_data() {
                self.reader.read(&bytes)?;
            }
        }
    }
}

/// Waits for something while the connection's driver runs beside it.
async fn driven<T>(
    driver: &mut Option<Pin<Box<dyn Future<Output = ()>>>>,
    wanted: impl Future<Output = T>,
) -> T {
    tokio::pin!(wanted);
    loop {
        let Some(running) = driver else {
            return wanted.await;
        };
        tokio::select! {
            biased;
            got = &mut wanted => return got,
            () = running => *driver = None,
        }
    }
}

/// Cuts the bytes of a stream into events.
#[derive(Debug, Default)]
struct Reader {
    /// The line that has begun.
    line: Vec<u8>,
    id: Option<String>,
    data: Option<String>,
    ready: VecDeque<Sent>,
}

impl Reader {
    /// Takes more of it; `None` where it is no stream of events that anyone would send.
    fn read(&mut self, bytes: &[u8]) -> Option<()> {
        for byte in bytes {
            if *byte == b'\n' {
                let line = String::from_utf8(std::mem::take(&mut self.line)).ok()?;
                self.take(line.trim_end_matches('\r'));
            } else {
                self.line.push(*byte);
            }
        }
        let pending = self.line.len() + self.data.as_ref().map_or(0, String::len);
        (pending <= LONGEST).then_some(())
    }

    fn take(&mut self, line: &str) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            // An empty line ends an event; a line of comment has no field.
            "" if line.is_empty() => {
                if let Some(data) = self.data.take() {
                    let id = self.id.clone();
                    self.ready.push_back(Sent { id, data });
                }
            }
            "id" => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_from_any_pieces() {
        let text = "retry: 1000\n\nid: a-1\nevent: node\ndata: {\"x\":1}\n\n: alive\n\nid: a-2\r\ndata: one\r\ndata:two\r\n\r\nid: a-3\ndata: half";
        let wanted = [
            Sent {
                id: Some("a-1".into()),
                data: "{\"x\":1}".into(),
            },
            Sent {
                id: Some("a-2".into()),
                data: "one\ntwo".into(),
            },
        ];
        for size in 1..text.len() {
            let mut reader = Reader::default();
            for piece in text.as_bytes().chunks(size) {
                reader.read(piece).unwrap();
            }
            assert_eq!(reader.ready, wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn what_never_ends_is_given_up() {
        let mut reader = Reader::default();
        let piece = vec![b'x'; 64 * 1024];
        let fed = (0..1000).take_while(|_| reader.read(&piece).is_some());
        assert!(fed.count() <= LONGEST / piece.len());
        assert_eq!(Reader::default().read(b"\xff\n"), None);
    }
}
