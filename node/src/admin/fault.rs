//! Every refusal of the admin API, and its problem+json (RFC 9457).
//!
//! In: a [`Fault`]. Out: status, name and text. A core.

use meridian_cluster::{
    bootstrap::RestoreError,
    directory::{BackupError, MarkError, ReadError, WriteError},
    facts::PublishError,
};

use super::{
    access::{Deed, Role},
    body::{PROBLEM, Problem},
};

/// Why the admin API does not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error(
        "no valid admin token; send `Authorization: Bearer TOKEN` with one that `meridian admin token` made and the node's token file lists"
    )]
    Unauthenticated,
    #[error("the role {role} of {name} may not do this; use a token with the role {}", deed.roles())]
    Forbidden {
        name: String,
        role: Role,
        deed: Deed,
    },
    #[error("the admin API has no {0}; /api/v1/status is a good start")]
    NoSuchResource(String),
    #[error("this resource takes {0}")]
    Method(String),
    #[error("no document was applied yet; give the cluster one with `meridian apply -f PATH`")]
    NoRevision,
    #[error("revision {0} is not kept; /api/v1/config/history lists those that are")]
    RevisionNotKept(String),
    #[error(
        "say which revision you have seen: If-Match: \"N\" (\"0\" where there is none yet), or If-Match: * to replace whichever is the newest"
    )]
    NoIfMatch,
    #[error("If-Match is neither * nor one revision in quotes, for example \"7\"")]
    BadIfMatch,
    #[error("the query is not what this resource takes: {0}")]
    Query(String),
    #[error("the body is not what this resource takes: {0}")]
    Body(String),
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body did not come in time")]
    SlowBody,
    #[error("the document is not valid: correct it and apply it again")]
    Document(Vec<String>),
    #[error("the limits are not valid: correct them and set them again")]
    Limits(Vec<String>),
    #[error("{0}")]
    Write(WriteError),
    #[error("{0}")]
    Read(ReadError),
    #[error("{0}")]
    Backup(BackupError),
    #[error("{0}")]
    Restore(RestoreError),
    #[error("no block of {0} is in force here; `meridian block list` shows those that are")]
    NoSuchBlock(String),
    #[error("{0}")]
    Publish(PublishError),
    #[error(
        "as many streams of events are open as this node serves; close one, or ask another node"
    )]
    Crowded,
    #[error("the document names no tenant {0}; /api/v1/tenants lists those it names")]
    NoSuchTenant(String),
    #[error("the document names no service {0}; /api/v1/services lists those it names")]
    NoSuchService(String),
    #[error("the answer took too long; the node is overloaded, ask again or ask another node")]
    Overloaded,
}

