//! Limits that operators set for tenants: through any node, on every node, over restarts.

use super::world::{World, document, until};
use crate::{
    directory::{Actor, SetQuota, WriteError},
    host::memory::Disk,
};

fn wish(limits: &[&str]) -> SetQuota {
    SetQuota {
        tenant: "acme".into(),
        limits: limits.iter().map(|&text| text.to_owned()).collect(),
        expires_ms: None,
        reason: String::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_set_through_one_node_is_there_on_every_node_and_after_a_restart() {
    let nodes = [("a1", "eu"), ("b1", "us"), ("c1", "ap")];
    let mut world = World::new(&nodes, &["a1", "b1", "c1"]);
    for (id, _) in nodes {
        world.upgrade(id);
        world.start(id, Disk::default()).await;
    }
    world.leader().await;
    until("one version", || {
        world
            .running()
            .all(|(_, directory)| *directory.level().borrow() >= 2)
    })
    .await;
    world.directory("a1").apply(document("one")).await.unwrap();
    let ada = || Actor::new("ada", "operator", None);
    let directory = world.directory("c1");
    let index = directory
        .set_quota(wish(&["9000/hour"]), ada())
        .await
        .unwrap();
    let there = |world: &World| {
        world.running().all(|(_, directory)| {
            let overrides = directory.overrides().borrow().clone();
            let set = overrides.all().get("acme").map(|set| set.index);
            set == Some(index)
                && overrides
                    .as_of(1, 0)
                    .is_some_and(|as_of| as_of.index == index)
        })
    };
    until("every node has it", || there(&world)).await;
    let wrong = world
        .directory("b1")
        .set_quota(wish(&["9000/hours"]), ada())
        .await;
    let Err(WriteError::Invalid(mistakes)) = wrong else {
        panic!("{wrong:?}");
    };
    assert!(
        mistakes[0].starts_with("limit 1:1:1: limits[0]: "),
        "{mistakes:?}"
    );

    let disk = world.kill("b1").await;
    world.start("b1", disk).await;
    until("it has it again", || there(&world)).await;

    let cleared = world
        .directory("b1")
        .clear_quota("acme".into(), ada())
        .await
        .unwrap();
    assert!(cleared > index);
    until("no node has it", || {
        world.running().all(|(_, directory)| {
            let overrides = directory.overrides().borrow().clone();
            overrides.all().is_empty()
                && overrides
                    .as_of(1, 0)
                    .is_some_and(|as_of| as_of.index == cleared)
        })
    })
    .await;
    let again = world
        .directory("a1")
        .clear_quota("acme".into(), ada())
        .await;
    assert_eq!(again, Err(WriteError::NotSet("acme".into())));
    let acts = world.directory("a1").audit(None, 3);
    let names: Vec<_> = acts.iter().map(|act| act.act.as_str()).collect();
    assert_eq!(names, ["quota set", "quota clear", "quota clear"]);
    assert!(acts[2].refused.is_some());
}
