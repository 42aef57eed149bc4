//! What every kind of store must do. One suite; each kind runs it on a fresh store.

mod leases;

use crate::{Claim, Error, Fence, Filter, Loaded, Member, ShardId, Store, Write};
use scscf::profile::{IdentityType, PublicIdentity, ServiceProfile, Subscription};
use scscf::view::RegistrationState;
use scscf::{Impi, Impu, Timestamp, User};
use serde::Serialize;

/// Checks a kind; `fresh` gives an empty store at each call.
///
/// # Panics
/// If the kind breaks the contract; the message says which promise.
pub async fn check<S: Store>(fresh: impl AsyncFn() -> S) {
    reads_back_what_was_written(&fresh().await).await;
    writes_only_for_the_owner(&fresh().await).await;
    repeats_a_write_without_effect(&fresh().await).await;
    refuses_an_older_or_a_rival_version(&fresh().await).await;
    forgets_what_is_erased(&fresh().await).await;
    keeps_the_directory_with_the_records(&fresh().await).await;
    keeps_deadlines_by_shard(&fresh().await).await;
    lists_every_user_once(&fresh().await).await;
    filters_lists(&fresh().await).await;
    goes_on_where_a_list_ended(&fresh().await).await;
    does_not_bring_an_erased_user_back(&fresh().await).await;
    leases::check(&fresh).await;
    assert_eq!(fresh().await.ready().wait().await, Ok(()), "a store that works is ready");
}

/// A user with one binding until `expires_at` under `impus`; without any, one that owns nothing.
///
/// # Panics
/// If an identity is no identity.
pub fn user(name: &str, impus: &[&str], expires_at: u64) -> User {
    let identity = |text: &&str| PublicIdentity {
        impu: Impu::parse(text).expect("a public identity"),
        text: (*text).into(),
        barred: false,
        kind: IdentityType::PublicUserIdentity,
        wildcard: None,
        display_name: None,
        alias_group: None,
    };
    let profile = ServiceProfile {
        identities: impus.iter().map(identity).collect(),
        media_profile: None,
        service_ids: Vec::new(),
        criteria: Default::default(),
        shared_criteria: Vec::new(),
    };
    let binding = |impu: &&str| Binding {
        id: 1,
        uri: "sip:ue@192.0.2.7:5060",
        params: "",
        path: &["<sip:term@192.0.2.1;lr>"],
        call_id: "call",
        cseq: 1,
        expires_at: Timestamp::from_millis(expires_at),
        registered_at: Timestamp::from_millis(1),
        impu: Impu::parse(impu).expect("a public identity"),
        event: "created",
        emergency: false,
    };
    let set = Set {
        profile: Subscription { private_id: name.into(), profiles: vec![profile] },
        associated_identities: Vec::new(),
        bindings: impus.first().map(binding).into_iter().collect(),
        assigned_at: Timestamp::from_millis(1),
    };
    let sets = if impus.is_empty() { Vec::new() } else { vec![set] };
    let written = Written { impi: impi(name), registration: Sets { sets } };
    let octets = rmp_serde::to_vec_named(&written).expect("a user can be written");
    rmp_serde::from_slice(&octets).expect("a user can be read")
}

/// A user as a record spells it: the fields of a user are its own.
#[derive(Serialize)]
struct Written<'a> {
    impi: Impi,
    registration: Sets<'a>,
}

#[derive(Serialize)]
struct Sets<'a> {
    sets: Vec<Set<'a>>,
}

#[derive(Serialize)]
struct Set<'a> {
    profile: Subscription,
    associated_identities: Vec<Impi>,
    bindings: Vec<Binding<'a>>,
    assigned_at: Timestamp,
}

#[derive(Serialize)]
struct Binding<'a> {
    id: u64,
    uri: &'a str,
    params: &'a str,
    path: &'a [&'a str],
    call_id: &'a str,
    cseq: u32,
    expires_at: Timestamp,
    registered_at: Timestamp,
    impu: Impu,
    event: &'a str,
    emergency: bool,
}

fn impi(name: &str) -> Impi {
    Impi::new(name).expect("a private identity")
}

fn fence(node: &str, epoch: u64) -> Fence {
    Fence { epoch, node: node.into(), incarnation: 1 }
}

