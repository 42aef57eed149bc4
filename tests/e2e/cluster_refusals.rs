//! Redis answers, and refuses: everybody is told to come again, nobody is challenged in vain, and all is well by itself when
//! the cause is gone.

use crate::town::{SOON, Town};
use e2e::{Answer, Cluster, Phone, Process, Redis, Settings, Text, eventually, free_port, have, http};
use std::time::{Duration, Instant};

/// By which nodes are known to Redis.
const NODE: &str = "node";
/// Longer than a lease.
const LEASE: Duration = Duration::from_millis(2200);

/// Why it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Disk,
    Memory,
    FewReplicas,
    Replica,
    Password,
}

impl Cause {
    const ALL: [Self; 5] = [Self::Disk, Self::Memory, Self::FewReplicas, Self::Replica, Self::Password];

    fn strike(self, redis: &Redis) {
        match self {
            Self::Disk => redis.break_disk(),
            Self::Memory => redis.tell(&["CONFIG", "SET", "maxmemory", "1"]),
            Self::FewReplicas => redis.tell(&["CONFIG", "SET", "min-replicas-to-write", "1"]),
            Self::Replica => redis.tell(&["REPLICAOF", "127.0.0.1", "1"]),
            Self::Password => {
                redis.tell(&["ACL", "SETUSER", NODE, "resetpass", ">another"]);
                redis.tell(&["CLIENT", "KILL", "USER", NODE]);
            }
        }
    }

    fn mend(self, redis: &Redis) {
        match self {
            Self::Disk => redis.mend_disk(),
            Self::Memory => redis.tell(&["CONFIG", "SET", "maxmemory", "0"]),
            Self::FewReplicas => redis.tell(&["CONFIG", "SET", "min-replicas-to-write", "0"]),
            Self::Replica => redis.tell(&["REPLICAOF", "NO", "ONE"]),
            Self::Password => redis.tell(&["ACL", "SETUSER", NODE, "resetpass", ">secret"]),
        }
    }

    /// As `/readyz` tells it, and docs/operations.md.
    fn words(self) -> &'static str {
        match self {
            Self::Disk => "Redis cannot write its disk",
            Self::Memory => "the memory that Redis may use is full",
            Self::FewReplicas => "Redis has too few replicas",
            Self::Replica => "it is a replica",
            Self::Password => "wrong user or password",
        }
    }
}

/// Two nodes that give Redis a name and a password.
fn town() -> Option<Town> {
    if !have("redis-server") {
        return None;
    }
    let redis = Redis::start();
    redis.tell(&["ACL", "SETUSER", NODE, "on", ">secret", "~*", "&*", "+@all"]);
    let url = format!("redis://{NODE}:secret@{}/0", redis.address);
    Some(Town { cluster: Cluster::start(Settings { nodes: 2, ..Settings::around(&url) }), redis })
}

/// That is 503 with a time to come again, soon.
fn is_put_off(answer: Option<Text>, begun: Instant, what: &str) {
    let answer = answer.unwrap_or_else(|| panic!("{what}: no answer"));
    assert_eq!(answer.status(), 503, "{what}: {}", answer.all);
    let after: u64 =
        answer.header("Retry-After").parse().unwrap_or_else(|_| panic!("{what}: {}", answer.all));
    assert!((1..=60).contains(&after), "{what}: {after}");
    assert!(begun.elapsed() < Duration::from_secs(6), "{what}: {:?}", begun.elapsed());
}

