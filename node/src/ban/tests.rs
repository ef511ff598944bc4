use meridian_cluster::{
    directory::Actor,
    facts::{Claim, Revocation},
};

use super::*;
use crate::testing::{NOW, TestHost};

/// Bans that a test decides on.
pub(crate) struct Decree {
    pub(crate) bans: Bans,
    index: Arc<Index>,
    tell: watch::Sender<u64>,
}

impl Decree {
    pub(crate) fn new(host: Arc<dyn Host>) -> Self {
        let index = Arc::<Index>::default();
        let (tell, told) = watch::channel(0);
        Self {
            bans: Bans::of(index.clone(), host, told),
            index,
            tell,
        }
    }

    /// From now on this holds, for an hour.
    pub(crate) fn decree(&self, number: u8, claim: Claim) -> FactId {
        let id = format!("{number:032x}").parse().expect("an id");
        self.index.heed(vec![Arc::new(Fact {
            id,
            claim,
            expires_ms: (NOW + 3600) * 1000,
            made_ms: NOW * 1000,
            node: "here-1".into(),
            actor: Actor::new("test", "security", None),
            reason: String::new(),
        })]);
        self.tell.send_replace(self.index.version());
        id
    }
}

fn block(net: &str) -> Claim {
    Claim::Block(net.parse().expect("a net"))
}

fn identity(token_id: &str) -> Arc<Identity> {
    Arc::new(Identity {
        tenant: "acme".into(),
        zones: Vec::new(),
        subject: "ann".to_owned(),
        issuer: "demo".into(),
        scopes: Vec::new(),
        roles: Vec::new(),
        token_id: Some(token_id.to_owned()),
        issued: Some(NOW),
        expires: NOW + 60,
    })
}

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));

#[tokio::test(start_paused = true)]
async fn a_leave_is_withdrawn_by_what_concerns_it_and_by_nothing_else() {
    let decree = Decree::new(TestHost::new());
    let bans = &decree.bans;
    let leave = |token| Leave::new(bans, bans.version(), CLIENT, Some(identity(token)));
    let (mut one, mut other) = (leave("one"), leave("other"));
    decree.decree(1, block("198.51.100.0/24"));
    assert_eq!((one.look(), other.look()), (Ok(()), Ok(())));
    let two = decree.decree(2, Claim::Revoke(Revocation::TokenId("one".into())));
    let revoked = Refusal::Unauthenticated(TokenFault::Revoked(two));
    // Each time it is asked.
    assert_eq!(one.look(), Err(revoked.clone()));
    assert_eq!(one.look(), Err(revoked));
    assert_eq!(other.look(), Ok(()));
    let three = decree.decree(3, block("203.0.113.0/28"));
    assert_eq!(other.look(), Err(Refusal::Blocked(three)));
    assert_eq!(bans.admit("198.51.101.1".parse().unwrap()), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_vigil_ends_when_its_turn_comes_and_not_before() {
    let decree = Decree::new(TestHost::new());
    let bans = decree.bans.clone();
    let vigil = Vigil::over(Leave::new(&bans, bans.version(), CLIENT, None));
    let mut withdrawn = std::pin::pin!(vigil.withdrawn());
    let wait = Duration::from_secs(60);
    for number in 0..3 {
        let outcome = tokio::time::timeout(wait, withdrawn.as_mut()).await;
        assert!(outcome.is_err(), "{outcome:?}");
        decree.decree(number, block("198.51.100.0/24"));
    }
    let id = decree.decree(9, block("203.0.113.9/32"));
    let outcome = tokio::time::timeout(wait, withdrawn).await;
    assert_eq!(outcome, Ok(Refusal::Blocked(id)));
}

#[tokio::test(start_paused = true)]
async fn what_came_between_admission_and_vigil_is_not_missed() {
    let decree = Decree::new(TestHost::new());
    let bans = decree.bans.clone();
    let leave = Leave::new(&bans, bans.version(), CLIENT, None);
    let id = decree.decree(1, block("203.0.113.9/32"));
    assert_eq!(Vigil::over(leave).withdrawn().await, Refusal::Blocked(id));
}
