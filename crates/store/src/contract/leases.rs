//! What every kind must do about leases and owners; the rules themselves are `cluster::Registry`'s.

use super::{member, save, shard, user};
use crate::{Beat, Claim, Claimed, Error, Fence, Member, ShardId, Store};
use std::time::{Duration, Instant};

pub(super) async fn check<S: Store>(fresh: &impl AsyncFn() -> S) {
    a_lapsed_lease_frees_its_shards(&fresh().await).await;
    a_standing_lease_keeps_its_shards(&fresh().await).await;
    a_later_run_of_a_node_has_the_lease(&fresh().await).await;
    a_released_shard_is_free_and_its_epoch_stays(&fresh().await).await;
    owners_are_told_when_they_changed(&fresh().await).await;
    one_of_two_nodes_that_race_gets_each_shard(&fresh().await).await;
    the_first_secret_stays(&fresh().await).await;
    restoring_undoes_nothing(&fresh().await).await;
}

const LONG: u64 = 60_000;

async fn beat(store: &impl Store, member: &Member, ttl: u64, known: Option<u64>) -> Beat {
    let (leases, mut all) = (store.leases(), Beat::default());
    // Every group has leases of its own; those of the first stand for all here.
    for group in (0..leases.groups()).rev() {
        let known = known.filter(|_| group == 0);
        all = leases.beat(group, member, ttl, known).wait().await.expect("a lease can be renewed");
    }
    all
}

async fn take(store: &impl Store, by: &Member, claim: Claim) -> Claimed {
    let (leases, group) = (store.leases(), store.leases().group_of(claim.shard));
    leases.take(group, by, &[claim]).wait().await.expect("a claim is answered").remove(0)
}

fn claim(shard: ShardId) -> Claim {
    Claim::new(shard)
}

/// A shard of the first group.
fn zero() -> ShardId {
    ShardId::new(0).expect("there is a first shard")
}

async fn a_lapsed_lease_frees_its_shards(store: &impl Store) {
    let (one, other) = (member("n1", 1), member("n2", 1));
    assert_eq!(take(store, &one, claim(zero())).await, Err(None), "without a lease nothing is taken");
    beat(store, &one, 500, None).await;
    let first = take(store, &one, claim(zero())).await.expect("a free shard can be taken");
    assert_eq!(first, Fence { epoch: 1, node: "n1".into(), incarnation: 1 });
    let until = Instant::now() + Duration::from_secs(10);
    let second = loop {
        let seen = beat(store, &other, LONG, None).await;
        match take(store, &other, claim(zero())).await {
            Ok(second) => break second,
            Err(owner) => assert_eq!(owner, Some(first.clone())),
        }
        assert!(Instant::now() < until, "the lease does not lapse: {seen:?}");
    };
    assert_eq!(second, Fence { epoch: 2, node: "n2".into(), incarnation: 1 });
    assert_eq!(beat(store, &other, LONG, None).await.members, [other]);
}

async fn a_standing_lease_keeps_its_shards(store: &impl Store) {
    let (one, other) = (member("n1", 1), member("n2", 1));
    beat(store, &one, LONG, None).await;
    let seen = beat(store, &other, LONG, None).await;
    assert_eq!(seen.members, [one.clone(), other.clone()]);
    let first = take(store, &one, claim(zero())).await.expect("a free shard can be taken");
    assert_eq!(take(store, &one, claim(zero())).await, Ok(first.clone()), "what is mine I may take again");
    assert_eq!(take(store, &other, claim(zero())).await, Err(Some(first.clone())));
    let held = Some(Fence { epoch: 9, node: "n2".into(), incarnation: 1 });
    let late = Claim { held, ..claim(zero()) };
    assert_eq!(take(store, &other, late).await, Err(Some(first.clone())), "no failure, no former holder");
    let stranger = Claim { gone: Some(Fence { incarnation: 5, ..first.clone() }), ..claim(zero()) };
    assert_eq!(take(store, &other, stranger).await, Err(Some(first.clone())), "another run is gone");
    store.leases().leave(0, &member("n1", 9)).wait().await.expect("a leave is answered");
    assert_eq!(
        take(store, &other, claim(zero())).await,
        Err(Some(first.clone())),
        "another run took its leave"
    );
    let gone = Claim { gone: Some(first.clone()), ..claim(zero()) };
    assert_eq!(take(store, &other, gone).await.map(|fence| fence.epoch), Ok(2), "it is gone");
    store.leases().leave(0, &other).wait().await.expect("a leave is answered");
    assert_eq!(take(store, &one, claim(zero())).await.map(|fence| fence.epoch), Ok(3), "it took its leave");
    store.leases().leave(0, &one).wait().await.expect("a leave is answered");
    beat(store, &other, LONG, None).await;
    let heard = Claim { above: 41, ..claim(zero()) };
    assert_eq!(take(store, &other, heard).await.map(|fence| fence.epoch), Ok(42), "no token twice");
    store.leases().leave(0, &other).wait().await.expect("a leave is answered");
    assert_eq!(beat(store, &one, LONG, None).await.members, [one]);
}

async fn a_later_run_of_a_node_has_the_lease(store: &impl Store) {
    // As numbers of 64 bits they differ in the last only.
    let (earlier, later) = (member("n1", u64::MAX - 1), member("n1", u64::MAX));
    beat(store, &earlier, LONG, None).await;
    let first = take(store, &earlier, claim(zero())).await.expect("a free shard can be taken");
    assert_eq!(beat(store, &later, LONG, None).await.members, std::slice::from_ref(&later));
    assert_eq!(
        beat(store, &earlier, LONG, None).await.members,
        std::slice::from_ref(&later),
        "the earlier renews nothing"
    );
    let second = take(store, &later, claim(zero())).await.expect("the owner's run is over");
    assert_eq!((second.epoch, second.incarnation), (first.epoch + 1, u64::MAX));
    assert_eq!(take(store, &earlier, claim(zero())).await, Err(Some(second)));
}