fn shard(name: &str) -> ShardId {
    ShardId::of(name)
}

/// The shard of `name` belongs to the first node.
async fn owned(store: &impl Store, name: &str) -> Fence {
    taken(store, shard(name), &member("n1", 1), None).await
}

fn member(node: &str, incarnation: u64) -> Member {
    Member { node: node.into(), incarnation, link: "".into(), sip: "".into(), draining: false, users: 0 }
}

/// Takes a shard, from an owner that is `gone` if there is one.
async fn taken(store: &impl Store, shard: ShardId, by: &Member, gone: Option<Fence>) -> Fence {
    let leases = store.leases();
    let group = leases.group_of(shard);
    assert!(group < leases.groups());
    leases.beat(group, by, 60_000, None).wait().await.expect("a lease can be renewed");
    let claim = Claim { gone, ..Claim::new(shard) };
    let taken = leases.take(group, by, &[claim]).wait().await.expect("a claim is answered");
    taken.into_iter().next().expect("one answer a claim").expect("the shard can be taken")
}

async fn save(
    store: &impl Store,
    fence: &Fence,
    user: &User,
    version: u64,
    write_id: u64,
) -> Result<(), Error> {
    store.save(shard(user.impi().as_str()), fence, Write { user, version, write_id }).wait().await
}

async fn load(store: &impl Store, name: &str) -> Option<Loaded> {
    store.load(shard(name), &impi(name)).wait().await.expect("a record can be read")
}

async fn reads_back_what_was_written(store: &impl Store) {
    let alice = user("alice@a", &["sip:alice@a", "tel:+15550001"], 5_000);
    let fence = owned(store, "alice@a").await;
    assert_eq!(load(store, "alice@a").await, None, "an empty store has no user");
    assert_eq!(save(store, &fence, &alice, 1, 11).await, Ok(()));
    assert_eq!(load(store, "alice@a").await, Some(Loaded { user: alice.clone(), version: 1 }));
    let later = user("alice@a", &["sip:alice@a"], 9_000);
    assert_eq!(save(store, &fence, &later, 2, 12).await, Ok(()));
    assert_eq!(
        load(store, "alice@a").await,
        Some(Loaded { user: later, version: 2 }),
        "the last write stands"
    );
}

async fn writes_only_for_the_owner(store: &impl Store) {
    let alice = user("alice@a", &["sip:alice@a"], 5_000);
    assert_eq!(
        save(store, &fence("n1", 1), &alice, 1, 1).await,
        Err(Error::Fenced),
        "nobody owns the shard yet"
    );
    let old = owned(store, "alice@a").await;
    assert_eq!(save(store, &old, &alice, 1, 1).await, Ok(()));
    let new = taken(store, shard("alice@a"), &member("n2", 1), Some(old.clone())).await;
    let changed = user("alice@a", &["sip:alice@a"], 6_000);
    assert_eq!(save(store, &old, &changed, 2, 2).await, Err(Error::Fenced), "a deposed owner cannot write");
    assert_eq!(
        store.erase(shard("alice@a"), &old, alice.impi()).wait().await,
        Err(Error::Fenced),
        "a deposed owner cannot erase"
    );
    assert_eq!(load(store, "alice@a").await, Some(Loaded { user: alice, version: 1 }));
    assert_eq!(save(store, &new, &changed, 2, 3).await, Ok(()), "the new owner goes on from the version");
    let same_epoch = Fence { incarnation: 9, ..new };
    assert_eq!(
        save(store, &same_epoch, &changed, 3, 4).await,
        Err(Error::Fenced),
        "the whole token is compared, not the epoch"
    );
}

async fn repeats_a_write_without_effect(store: &impl Store) {
    let alice = user("alice@a", &["sip:alice@a"], 5_000);
    let fence = owned(store, "alice@a").await;
    for _ in 0..3 {
        assert_eq!(save(store, &fence, &alice, 1, 77).await, Ok(()), "the same write succeeds again");
    }
    assert_eq!(load(store, "alice@a").await.map(|loaded| loaded.version), Some(1));
    assert_eq!(holders(store, "sip:alice@a").await, ["alice@a"]);
}