#[test]
fn whatever_redis_refuses_is_put_off_and_goes_on_by_itself() {
    let Some(town) = town() else { return };
    let mut resident = town.resident_of("n1", 0);
    let dialog = resident.subscribes("reg");
    for (number, cause) in Cause::ALL.into_iter().enumerate() {
        let mut newcomer = Phone::among(&town.somebody_at("n2", number), &town.cluster.entries());
        let mut stranger = Phone::among(&town.somebody_at("n1", 1 + number), &town.cluster.entries());
        let challenge = newcomer.register_unprotected();
        assert_eq!(challenge.status(), 401, "{cause:?}: {}", challenge.all);
        let former = resident.former.clone();
        let lines = [
            resident.phone.contact_line(3600) + &resident.phone.authorization(&former, Answer::Right, "yes"),
            newcomer.contact_line(3600) + &newcomer.authorization(&challenge, Answer::Right, "yes"),
            stranger.unprotected(),
        ];
        cause.strike(&town.redis);
        // At once; and, for one of them, when no lease stands any more.
        for turn in 0..if cause == Cause::Disk { 2 } else { 1 } {
            std::thread::sleep(turn * LEASE);
            for (phone, lines) in [&mut resident.phone, &mut newcomer, &mut stranger].into_iter().zip(&lines)
            {
                let sent = phone.begin_to_register(lines);
                let begun = Instant::now();
                let answer = phone.exchange_within(&sent, SOON);
                is_put_off(answer, begun, &format!("{cause:?}, turn {turn}, {}", phone.name));
            }
            let said = eventually(SOON, || {
                let all =
                    ["n1", "n2"].map(|node| http::get(&format!("{}/readyz", town.cluster.node(node).api)));
                let tells = |said: &anyhow::Result<(u16, serde_json::Value)>| {
                    said.as_ref().is_ok_and(|(status, body)| {
                        *status == 503 && body.to_string().contains(cause.words())
                    })
                };
                all.iter().all(tells).then_some(())
            });
            assert!(said.is_some(), "{cause:?}: {}", town.cluster.state());
        }
        cause.mend(&town.redis);
        town.cluster.balances(Duration::from_secs(20));
        assert_eq!(resident.reregisters().status(), 200, "{cause:?}");
        assert!(resident.phone.notified(&dialog, SOON, 200).is_some(), "{cause:?}: the subscription stands");
        // The challenge stands; whoever lost it is challenged once more, and then let in.
        let (mut answer, _) = newcomer.insist(SOON, |phone| phone.answer(&challenge, Answer::Right, "yes"));
        if answer.status() == 401 {
            answer = newcomer.answer(&answer, Answer::Right, "yes");
        }
        assert_eq!(answer.status(), 200, "{cause:?}: {}", answer.all);
        let (challenge, _) = stranger.insist(SOON, Phone::register_unprotected);
        assert_eq!(challenge.status(), 401, "{cause:?}: {}", challenge.all);
        let answer = stranger.answer(&challenge, Answer::Right, "yes");
        assert_eq!(answer.status(), 200, "{cause:?}: {}", answer.all);
    }
}

#[test]
fn a_node_with_a_wrong_password_says_so_and_does_not_start() {
    if !have("redis-server") {
        return;
    }
    let redis = Redis::start();
    redis.tell(&["CONFIG", "SET", "requirepass", "right-one"]);
    let port = [(); 3].map(|()| free_port());
    let url = format!("redis://:wrong-one@{}/0", redis.address);
    let file = std::env::temp_dir().join(format!("rollcall-refused-{}.toml", std::process::id()));
    std::fs::write(&file, "[node]\nid = \"n1\"\n").unwrap();
    let mut node = Process::start(
        &["node", "--config", &file.to_string_lossy()],
        &[
            ("ROLLCALL__SIP__LISTEN", &format!("udp:127.0.0.1:{}", port[0])),
            ("ROLLCALL__HTTP__LISTEN", &format!("127.0.0.1:{}", port[1])),
            ("ROLLCALL__CLUSTER__LISTEN", &format!("127.0.0.1:{}", port[2])),
            ("ROLLCALL__STORE__KIND", "redis"),
            ("ROLLCALL__STORE__URLS", &url),
        ],
    );
    let ended = node.ends(SOON);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ended, Some(1), "{:?}", node.output());
    let said = node.output().join("\n");
    assert!(said.contains(Cause::Password.words()) && !said.contains("wrong-one"), "{said}");
}
