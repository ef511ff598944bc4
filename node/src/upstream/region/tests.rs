use std::collections::BTreeMap;

use meridian_cluster::membership::{Announced, RegionHealth};
use proptest::prelude::*;

use super::*;

fn member(id: &str, region: &str, liveness: Liveness, healthy: Option<u32>) -> Member {
    let services = healthy
        .map(|count| (ServiceName::from("plant"), count))
        .into_iter()
        .collect();
    Member {
        id: id.into(),
        region: region.into(),
        incarnation: 1,
        liveness,
        footing: Footing::Steady,
        control: ([127, 0, 0, 1], 1).into(),
        bulk: ([127, 0, 0, 1], 2).into(),
        announced: Announced {
            services,
            ..Announced::default()
        },
        rtt: None,
    }
}

fn view(members: Vec<Member>, distances: &[(&str, u64)]) -> View {
    let mut regions = BTreeMap::new();
    for member in &members {
        let health = regions
            .entry(member.region.clone())
            .or_insert(RegionHealth {
                liveness: member.liveness,
                rtt: None,
            });
        health.liveness = health.liveness.min(member.liveness);
    }
    for (region, ms) in distances {
        if let Some(health) = regions.get_mut(*region) {
            health.rtt = Some(Duration::from_millis(*ms));
        }
    }
    let members = members
        .into_iter()
        .map(|member| (member.id.clone(), member))
        .collect();
    View {
        own: "eu-1".into(),
        own_region: "eu".into(),
        members,
        regions,
    }
}

fn three_regions() -> View {
    view(
        vec![
            member("eu-1", "eu", Liveness::Up, Some(1)),
            member("us-1", "us", Liveness::Up, Some(1)),
            member("ap-1", "ap", Liveness::Up, Some(1)),
        ],
        &[("us", 80), ("ap", 150)],
    )
}

fn places(of: &[(&str, &str)]) -> Vec<(RegionName, Zone)> {
    of.iter()
        .map(|(region, zone)| ((*region).into(), (*zone).into()))
        .collect()
}

const EVERYWHERE: [(&str, &str); 3] = [("ap", "in"), ("eu", "eu"), ("us", "us")];

fn ask(view: &View, at: &[(&str, &str)], zones: &[&str], local_ready: bool) -> Choice {
    let local = if local_ready {
        Local::Sure
    } else {
        Local::None
    };
    ask_with(view, at, zones, local)
}

fn ask_with(view: &View, at: &[(&str, &str)], zones: &[&str], local: Local) -> Choice {
    let zones: Vec<Zone> = zones.iter().map(|zone| (*zone).into()).collect();
    choose(
        &Question {
            view,
            service: &"plant".into(),
            places: &places(at),
            zones: &zones,
            local,
            forwarded: false,
            tried_peers: &[],
            tried_regions: &[],
        },
        &mut |_| 0,
    )
}

fn forward(to: &[(&str, &str)]) -> Choice {
    Choice::Forward(
        to.iter()
            .map(|(id, region)| ((*id).into(), (*region).into()))
            .collect(),
    )
}

#[test]
fn the_own_region_comes_first() {
    assert_eq!(ask(&three_regions(), &EVERYWHERE, &[], true), Choice::Local);
}

#[test]
fn without_a_healthy_endpoint_here_the_nearest_region_leads() {
    let expected = forward(&[("us-1", "us"), ("ap-1", "ap")]);
    assert_eq!(ask(&three_regions(), &EVERYWHERE, &[], false), expected);
}

#[test]
fn residency_sends_a_request_away_from_a_healthy_own_region() {
    assert_eq!(
        ask(&three_regions(), &EVERYWHERE, &["in"], true),
        forward(&[("ap-1", "ap")])
    );
}

#[test]
fn zones_without_any_endpoint_refuse_as_residency_even_when_all_is_healthy() {
    let refusal = Choice::Refuse(Reason::Residency);
    assert_eq!(
        ask(&three_regions(), &[("eu", "eu")], &["us"], true),
        refusal
    );
}

#[test]
fn a_dead_zone_refuses_as_unavailable_and_never_leaks() {
    let mut view = three_regions();
    view.members
        .get_mut("ap-1")
        .expect("it is a member")
        .liveness = Liveness::Down;
    view.regions.get_mut("ap").expect("it is a region").liveness = Liveness::Down;
    let refusal = Choice::Refuse(Reason::ResidencyUnavailable);
    assert_eq!(ask(&view, &EVERYWHERE, &["in"], true), refusal);
}

#[test]
fn a_region_that_announces_no_healthy_endpoint_is_passed_over_and_an_unknown_one_is_not() {
    let view = view(
        vec![
            member("eu-1", "eu", Liveness::Up, None),
            member("us-1", "us", Liveness::Up, Some(0)),
            member("ap-1", "ap", Liveness::Up, None),
        ],
        &[("us", 80), ("ap", 150)],
    );
    assert_eq!(
        ask(&view, &EVERYWHERE, &[], false),
        forward(&[("ap-1", "ap")])
    );
}