async fn refuses_an_older_or_a_rival_version(store: &impl Store) {
    let (first, second) =
        (user("alice@a", &["sip:alice@a"], 1_000), user("alice@a", &["sip:alice@a"], 2_000));
    let fence = owned(store, "alice@a").await;
    assert_eq!(save(store, &fence, &first, 1, 1).await, Ok(()));
    assert_eq!(save(store, &fence, &second, 2, 2).await, Ok(()));
    assert_eq!(
        save(store, &fence, &first, 1, 1).await,
        Err(Error::Outdated),
        "an older version comes too late"
    );
    assert_eq!(
        save(store, &fence, &first, 2, 9).await,
        Err(Error::Outdated),
        "another write took this version"
    );
    assert_eq!(load(store, "alice@a").await, Some(Loaded { user: second, version: 2 }));
}

async fn forgets_what_is_erased(store: &impl Store) {
    let alice = user("alice@a", &["sip:alice@a"], 5_000);
    let fence = owned(store, "alice@a").await;
    assert_eq!(save(store, &fence, &alice, 1, 1).await, Ok(()));
    for _ in 0..2 {
        let erased = store.erase(shard("alice@a"), &fence, alice.impi()).wait().await;
        assert_eq!(erased, Ok(()), "what is gone can be erased again");
    }
    assert_eq!(load(store, "alice@a").await, None);
    assert!(holders(store, "sip:alice@a").await.is_empty());
    assert!(deadlines(store, "alice@a").await.is_empty());
    assert_eq!(save(store, &fence, &alice, 1, 2).await, Ok(()), "and begins anew at version 1");
}

async fn keeps_the_directory_with_the_records(store: &impl Store) {
    for name in ["b@a", "a@a"] {
        let fence = owned(store, name).await;
        let user = user(name, &[&format!("sip:{name}"), "sip:shared@a"], 5_000);
        assert_eq!(save(store, &fence, &user, 1, 1).await, Ok(()));
    }
    assert_eq!(holders(store, "sip:shared@a").await, ["a@a", "b@a"], "an identity may have several holders");
    assert_eq!(holders(store, "sip:a@a").await, ["a@a"]);
    assert!(holders(store, "sip:nobody@a").await.is_empty());
    let fence = owned(store, "a@a").await;
    assert_eq!(save(store, &fence, &user("a@a", &["sip:new@a"], 5_000), 2, 2).await, Ok(()));
    assert_eq!(holders(store, "sip:shared@a").await, ["b@a"]);
    assert!(holders(store, "sip:a@a").await.is_empty());
    assert_eq!(holders(store, "sip:new@a").await, ["a@a"]);
    assert_eq!(save(store, &fence, &user("a@a", &[], 0), 3, 3).await, Ok(()));
    assert!(holders(store, "sip:new@a").await.is_empty());
}

async fn keeps_deadlines_by_shard(store: &impl Store) {
    let fence = owned(store, "alice@a").await;
    assert_eq!(save(store, &fence, &user("alice@a", &["sip:alice@a"], 5_000), 1, 1).await, Ok(()));
    let expected = user("alice@a", &["sip:alice@a"], 5_000).next_deadline().into_iter().collect::<Vec<_>>();
    assert!(!expected.is_empty(), "a binding has an end");
    assert_eq!(deadlines(store, "alice@a").await, expected);
    assert_eq!(save(store, &fence, &user("alice@a", &["sip:alice@a"], 8_000), 2, 2).await, Ok(()));
    let moved = deadlines(store, "alice@a").await;
    assert_eq!(moved.len(), 1, "one deadline a user");
    assert!(moved > expected);
    assert_eq!(save(store, &fence, &user("alice@a", &[], 0), 3, 3).await, Ok(()));
    assert_eq!(deadlines(store, "alice@a").await, [], "who does nothing by itself has none");
    let other = ShardId::all().find(|other| *other != shard("alice@a")).expect("there are more");
    assert_eq!(store.deadlines(other).wait().await, Ok(Vec::new()));
}

