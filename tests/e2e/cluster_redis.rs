//! The store fails: what is in memory goes on, what must be saved is put off, and nothing that was promised is lost.

use crate::town::{Resident, SOON, hangs_up, talk, town, town_with};
use e2e::{Cluster, Cut, Phone, Redis, Sentinels, Settings, eventually, have};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    Killed,
    Frozen,
}

#[test]
fn while_redis_is_away_calls_go_on_and_registrations_are_put_off() {
    for outage in [Outage::Killed, Outage::Frozen] {
        let Some(mut town) = town(3) else { return };
        let (mut caller, mut callee) = (town.resident_of("n1", 0), town.resident_of("n2", 0));
        let mut idle = town.resident_of("n3", 0);
        let (mut ours, _) = talk(&mut caller, &mut callee);
        match outage {
            Outage::Killed => town.redis.kill(),
            Outage::Frozen => town.redis.freeze(),
        }
        // No lease is renewed by now.
        std::thread::sleep(Duration::from_secs(3));
        let mut stranger = Phone::among(&town.somebody_at_any(7), &town.cluster.entries());
        let lines = stranger.unprotected();
        let sent = stranger.begin_to_register(&lines);
        let begun = Instant::now();
        let answer = stranger.exchange_within(&sent, SOON).expect("an answer, if a bad one");
        assert_eq!(answer.status(), 503, "{outage:?}: {}", answer.all);
        let after: u64 = answer.header("Retry-After").parse().unwrap_or_else(|_| panic!("{}", answer.all));
        assert!((1..=60).contains(&after), "{outage:?}: {after}");
        assert!(begun.elapsed() < Duration::from_secs(6), "{outage:?}: {:?}", begun.elapsed());
        // A request within a call needs nothing saved.
        let info = caller.phone.within(&mut ours, "INFO", "");
        let came = callee.phone.asked("INFO");
        callee.phone.respond(&came, 200);
        let answer = caller.phone.persist(&info, SOON).expect("an answer to INFO");
        assert_eq!(answer.status(), 200, "{outage:?}: {}", answer.all);

        match outage {
            Outage::Killed => town.redis.start_again(),
            Outage::Frozen => town.redis.thaw(),
        }
        town.cluster.settles(Duration::from_secs(20));
        assert_eq!(idle.reregisters().status(), 200, "{outage:?}");
        hangs_up(&mut caller, &mut ours, &mut callee);
        let (challenge, _) = stranger.insist(Duration::from_secs(15), Phone::register_unprotected);
        assert_eq!(challenge.status(), 401, "{outage:?}: {}", challenge.all);
    }
}

#[test]
fn a_short_silence_of_redis_costs_nothing() {
    let Some(town) = town(2) else { return };
    let mut resident = town.resident_of("n1", 0);
    for _ in 0..3 {
        town.redis.freeze();
        std::thread::sleep(Duration::from_millis(400));
        town.redis.thaw();
        assert_eq!(resident.reregisters().status(), 200);
    }
    town.cluster.settles(SOON);
    assert_eq!(town.cluster.user(&resident.name()).1["state"], "registered");
}

#[test]
fn a_node_that_is_cut_off_from_redis_is_replaced_and_speaks_no_more() {
    for how in [Cut::Silent, Cut::Reset] {
        let Some(town) = town_with(3, |settings| settings.wires = true) else { return };
        let mut resident = town.resident_of("n2", 0);
        let pcscf = Phone::among(&resident.name(), &town.cluster.entries_but("n2"));
        let (mut pcscf, dialog) = resident.watched_by(pcscf, "reg");
        town.cluster.node("n2").cut_from_store(how);
        let taken = eventually(Duration::from_secs(10), || {
            let owners = town.cluster.node("n1").owners();
            owners.iter().all(|owner| owner == "n1" || owner == "n3").then_some(())
        });
        assert!(taken.is_some(), "{how:?}: {}", town.cluster.state());
        resident.phone.enters_among(&town.cluster.entries_but("n2"));
        assert_eq!(resident.reregisters().status(), 200, "{how:?}");
        // At the node that is cut off nobody is left without an answer.
        resident.phone.enters_at(town.cluster.node("n2").sip);
        let former = resident.former.clone();
        let answer = resident.phone.register_protected(&former, 3600);
        let is_put_off = answer.status() == 503 && !answer.header("Retry-After").is_empty();
        assert!(answer.status() == 200 || is_put_off, "{how:?}: {}", answer.all);
        // Copies of a NOTIFY are copies: no two nodes say different things under one number.
        let mut said = std::collections::BTreeMap::new();
        while let Some(notify) = pcscf.notified(&dialog, Duration::from_millis(500), 200) {
            let (number, via) = (notify.header("CSeq").to_owned(), notify.header("Via").to_owned());
            let former = said.entry(number).or_insert_with(|| via.clone());
            assert_eq!(*former, via, "{how:?}: nobody but the owner notifies");
        }
        assert!(!said.is_empty(), "{how:?}: the subscription stands");
        town.cluster.node("n2").mend();
        town.cluster.balances(Duration::from_secs(20));
        assert_eq!(resident.reregisters().status(), 200, "{how:?}");
    }
}

