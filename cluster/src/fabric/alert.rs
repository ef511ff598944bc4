//! What a failed handshake means, and what to do about it.
//!
//! In: the error that ended a connection before its hello. Out: a cause to count and a sentence for the
//! log; nothing where it was only silence or a reset. A core; [`super::dial`] and [`super::link`] note
//! what it says.

use quinn::ConnectionError;

use super::refusals::Refusal;

/// A handshake that was refused: its cause, and what an operator should know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) cause: Refusal,
    pub(super) why: String,
}

/// TLS alerts (RFC 8446 section 6.2, RFC 7301 section 3.2) that tell causes apart. The verifier chooses
/// its errors so that rustls sends these.
const CERTIFICATE_EXPIRED: u8 = 45;
const CERTIFICATE_UNKNOWN: u8 = 46;
const UNKNOWN_CA: u8 = 48;
const NO_APPLICATION_PROTOCOL: u8 = 120;
/// `bad_certificate` to `decrypt_error`, and `certificate_required`: about a certificate in some way.
const ABOUT_CERTIFICATES: [u8; 6] = [42, 43, 44, 49, 51, 116];

/// Reads the error of a handshake.
pub(super) fn read(error: &ConnectionError) -> Option<Refused> {
    let (code, here, said) = match error {
        ConnectionError::TransportError(ours) => (ours.code, true, ours.to_string()),
        ConnectionError::ConnectionClosed(theirs) => (theirs.error_code, false, theirs.to_string()),
        _ => return None,
    };
    // RFC 9001 section 4.8: a TLS alert is an error code from 0x100 on.
    let alert = u64::from(code)
        .checked_sub(0x100)
        .and_then(|alert| u8::try_from(alert).ok());
    let (cause, why) = match alert {
        Some(UNKNOWN_CA) if here => (
            Refusal::Authority,
            "its certificate is of a CA that this node's fabric.ca does not hold; issue it with this cluster's CA (meridian ca issue), or, while CAs are changed, give every node the ca.pem that holds both".to_owned(),
        ),
        Some(UNKNOWN_CA) => (
            Refusal::Authority,
            "it does not trust the CA of this node's certificate; give both nodes certificates of one CA, or, while CAs are changed, the ca.pem that holds both".to_owned(),
        ),
        Some(CERTIFICATE_EXPIRED) if here => (
            Refusal::Expired,
            format!("its certificate is not valid now ({said}); renew it (meridian ca renew), or set the clock of one of the two machines"),
        ),
        Some(CERTIFICATE_EXPIRED) => (
            Refusal::Expired,
            "by its clock this node's certificate is not valid now; renew it (meridian ca renew), or set the clock of one of the two machines".to_owned(),
        ),
        Some(CERTIFICATE_UNKNOWN) if here => (
            Refusal::Name,
            format!("its certificate is not of a node of this cluster ({said}); correct fabric.join or cluster.name, or issue it with this cluster's CA"),
        ),
        Some(CERTIFICATE_UNKNOWN) => (
            Refusal::Name,
            "it does not take this node's certificate for one of a node of its cluster; correct fabric.join or cluster.name".to_owned(),
        ),
        Some(NO_APPLICATION_PROTOCOL) => (
            Refusal::Protocol,
            "control and bulk ports are mixed up; fabric.join and fabric.advertise name control addresses (listen.fabric), fabric.advertise_bulk names the bulk address (listen.bulk); or else the releases of the two nodes are more than one apart".to_owned(),
        ),
        Some(alert) if ABOUT_CERTIFICATES.contains(&alert) => (
            Refusal::Certificate,
            format!("one of the two nodes does not believe the other's certificate ({said}); issue both with this cluster's CA (meridian ca issue)"),
        ),
        _ => (Refusal::Handshake, said),
    };
    Some(Refused { cause, why })
}

#[cfg(test)]
mod tests {
    use quinn::{ConnectionClose, TransportErrorCode};

    use super::*;

    fn closed(alert: u8) -> ConnectionError {
        ConnectionError::ConnectionClosed(ConnectionClose {
            error_code: TransportErrorCode::crypto(alert),
            frame_type: None,
            reason: Default::default(),
        })
    }

    #[test]
    fn each_alert_about_a_certificate_has_its_cause() {
        for (alert, cause) in [
            (48, Refusal::Authority),
            (45, Refusal::Expired),
            (46, Refusal::Name),
            (51, Refusal::Certificate),
            (120, Refusal::Protocol),
            (80, Refusal::Handshake),
        ] {
            let refused = read(&closed(alert)).unwrap();
            assert_eq!(refused.cause, cause, "{refused:?}");
        }
    }

    #[test]
    fn silence_and_resets_are_no_refusals() {
        for error in [
            ConnectionError::TimedOut,
            ConnectionError::Reset,
            ConnectionError::LocallyClosed,
        ] {
            assert_eq!(read(&error), None);
        }
    }
}
