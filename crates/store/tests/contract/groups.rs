//! Several groups of Redis: the directory entries of a user are in other groups than its record.

use crate::recovery::library;
use crate::server::Server;
use scscf::{Impi, Impu};
use store::{Claim, Durability, Fence, Member, Redis, RedisSettings, ShardId, Store, Write, contract};

/// Two groups, and a store that owns every shard of them.
struct Two {
    groups: [Server; 2],
    store: Redis,
    fences: Vec<Fence>,
}

impl Two {
    async fn start() -> Option<Self> {
        let groups = [Server::start(&[])?, Server::start(&[]).unwrap()];
        let (store, fences) = Self::owner(&groups, "n1", &[]).await;
        Some(Self { groups, store, fences })
    }

    /// A store of a node that takes every shard from those who are `gone`.
    async fn owner(groups: &[Server; 2], node: &str, gone: &[Fence]) -> (Redis, Vec<Fence>) {
        let urls = groups.iter().map(Server::url).collect();
        let store = Redis::open(&RedisSettings { urls, durability: Durability::Async }).await.unwrap();
        let me = Member {
            node: node.into(),
            incarnation: 1,
            link: "".into(),
            sip: "".into(),
            draining: false,
            users: 0,
        };
        let mut fences = std::collections::BTreeMap::new();
        for group in 0..2 {
            store.leases().beat(group, &me, 60_000, None).wait().await.unwrap();
            let shards = ShardId::all().filter(|shard| store.leases().group_of(*shard) == group);
            let gone = |shard: ShardId| gone.get(usize::from(shard.number())).cloned();
            let claims: Vec<_> =
                shards.map(|shard| Claim { gone: gone(shard), ..Claim::new(shard) }).collect();
            let taken = store.leases().take(group, &me, &claims).wait().await.unwrap();
            fences.extend(claims.iter().zip(taken).map(|(claim, taken)| (claim.shard, taken.unwrap())));
        }
        (store, fences.into_values().collect())
    }

    /// Saves a user under one identity.
    async fn save(&self, name: &str, impu: &str, version: u64) {
        let shard = ShardId::of(name);
        let user = contract::user(name, &[impu], 5_000);
        let write = Write { user: &user, version, write_id: version };
        let fence = &self.fences[usize::from(shard.number())];
        self.store.save(shard, fence, write).wait().await.unwrap();
    }

    async fn erase(&self, name: &str) {
        let (shard, impi) = (ShardId::of(name), Impi::new(name).unwrap());
        let fence = &self.fences[usize::from(shard.number())];
        self.store.erase(shard, fence, &impi).wait().await.unwrap();
    }

    async fn holders(&self, impu: &str) -> usize {
        self.store.holders(&Impu::parse(impu).unwrap()).wait().await.unwrap().len()
    }
}

/// Users of the first group with an identity whose entry is in the second.
fn astride() -> impl Iterator<Item = (String, String)> {
    let names = (0..).map(|number| (format!("user{number}@a"), format!("sip:user{number}@a")));
    names.filter(|(name, impu)| {
        let in_first = |text: &str| ShardId::of(text).number().is_multiple_of(2);
        in_first(name) && !in_first(impu)
    })
}

#[tokio::test]
async fn entries_of_users_of_other_groups_are_restored_as_well() {
    let Some(two) = Two::start().await else { return };
    let (name, impu) = astride().next().unwrap();
    two.save(&name, &impu, 1).await;
    assert_eq!(two.holders(&impu).await, 1);
    two.groups[1].ask(&["FLUSHALL"]).await;
    assert_eq!(two.holders(&impu).await, 0);
    two.store.leases().restore(1, &[]).wait().await.unwrap();
    assert_eq!(two.holders(&impu).await, 1);
}

#[tokio::test]
async fn others_write_while_many_entries_are_restored() {
    let Some(two) = Two::start().await else { return };
    let users: Vec<_> = astride().take(1_500).collect();
    for (name, impu) in &users {
        two.save(name, impu, 1).await;
    }
    let keys: Vec<String> =
        users.iter().map(|(_, impu)| format!("{{{}}}:i:{impu}", ShardId::of(impu))).collect();
    for key in &keys {
        two.groups[1].ask(&["DEL", key]).await;
    }
    let other = (0..).map(|number| format!("other{number}@a"));
    let other = other.into_iter().find(|name| !ShardId::of(name).number().is_multiple_of(2)).unwrap();
    let restored = std::cell::Cell::new(false);
    let restore = async {
        two.store.leases().restore(1, &[]).wait().await.unwrap();
        restored.set(true);
    };
    let mut meanwhile = 0;
    let write = async {
        while !restored.get() {
            meanwhile += 1;
            two.save(&other, "sip:other@a", meanwhile).await;
        }
    };
    tokio::join!(restore, write);
    assert!(meanwhile > 5, "{meanwhile} writes");
    for (_, impu) in [&users[0], &users[1_499]] {
        assert_eq!(two.holders(impu).await, 1);
    }
}

/// An owner erases a user and sleeps before the entry in the other group is quit. The next owner saves the user anew: what wakes then
/// quits nothing.
#[tokio::test]
async fn an_entry_is_not_quit_by_a_former_owner() {
    let Some(mut two) = Two::start().await else { return };
    let (name, impu) = astride().next().unwrap();
    let key = format!("{{{}}}:i:{impu}", ShardId::of(&impu));
    two.save(&name, &impu, 1).await;
    two.erase(&name).await;
    let late = async |two: &Two, epoch: &str| {
        let function = format!("{}_quit", library(&two.groups[1]).await);
        two.groups[1].ask(&["FCALL", &function, "1", &key, &name, epoch]).await;
    };
    let (heir, fences) = Two::owner(&two.groups, "n2", &two.fences).await;
    (two.store, two.fences) = (heir, fences);
    two.save(&name, &impu, 1).await;
    late(&two, "1").await;
    assert_eq!(two.holders(&impu).await, 1, "the entry is of the second owner");
    // Nor does an enter that comes late make it one of the first.
    let function = format!("{}_enter", library(&two.groups[1]).await);
    two.groups[1].ask(&["FCALL", &function, "1", &key, &name, "1"]).await;
    late(&two, "1").await;
    assert_eq!(two.holders(&impu).await, 1);
    two.erase(&name).await;
    let entry: Option<String> = two.groups[1].ask_for(&["GET", &key]).await;
    assert_eq!(entry, None, "who owns it quits it");
}

/// Several holders of one identity come and go without touching each other.
#[tokio::test]
async fn holders_of_other_groups_share_an_entry() {
    let Some(two) = Two::start().await else { return };
    let names: Vec<String> = astride().map(|(name, _)| name).take(3).collect();
    let (_, impu) = astride().next().unwrap();
    for name in &names {
        two.save(name, &impu, 1).await;
    }
    assert_eq!(two.holders(&impu).await, 3);
    two.erase(&names[1]).await;
    assert_eq!(two.holders(&impu).await, 2);
    two.save(&names[1], &impu, 1).await;
    two.save(&names[0], "sip:moved@a", 2).await;
    assert_eq!(two.holders(&impu).await, 2);
}
