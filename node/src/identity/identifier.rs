//! The step `identity` of one worker.
//!
//! In: the rules of the request's revision, its route, its header fields. Out: the identity, or a refusal.
//! The shell of [`super::bearer`], [`super::verified`], [`super::token`] and [`super::rules`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use meridian_cluster::host::Host;
use meridian_config::document::Route;

use super::{
    Issuers, Rules,
    bearer::bearer,
    rules,
    token::Unverified,
    verified::{Digest, Entry, Verified},
};
use crate::{
    ban::Bans,
    exchange::Identity,
    problem::{Refusal, TokenFault},
};

/// Tells who sends a request. One for each worker.
pub struct Identifier {
    host: Arc<dyn Host>,
    issuers: Issuers,
    bans: Bans,
    /// A worker has one thread, so this lock is never waited for: it is there because futures that may
    /// move between threads cannot hold a `RefCell`.
    verified: Mutex<Verified>,
}

impl Identifier {
    /// An identifier that remembers no token yet.
    pub fn new(host: Arc<dyn Host>, issuers: Issuers, bans: Bans) -> Self {
        Self {
            host,
            issuers,
            bans,
            verified: Mutex::new(Verified::new()),
        }
    }

    /// The identity that the request's bearer token proves, for a route that asks for one; refused where the
    /// token was revoked.
    ///
    /// A token that was verified before costs a hash and a look-up and awaits nothing. Another one awaits
    /// only where its key is not known yet, and then at most two seconds. Cancel-safe.
    pub async fn identify(
        &self,
        rules: &Rules,
        route: &Route,
        headers: &HeaderMap,
    ) -> Result<Arc<Identity>, Refusal> {
        let token = bearer(headers)?;
        let digest = *blake3::hash(token.as_bytes()).as_bytes();
        let identity = match self.remembered(&digest, rules) {
            Some(identity) => {
                rules::opens(route, &identity.issuer)?;
                identity
            }
            // Boxed, so that the seldom path does not make every request's future larger.
            None => Box::pin(self.verify(token, digest, rules, route)).await?,
        };
        // Each time: what is remembered of a token is that it was good, not that it still stands.
        self.bans.stands(&identity)?;
        Ok(identity)
    }

    /// What an earlier request found, if time, rules and keys still agree.
    fn remembered(&self, digest: &Digest, rules: &Rules) -> Option<Arc<Identity>> {
        let mut entry = self.verified().find(digest)?;
        let unix = self.host.unix_time();
        // A new revision seldom says something else of a token's issuer and tenant. Where it does not, no
        // signature is checked again: else every apply would cost as much as all clients' first requests.
        let known = entry.revision == rules.revision;
        if (known || self.same_basis(&entry, rules))
            && unix.as_secs() < entry.until
            && entry.slot.generation(unix) == Some(entry.generation)
        {
            let identity = entry.identity.clone();
            if !known {
                entry.revision = rules.revision;
                self.verified().remember(*digest, entry);
            }
            return Some(identity);
        }
        self.verified().forget(digest);
        None
    }

    /// Whether a token that was verified under another revision need not be verified again.
    fn same_basis(&self, entry: &Entry, rules: &Rules) -> bool {
        // Keys of an issuer that has left the document, or was opened anew, are not renewed any more.
        let slot = self.issuers.slot(&entry.identity.issuer);
        slot.is_some_and(|slot| Arc::ptr_eq(&slot, &entry.slot)) && rules.agree(&entry.basis)
    }

    /// Verifies a token from the start and remembers it.
    async fn verify(
        &self,
        token: &str,
        digest: Digest,
        rules: &Rules,
        route: &Route,
    ) -> Result<Arc<Identity>, Refusal> {
        let token = Unverified::parse(token)?;
        let issuer = rules.issuer(token.issuer().ok_or(TokenFault::Claims)?, route)?;
        // RFC 8725 section 3.1: the issuer's list decides, not the token's header.
        if !issuer.algorithms.contains(&token.algorithm) {
            return Err(TokenFault::Signature.into());
        }
        // The revision is newer than the issuers adopted, or has lost this issuer meanwhile.
        let slot = self
            .issuers
            .slot(&issuer.name)
            .ok_or(Refusal::IssuerUnavailable)?;
        if Some(slot.settings.url.as_str()) != token.issuer() {
            return Err(Refusal::IssuerUnavailable);
        }
        let generation = slot.check(&*self.host, &token, digest).await?;
        let judged = rules.judge(issuer, &token.claims, self.host.unix_time())?;
        let identity = Arc::new(judged.identity);
        let entry = Entry {
            identity: identity.clone(),
            until: judged.until,
            revision: rules.revision,
            basis: Arc::new(judged.basis),
            slot,
            generation,
        };
        self.verified().remember(digest, entry);
        Ok(identity)
    }

    fn verified(&self) -> MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose token a request's says it is, believed or not: for telling an operator why it is refused.
pub(crate) fn claimed_issuer(headers: &HeaderMap) -> Option<String> {
    let token = Unverified::parse(bearer(headers).ok()?).ok()?;
    token.issuer().map(str::to_owned)
}

impl From<TokenFault> for Refusal {
    fn from(fault: TokenFault) -> Self {
        Self::Unauthenticated(fault)
    }
}