#[test]
fn draining_members_get_nothing_and_a_suspect_one_only_when_no_other_is_left() {
    let mut view = three_regions();
    view.members
        .get_mut("us-1")
        .expect("it is a member")
        .liveness = Liveness::Suspect;
    view.regions.get_mut("us").expect("it is a region").liveness = Liveness::Suspect;
    let expected = forward(&[("ap-1", "ap"), ("us-1", "us")]);
    assert_eq!(ask(&view, &EVERYWHERE, &[], false), expected);
    for id in ["us-1", "ap-1"] {
        view.members
            .get_mut(id)
            .expect("it is a member")
            .announced
            .draining = true;
    }
    let refusal = Choice::Refuse(Reason::NoHealthyUpstream);
    assert_eq!(ask(&view, &EVERYWHERE, &[], false), refusal);
}

#[test]
fn a_node_that_announces_health_precedes_its_silent_neighbour() {
    let view = view(
        vec![
            member("eu-1", "eu", Liveness::Up, Some(0)),
            member("us-1", "us", Liveness::Up, None),
            member("us-2", "us", Liveness::Up, Some(2)),
        ],
        &[("us", 80)],
    );
    assert_eq!(
        ask(&view, &EVERYWHERE, &[], false),
        forward(&[("us-2", "us"), ("us-1", "us")])
    );
}

#[test]
fn of_two_nodes_the_less_loaded_leads() {
    let mut view = view(
        vec![
            member("eu-1", "eu", Liveness::Up, Some(0)),
            member("us-1", "us", Liveness::Up, Some(1)),
            member("us-2", "us", Liveness::Up, Some(1)),
        ],
        &[("us", 80)],
    );
    view.members
        .get_mut("us-1")
        .expect("it is a member")
        .announced
        .load = 9;
    assert_eq!(
        ask(&view, &EVERYWHERE, &[], false),
        forward(&[("us-2", "us"), ("us-1", "us")])
    );
}

#[test]
fn what_nobody_has_checked_yet_comes_after_all_that_is_known_to_be_well() {
    let all = |us, ap| {
        view(
            vec![
                member("eu-1", "eu", Liveness::Up, None),
                member("us-1", "us", Liveness::Up, us),
                member("us-2", "us", Liveness::Suspect, Some(1)),
                member("ap-1", "ap", Liveness::Up, ap),
            ],
            &[("us", 80), ("ap", 150)],
        )
    };
    let (us, ap) = (("us-1", "us"), ("ap-1", "ap"));
    let suspect = ("us-2", "us");
    let unproven = |view: &View| ask_with(view, &EVERYWHERE, &[], Local::Unproven);
    assert_eq!(
        ask(&all(None, Some(1)), &EVERYWHERE, &[], false),
        forward(&[ap, us, suspect]),
        "farther away, and sure"
    );
    assert_eq!(
        unproven(&all(None, Some(1))),
        forward(&[ap, us, suspect]),
        "the own one is no surer than others"
    );
    assert_eq!(unproven(&all(None, None)), Choice::Local);
    assert_eq!(unproven(&all(Some(0), Some(0))), Choice::Local);
    let bound = ask_with(
        &all(Some(1), Some(1)),
        &EVERYWHERE,
        &["eu"],
        Local::Unproven,
    );
    assert_eq!(bound, Choice::Local, "residency leaves no other");
}

#[test]
fn a_region_behind_a_link_that_loses_much_comes_after_one_farther_away() {
    let mut view = three_regions();
    let us = view.members.get_mut("us-1").expect("it is a member");
    us.footing = Footing::ShakyLink;
    let expected = forward(&[("ap-1", "ap"), ("us-1", "us")]);
    assert_eq!(ask(&view, &EVERYWHERE, &[], false), expected);
    assert_eq!(
        ask(&view, &[("us", "us")], &[], false),
        forward(&[("us-1", "us")]),
        "and before a refusal"
    );
}

#[test]
fn a_forwarded_request_is_never_forwarded_again() {
    let view = three_regions();
    let question = Question {
        view: &view,
        service: &"plant".into(),
        places: &places(&EVERYWHERE),
        zones: &[],
        local: Local::None,
        forwarded: true,
        tried_peers: &[],
        tried_regions: &[],
    };
    assert_eq!(
        choose(&question, &mut |_| 0),
        Choice::Refuse(Reason::NoHealthyUpstream)
    );
    let unproven = Question {
        local: Local::Unproven,
        ..question
    };
    assert_eq!(choose(&unproven, &mut |_| 0), Choice::Local);
}