async fn lists_every_user_once(store: &impl Store) {
    let names: Vec<String> = (0..25).map(|number| format!("user{number:02}@a")).collect();
    for name in &names {
        let fence = owned(store, name).await;
        let user = user(name, &[&format!("sip:{name}")], 5_000);
        assert_eq!(save(store, &fence, &user, 1, 1).await, Ok(()));
    }
    for limit in [1, 7, 25, 100] {
        let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = store.list(&Filter::default(), after.as_ref(), limit).wait().await.expect("a page");
            assert!(page.users.len() <= limit);
            seen.extend(page.users.iter().map(|user| (user.shard, user.impi.to_string())));
            pages += 1;
            assert!(pages <= 25, "the list ends");
            let Some(next) = page.next else { break };
            after = Some(next);
        }
        assert!(seen.is_sorted(), "in the order of shard and identity");
        let mut found: Vec<&str> = seen.iter().map(|(_, name)| &**name).collect();
        found.sort_unstable();
        assert_eq!(found, names, "each user once with pages of {limit}");
    }
}

async fn filters_lists(store: &impl Store) {
    for (name, impus) in [("alice@a", &["sip:alice@a"][..]), ("bob@a", &["sip:bob@a"]), ("carol@a", &[])] {
        let fence = owned(store, name).await;
        assert_eq!(save(store, &fence, &user(name, impus, 5_000), 1, 1).await, Ok(()));
    }
    let names = async |state, text: Option<&str>| {
        let filter = Filter { state, text: text.map(Into::into) };
        let page = store.list(&filter, None, 10).wait().await.expect("a page");
        let mut names: Vec<String> = page.users.iter().map(|user| user.impi.to_string()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(Some(RegistrationState::Registered), None).await, ["alice@a", "bob@a"]);
    assert_eq!(names(Some(RegistrationState::NotRegistered), None).await, ["carol@a"]);
    assert_eq!(names(None, Some("bo")).await, ["bob@a"]);
    assert_eq!(names(Some(RegistrationState::NotRegistered), Some("bo")).await, Vec::<String>::new());
}

async fn goes_on_where_a_list_ended(store: &impl Store) {
    for name in ["a@a", "b@a", "c@a", "d@a"] {
        let fence = owned(store, name).await;
        assert_eq!(save(store, &fence, &user(name, &[], 0), 1, 1).await, Ok(()));
    }
    let all = store.list(&Filter::default(), None, 10).wait().await.expect("a page").users;
    let fence = owned(store, all[1].impi.as_str()).await;
    store.erase(all[1].shard, &fence, &all[1].impi).wait().await.expect("it can be erased");
    let rest = store.list(&Filter::default(), Some(&all[1].impi), 10).wait().await.expect("a page");
    assert_eq!(rest.users, all[2..], "a list goes on after a user who is gone meanwhile");
    assert_eq!(rest.next, None);
}

async fn does_not_bring_an_erased_user_back(store: &impl Store) {
    let alice = user("alice@a", &["sip:alice@a"], 5_000);
    let fence = owned(store, "alice@a").await;
    assert_eq!(save(store, &fence, &alice, 1, 1).await, Ok(()));
    let heir = taken(store, shard("alice@a"), &member("n2", 1), Some(fence.clone())).await;
    assert_eq!(store.erase(shard("alice@a"), &heir, alice.impi()).wait().await, Ok(()));
    assert_eq!(
        save(store, &fence, &alice, 2, 2).await,
        Err(Error::Fenced),
        "the former owner comes too late"
    );
    assert_eq!(load(store, "alice@a").await, None);
    assert!(holders(store, "sip:alice@a").await.is_empty());
    assert!(deadlines(store, "alice@a").await.is_empty());
    assert_eq!(store.list(&Filter::default(), None, 10).wait().await.expect("a page").users, []);
}

async fn holders(store: &impl Store, impu: &str) -> Vec<String> {
    let impu = Impu::parse(impu).expect("a public identity");
    let holders = store.holders(&impu).wait().await.expect("the directory can be read");
    holders.iter().map(ToString::to_string).collect()
}

async fn deadlines(store: &impl Store, name: &str) -> Vec<Timestamp> {
    let deadlines = store.deadlines(shard(name)).wait().await.expect("deadlines can be read");
    deadlines.into_iter().filter(|(_, whose)| whose.as_str() == name).map(|(at, _)| at).collect()
}