impl Fault {
    /// Status and name of its type.
    fn kind(&self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Unauthenticated => (401, "unauthenticated", "Unauthenticated"),
            Self::Forbidden { .. } => (403, "forbidden", "Forbidden"),
            Self::NoSuchResource(_) => (404, "not-found", "No such resource"),
            Self::Method(_) => (405, "method-not-allowed", "Method not allowed"),
            Self::NoRevision => (404, "no-revision", "No document yet"),
            Self::RevisionNotKept(_) => (404, "revision-not-kept", "Revision not kept"),
            Self::NoIfMatch => (428, "precondition-required", "If-Match is missing"),
            Self::BadIfMatch => (400, "malformed-request", "Malformed request"),
            Self::Body(_) | Self::Query(_) => (400, "malformed-request", "Malformed request"),
            Self::TooLarge(_) => (413, "body-too-large", "Body too large"),
            Self::SlowBody => (408, "slow-request", "Slow request"),
            Self::Document(_) => (422, "invalid-document", "Invalid document"),
            Self::Limits(_) => (422, "invalid-limits", "Invalid limits"),
            Self::NoSuchTenant(_) => (404, "no-such-tenant", "No such tenant"),
            Self::NoSuchService(_) => (404, "no-such-service", "No such service"),
            Self::Crowded => (503, "overloaded", "Overloaded"),
            Self::Overloaded => (503, "overloaded", "Overloaded"),
            Self::NoSuchBlock(_) => (404, "not-in-force", "Not in force"),
            Self::Publish(error) => match error {
                PublishError::Unsound(_) | PublishError::Past => {
                    (422, "invalid-fact", "Not to be kept so")
                }
                PublishError::Full { .. } => (409, "facts-full", "No room"),
                PublishError::NotHeld(_) => (404, "not-in-force", "Not in force"),
                PublishError::Stopping => (503, "stopping", "Node is stopping"),
            },
            Self::Read(error) => match error {
                ReadError::NoQuorum { .. } | ReadError::NoLeader { .. } => {
                    (503, "no-quorum", "No quorum")
                }
                ReadError::Stopped => (503, "stopping", "Node is stopping"),
            },
            Self::Backup(error) => match error {
                BackupError::Write(error) => Self::Write(error.clone()).kind(),
                BackupError::Read(error) => Self::Read(error.clone()).kind(),
                BackupError::Nothing => (503, "not-founded", "Cluster not founded"),
            },
            Self::Restore(error) => match error {
                RestoreError::NotAwaited(_) => (409, "restore-not-awaited", "Restore not awaited"),
                RestoreError::NotEmpty(_) => (409, "node-not-empty", "Node is not empty"),
                RestoreError::Elsewhere(_) => (409, "cluster-exists", "Cluster exists"),
                RestoreError::OtherCluster { .. } => (409, "other-cluster", "Another cluster"),
                RestoreError::UnderWay => (409, "restore-under-way", "Restore under way"),
                RestoreError::NotABackup(_) => (422, "not-a-backup", "Not a backup"),
                RestoreError::Failed(_) => (500, "restore-failed", "Restore failed"),
            },
            Self::Write(error) => match error {
                WriteError::NoQuorum { .. } | WriteError::NoLeader { .. } => {
                    (503, "no-quorum", "No quorum")
                }
                WriteError::NotFounded => (503, "not-founded", "Cluster not founded"),
                WriteError::NotMember { .. } => (503, "not-a-member", "Not a member yet"),
                WriteError::Stopped { .. } => (503, "stopping", "Node is stopping"),
                WriteError::Unconfirmed { .. } => (504, "unconfirmed", "Write not confirmed"),
                WriteError::Conflict { .. } => (412, "revision-conflict", "Another revision"),
                WriteError::NotKept { .. } => (404, "revision-not-kept", "Revision not kept"),
                WriteError::TooLarge { .. } => (413, "document-too-large", "Document too large"),
                WriteError::Invalid(_) => (422, "invalid-document", "Invalid document"),
                WriteError::OverridesFull => (409, "overrides-full", "No room"),
                WriteError::NotSet(_) => (404, "not-set", "Not set"),
                WriteError::Mark(MarkError::Unknown(_)) => (404, "no-such-node", "No such node"),
                WriteError::Mark(MarkError::Serving(_)) => {
                    (409, "node-serving", "Node is alive and not drained")
                }
                WriteError::Mark(MarkError::Only(_) | MarkError::LastVoter(_)) => {
                    (409, "node-needed", "Node is needed")
                }
            },
        }
    }

    /// The problem that a client sees.
    pub(crate) fn problem(&self) -> Problem {
        let (status, name, title) = self.kind();
        let (detail, mistakes) = match self {
            Self::Document(mistakes) | Self::Write(WriteError::Invalid(mistakes)) => {
                (Self::Document(Vec::new()).to_string(), mistakes.clone())
            }
            Self::Limits(mistakes) => (Self::Limits(Vec::new()).to_string(), mistakes.clone()),
            other => (other.to_string(), Vec::new()),
        };
        Problem {
            kind: format!("{PROBLEM}{name}"),
            title: title.to_owned(),
            status,
            detail,
            mistakes,
        }
    }
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

impl From<BackupError> for Fault {
    fn from(error: BackupError) -> Self {
        Self::Backup(error)
    }
}

impl From<RestoreError> for Fault {
    fn from(error: RestoreError) -> Self {
        Self::Restore(error)
    }
}

impl From<PublishError> for Fault {
    fn from(error: PublishError) -> Self {
        Self::Publish(error)
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_without_a_quorum_are_503_no_quorum() {
        let fault = Fault::from(WriteError::NoQuorum {
            voters: vec!["a".into()],
        });
        let problem = fault.problem();
        assert_eq!((problem.status, problem.name()), (503, "no-quorum"));
    }

    #[test]
    fn mistakes_travel_apart_from_the_sentence() {
        let fault = Fault::from(WriteError::Invalid(vec!["a.yaml:1:1: wrong".into()]));
        let problem = fault.problem();
        assert_eq!(problem.status, 422);
        assert_eq!(problem.mistakes, ["a.yaml:1:1: wrong"]);
        assert!(!problem.detail.contains("a.yaml"));
    }
}