#[test]
fn nodes_that_are_cut_off_from_each_other_but_not_from_redis() {
    let Some(town) = town_with(3, |settings| settings.wires = true) else { return };
    let mut resident = town.resident_of("n2", 0);
    let (cut, others) = (town.cluster.node("n2"), ["n1", "n3"].map(|id| town.cluster.node(id)));
    cut.cut_links(&others, Cut::Silent);
    // Its lease stands: it keeps what it has, and its own users reach it directly.
    resident.phone.enters_at(cut.sip);
    for _ in 0..3 {
        assert_eq!(resident.reregisters().status(), 200);
        std::thread::sleep(Duration::from_millis(500));
    }
    // Through the others nobody gets nothing: an answer, or to be asked again later.
    resident.phone.enters_at(others[0].sip);
    let former = resident.former.clone();
    let line =
        resident.phone.contact_line(3600) + &resident.phone.authorization(&former, e2e::Answer::Right, "yes");
    let sent = resident.phone.begin_to_register(&line);
    let answer = resident.phone.exchange_within(&sent, Duration::from_secs(15)).expect("an answer");
    assert!(matches!(answer.status(), 200 | 503 | 504), "{}", answer.all);
    cut.mend();
    others.iter().for_each(|other| other.mend());
    town.cluster.settles(Duration::from_secs(20));
    assert_eq!(resident.reregisters().status(), 200);
}

#[test]
fn a_replica_takes_over_with_what_was_promised() {
    if !have("redis-server") || !have("redis-sentinel") {
        return;
    }
    for durability in ["async", "wait1"] {
        let mut primary = Redis::start();
        // One that is promoted, and one more that can be waited for then.
        let replicas = [primary.replica(), primary.replica()];
        let sentinels = Sentinels::watch(&primary, replicas.len(), Duration::from_millis(800));
        let keys = vec![("store", format!("durability = \"{durability}\""))];
        let cluster = Cluster::start(Settings { keys, ..Settings::around(&sentinels.url()) });
        let mut residents: Vec<Resident> = ["n1", "n2", "n3"]
            .iter()
            .flat_map(|node| cluster.users_of(node).into_iter().take(3))
            .map(|name| Resident::at(Phone::among(&name, &cluster.entries())))
            .collect();
        primary.kill();
        let moved = eventually(Duration::from_secs(20), || {
            let now = sentinels.primary()?;
            replicas.iter().any(|replica| replica.address == now).then_some(())
        });
        assert!(moved.is_some(), "the Sentinels do not agree");
        cluster.settles(Duration::from_secs(20));
        for resident in &mut residents {
            let name = resident.name();
            assert_eq!(cluster.user(&name).1["state"], "registered", "{durability}: {name}");
            assert_eq!(resident.reregisters().status(), 200, "{durability}: {name}");
        }
    }
}

#[test]
fn of_two_redis_one_goes_and_takes_only_its_users_along() {
    if !have("redis-server") {
        return;
    }
    let (one, mut two) = (Redis::start(), Redis::start());
    let store = vec![one.url(), two.url()];
    let cluster = Cluster::start(Settings { store, ..Settings::around(&one.url()) });
    let names: Vec<String> = (1..=24).map(|number| format!("user{number:06}")).collect();
    let mut residents: Vec<Resident> =
        names.iter().map(|name| Resident::at(Phone::among(name, &cluster.entries()))).collect();
    two.kill();
    std::thread::sleep(Duration::from_secs(3));
    let answers: Vec<u16> = residents
        .iter_mut()
        .map(|resident| {
            let former = resident.former.clone();
            resident.phone.register_protected(&former, 3600).status()
        })
        .collect();
    let (good, put_off) = (answers.iter().filter(|status| **status == 200).count(), answers.len());
    assert!(answers.iter().all(|status| matches!(status, 200 | 503)), "{answers:?}");
    assert!(good >= 4 && good <= put_off - 4, "each Redis has its users: {answers:?}");
    two.start_again();
    cluster.settles(Duration::from_secs(20));
    for resident in &mut residents {
        assert_eq!(resident.reregisters().status(), 200, "{}", resident.name());
    }
}

#[test]
fn whoever_empties_redis_loses_no_user_that_lives() {
    let Some(town) = town(3) else { return };
    let mut resident = town.resident_of("n1", 0);
    town.redis.flush();
    town.cluster.settles(Duration::from_secs(20));
    assert_eq!(resident.reregisters().status(), 200);
    let mut newcomer = town.resident_of("n2", 1);
    assert_eq!(newcomer.reregisters().status(), 200);
}

impl crate::town::Town {
    fn somebody_at_any(&self, number: usize) -> String {
        format!("user{:06}", 90 + number)
    }
}