#[test]
fn what_was_tried_is_not_tried_again() {
    let view = three_regions();
    let mut question = Question {
        view: &view,
        service: &"plant".into(),
        places: &places(&EVERYWHERE),
        zones: &[],
        local: Local::None,
        forwarded: false,
        tried_peers: &["us-1".into()],
        tried_regions: &[],
    };
    assert_eq!(choose(&question, &mut |_| 0), forward(&[("ap-1", "ap")]));
    question.tried_peers = &[];
    let regions = ["us".into(), "ap".into()];
    question.tried_regions = &regions;
    assert_eq!(
        choose(&question, &mut |_| 0),
        Choice::Refuse(Reason::NoHealthyUpstream)
    );
}

fn any_footing() -> impl Strategy<Value = Footing> {
    prop_oneof![
        Just(Footing::Steady),
        Just(Footing::ShakyLink),
        Just(Footing::Shaky),
    ]
}

fn any_liveness() -> impl Strategy<Value = Liveness> {
    prop_oneof![
        Just(Liveness::Up),
        Just(Liveness::Suspect),
        Just(Liveness::Down)
    ]
}

const REGIONS: [&str; 4] = ["ap", "eu", "sa", "us"];

proptest! {
    #[test]
    fn no_choice_leaves_the_zones_or_goes_to_a_dead_draining_or_unfit_node(
        rest in proptest::collection::vec(
            (0..4_usize, any_liveness(), proptest::option::of(0..3_u32), (any::<bool>(), any_footing()), 0..100_u32),
            0..9,
        ),
        distances in proptest::collection::vec(proptest::option::of(1..400_u64), 4),
        endpoints in proptest::sample::subsequence(REGIONS.to_vec(), 1..=4),
        zones in proptest::sample::subsequence(REGIONS.to_vec(), 0..=3),
        local in prop_oneof![Just(Local::Sure), Just(Local::Unproven), Just(Local::None)],
        forwarded: bool,
        seed: u64,
    ) {
        let mut members = vec![member("eu-1", "eu", Liveness::Up, None)];
        for (index, (region, liveness, healthy, (draining, footing), load)) in rest.into_iter().enumerate() {
            let mut next = member(&format!("n{index}"), REGIONS[region], liveness, healthy);
            next.announced.draining = draining;
            next.announced.load = load;
            next.footing = footing;
            members.push(next);
        }
        let known: Vec<_> = REGIONS
            .iter()
            .zip(&distances)
            .filter_map(|(region, ms)| ms.map(|ms| (*region, ms)))
            .collect();
        let view = view(members, &known);
        // Each region is a zone of its own name.
        let places: Vec<_> = endpoints.iter().map(|name| ((*name).into(), (*name).into())).collect();
        let zones: Vec<Zone> = zones.into_iter().map(Zone::from).collect();
        let service = "plant".into();
        let question = Question {
            view: &view, service: &service, places: &places, zones: &zones, local, forwarded,
            tried_peers: &[], tried_regions: &[],
        };
        let mut state = seed;
        let mut draw = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).expect("31 bits fit") % bound
        };
        let may = |region: &str| {
            endpoints.contains(&region) && (zones.is_empty() || zones.contains(&Zone::from(region)))
        };
        match choose(&question, &mut draw) {
            Choice::Local => prop_assert!(local != Local::None && may("eu")),
            Choice::Forward(peers) => {
                prop_assert!(!forwarded);
                prop_assert!(!(local == Local::Sure && may("eu")));
                prop_assert!(!peers.is_empty());
                let sure = peers.iter().any(|(id, _)| {
                    let peer = &view.members[id];
                    Rank::of(&question, peer) == Some(Rank::Steady)
                });
                prop_assert!(sure || local == Local::None || !may("eu"));
                let mut before = (Rank::Steady, Duration::ZERO);
                for (id, region) in &peers {
                    let peer = &view.members[id];
                    prop_assert_eq!(&peer.region, region);
                    prop_assert!(region.as_str() != "eu" && may(region.as_str()));
                    prop_assert_ne!(peer.liveness, Liveness::Down);
                    prop_assert!(!peer.announced.draining);
                    prop_assert!(peer.announced.services.get(&service) != Some(&0));
                    let distance = view.regions[region].rtt.unwrap_or(UNMEASURED);
                    let rank = Rank::of(&question, peer).expect("it is fit");
                    let place = (rank, distance);
                    prop_assert!(before <= place, "what is sure first, then what is near");
                    before = place;
                }
            }
            Choice::Refuse(Reason::Residency) => {
                prop_assert!(endpoints.iter().all(|region| !may(region)));
            }
            Choice::Refuse(reason) => {
                let expected = if zones.is_empty() {
                    Reason::NoHealthyUpstream
                } else {
                    Reason::ResidencyUnavailable
                };
                prop_assert_eq!(reason, expected);
                prop_assert!(local == Local::None || !may("eu"));
                let fit = view.members.values().any(|peer| {
                    peer.region.as_str() != "eu"
                        && may(peer.region.as_str())
                        && peer.liveness != Liveness::Down
                        && !peer.announced.draining
                        && peer.announced.services.get(&service) != Some(&0)
                });
                prop_assert!(forwarded || !fit, "a fit peer is never left out");
            }
        }
    }
}