async fn a_released_shard_is_free_and_its_epoch_stays(store: &impl Store) {
    let (one, other) = (member("n1", 1), member("n2", 1));
    beat(store, &one, LONG, None).await;
    beat(store, &other, LONG, None).await;
    let fence = take(store, &one, claim(zero())).await.expect("a free shard can be taken");
    let stale = Fence { epoch: 7, ..fence.clone() };
    store.leases().release(0, &[(zero(), stale)]).wait().await.expect("a release is answered");
    assert!(take(store, &other, claim(zero())).await.is_err(), "of another token nothing is released");
    for _ in 0..2 {
        let released = store.leases().release(0, &[(zero(), fence.clone())]).wait().await;
        assert_eq!(released, Ok(()), "what is released can be released again");
    }
    let write = crate::Write { user: &user("a@a", &[], 0), version: 1, write_id: 1 };
    let saved = store.save(zero(), &fence, write).wait().await;
    assert_eq!(saved, Err(Error::Fenced), "whoever released cannot write");
    let owners = beat(store, &one, LONG, None).await.owners.expect("owners");
    let nobody = Fence { epoch: 1, node: "".into(), incarnation: 0 };
    assert_eq!(owners, [(zero(), nobody)], "a released shard names nobody");
    assert_eq!(take(store, &other, claim(zero())).await.map(|fence| fence.epoch), Ok(2));
}

async fn owners_are_told_when_they_changed(store: &impl Store) {
    let one = member("n1", 1);
    let seen = beat(store, &one, LONG, None).await;
    assert_eq!(seen.owners, Some(Vec::new()));
    let again = beat(store, &one, LONG, Some(seen.version)).await;
    assert_eq!((again.version, again.owners, again.run), (seen.version, None, seen.run.clone()));
    let fence = take(store, &one, claim(zero())).await.expect("a free shard can be taken");
    let told = beat(store, &one, LONG, Some(seen.version)).await;
    assert!(told.version > seen.version);
    assert_eq!(told.owners, Some(vec![(zero(), fence.clone())]));
    store.leases().release(0, &[(zero(), fence)]).wait().await.expect("a release is answered");
    assert!(beat(store, &one, LONG, Some(told.version)).await.owners.is_some());
}

async fn one_of_two_nodes_that_race_gets_each_shard(store: &impl Store) {
    let (one, other) = (member("n1", 1), member("n2", 1));
    beat(store, &one, LONG, None).await;
    beat(store, &other, LONG, None).await;
    let claims: Vec<Claim> =
        ShardId::all().filter(|shard| store.leases().group_of(*shard) == 0).map(claim).collect();
    for some in claims.chunks(7) {
        let asked = (store.leases().take(0, &one, some), store.leases().take(0, &other, some));
        let (first, second) = (asked.0.wait(), asked.1.wait());
        let (second, first) = (second.await.expect("an answer"), first.await.expect("an answer"));
        for (first, second) in first.into_iter().zip(second) {
            match (first, second) {
                (Ok(fence), Err(Some(owner))) | (Err(Some(owner)), Ok(fence)) => assert_eq!(fence, owner),
                other => panic!("a shard has one owner, and the other hears of it: {other:?}"),
            }
        }
    }
}

async fn the_first_secret_stays(store: &impl Store) {
    let first = [0xff; 32];
    assert_eq!(store.leases().secret(first).wait().await, Ok(first));
    assert_eq!(store.leases().secret([7; 32]).wait().await, Ok(first), "it is the cluster's");
}

async fn restoring_undoes_nothing(store: &impl Store) {
    let fence = super::owned(store, "alice@a").await;
    let (first, second) = (user("alice@a", &["sip:alice@a"], 5_000), user("alice@a", &["sip:new@a"], 6_000));
    assert_eq!(save(store, &fence, &first, 1, 1).await, Ok(()));
    assert_eq!(save(store, &fence, &second, 2, 2).await, Ok(()));
    let bob = user("bob@a", &["sip:bob@a"], 5_000);
    let bobs = super::owned(store, "bob@a").await;
    assert_eq!(save(store, &bobs, &bob, 1, 1).await, Ok(()));
    assert_eq!(store.erase(shard("bob@a"), &bobs, bob.impi()).wait().await, Ok(()));
    let leases = store.leases();
    let (heir, mut shards) = (member("n2", 1), Vec::new());
    for (name, fence) in [("alice@a", &fence), ("bob@a", &bobs)] {
        shards.push((shard(name), super::taken(store, shard(name), &heir, Some(fence.clone())).await));
    }
    for (shard, fence) in &shards {
        let restored = leases.restore(leases.group_of(*shard), &[(*shard, fence.clone())]).wait().await;
        assert_eq!(restored, Ok(()), "restoring what is not lost succeeds");
    }
    assert_eq!(super::load(store, "alice@a").await.map(|loaded| loaded.user), Some(second));
    assert_eq!(super::load(store, "bob@a").await, None, "who was erased does not come back");
    assert_eq!(super::holders(store, "sip:new@a").await, ["alice@a"]);
    assert!(super::holders(store, "sip:bob@a").await.is_empty());
}
