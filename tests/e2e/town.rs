//! What tests of the cluster begin with: a Redis, nodes around it, people who enter the network anywhere, and calls.

use e2e::phone::{Dialog, Sent, Text};
use e2e::{Answer, Cluster, DOMAIN, Leg, Phone, Redis, Settings, eventually, have, http, shard_of};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What takes no time takes less than this.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// A UE that is told to come again later does so, whenever that is.
const PATIENT: Duration = Duration::from_secs(30);
/// Any user is answered again within so long of the death of its node; the test machine is given its due.
pub(crate) const TAKEOVER: Duration = Duration::from_secs(2);
pub(crate) const SLACK: Duration = Duration::from_secs(3);

/// A cluster and what it stands on, which ends after it.
pub(crate) struct Town {
    pub(crate) cluster: Cluster,
    pub(crate) redis: Redis,
}

/// A cluster of so many nodes, if the machine has what it needs.
pub(crate) fn town(nodes: u8) -> Option<Town> {
    town_with(nodes, |_| ())
}

/// A cluster that was told more.
pub(crate) fn town_with(nodes: u8, change: impl FnOnce(&mut Settings)) -> Option<Town> {
    if !have("redis-server") {
        return None;
    }
    let redis = Redis::start();
    let mut settings = Settings { nodes, ..Settings::around(&redis.url()) };
    change(&mut settings);
    Some(Town { cluster: Cluster::start(settings), redis })
}

/// A user who is registered, with a telephone.
pub(crate) struct Resident {
    pub(crate) phone: Phone,
    /// The challenge answered last.
    pub(crate) former: Text,
    /// The Service-Route.
    pub(crate) route: String,
}

impl Town {
    /// Registers a user, each request at another node.
    pub(crate) fn moves_in(&self, name: &str) -> Resident {
        Resident::at(Phone::among(name, &self.cluster.entries()))
    }

    /// A generated subscriber whose node is this one; each `number` another.
    pub(crate) fn somebody_at(&self, node: &str, number: usize) -> String {
        let users = self.cluster.users_of(node);
        users.get(number).cloned().unwrap_or_else(|| panic!("no user {number} at {node}: {users:?}"))
    }

    /// A registered user of a node.
    pub(crate) fn resident_of(&self, node: &str, number: usize) -> Resident {
        self.moves_in(&self.somebody_at(node, number))
    }

    /// All registered users as a node lists them.
    pub(crate) fn registered(&self, node: &str) -> Vec<Value> {
        let (mut users, mut cursor) = (Vec::new(), String::new());
        loop {
            let url = format!("{}/v1/users?state=registered&limit=1000{cursor}", self.cluster.node(node).api);
            let Ok((200, page)) = http::get(&url) else { return users };
            users.extend(page["users"].as_array().cloned().unwrap_or_default());
            match page["next"].as_str() {
                Some(next) if users.len() < 100_000 => cursor = format!("&cursor={next}"),
                _ => return users,
            }
        }
    }

    /// All shards belong to the living nodes, evenly within 10 %, and users are where their shards are; how many each node has.
    pub(crate) fn is_spread(&self) -> BTreeMap<String, usize> {
        let living = self.cluster.living();
        let owners = self.cluster.node(&living[0]).owners();
        let share = owners.len() / living.len();
        for node in &living {
            let count = owners.iter().filter(|owner| *owner == node).count();
            assert!(count.abs_diff(share) <= share / 10, "{node}: {count} of {}", self.cluster.state());
        }
        let mut astray = String::new();
        // Whoever is busy is on loan for a moment.
        let homes = eventually(SOON, || {
            let mut homes: BTreeMap<String, usize> = living.iter().map(|node| (node.clone(), 0)).collect();
            for user in self.registered(&living[living.len() - 1]) {
                let (impi, node) = (user["impi"].as_str()?, user["node"].as_str()?);
                if owners[usize::from(shard_of(impi))] != node {
                    astray = user.to_string();
                    return None;
                }
                *homes.get_mut(node)? += 1;
            }
            Some(homes)
        });
        homes.unwrap_or_else(|| panic!("not where its shard is: {astray}"))
    }

    /// Waits until what the cluster says of a user is what is wanted.
    pub(crate) fn comes_to(
        &self,
        name: &str,
        what: &str,
        within: Duration,
        wanted: impl Fn(u16, &serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let found = eventually(within, || {
            let (status, view) = self.cluster.user(name);
            wanted(status, &view).then_some(view)
        });
        found.unwrap_or_else(|| {
            panic!("{name} is not {what}: {:?}{}", self.cluster.user(name), self.cluster.state())
        })
    }

    /// Waits until a user is not registered any more, neither here nor at the HSS.
    pub(crate) fn forgets(&self, name: &str, within: Duration) {
        self.comes_to(name, "forgotten", within, |status, view| {
            status == 404 || view["state"] == "not_registered"
        });
        let told = eventually(within, || {
            (self.cluster.hss.subscriber(name)["registration_state"] == "not_registered").then_some(())
        });
        assert!(told.is_some(), "{}", self.cluster.hss.subscriber(name));
    }
}

impl Resident {
    pub(crate) fn at(mut phone: Phone) -> Self {
        let (former, ok) = phone.register_fully();
        let route = ok.header("Service-Route").to_owned();
        Self { phone, former, route }
    }

    pub(crate) fn name(&self) -> String {
        self.phone.name.clone()
    }

    /// Registers again without being challenged, as patiently as a UE; the answer.
    pub(crate) fn reregisters(&mut self) -> Text {
        let former = self.former.clone();
        let (answer, _) = self.phone.insist(PATIENT, |phone| phone.register_protected(&former, 3600));
        answer
    }

    /// Subscribes to its own registration state, and takes the first NOTIFY.
    pub(crate) fn subscribes(&mut self, event: &str) -> Dialog {
        let (name, port) = (self.name(), self.phone.port());
        let route = format!("Record-Route: <sip:edge@127.0.0.1:{port};lr>\r\n");
        let dialog = self.phone.subscribe(&name, &format!("sip:{name}@{DOMAIN}"), event, &route);
        let first = self.phone.notified(&dialog, SOON, 200).expect("the first NOTIFY");
        assert!(first.header("Subscription-State").starts_with("active"), "{}", first.all);
        dialog
    }

    /// Its P-CSCF, which subscribes too.
    pub(crate) fn watched_by(&self, mut pcscf: Phone, event: &str) -> (Phone, Dialog) {
        let asserted = format!("sip:term@127.0.0.1:{}", self.phone.port());
        let dialog = pcscf.subscribe(&self.name(), &asserted, event, "");
        pcscf.notified(&dialog, SOON, 200).expect("the first NOTIFY of the P-CSCF");
        (pcscf, dialog)
    }

    /// Answers a challenge that the network asked for; the response.
    pub(crate) fn proves_itself(&mut self) -> Text {
        let former = self.former.clone();
        let (challenge, _) = self.phone.insist(PATIENT, |phone| phone.register_protected(&former, 3600));
        assert_eq!(challenge.status(), 401, "{}", challenge.all);
        let answer = self.phone.answer(&challenge, Answer::Right, "yes");
        self.former = challenge;
        answer
    }
}

/// Has `caller` call `callee`, who lets it ring; the INVITE as sent and as received.
pub(crate) fn rings(caller: &mut Resident, callee: &mut Resident) -> (Sent, Text) {
    let (name, route) = (callee.name(), caller.route.clone());
    let sent = caller.phone.invite(&name, &route);
    let invite = callee.phone.asked("INVITE");
    callee.phone.reply(&invite, 180, "");
    let ringing = caller
        .phone
        .wait(SOON, |text| text.status() == 180 && text.header("Call-ID") == sent.call_id)
        .expect("it rings at the caller's");
    assert!(ringing.header("CSeq").ends_with("INVITE"));
    (sent, invite)
}

/// A call that stands; the caller's side and the callee's.
pub(crate) fn talk(caller: &mut Resident, callee: &mut Resident) -> (Leg, Leg) {
    let (sent, invite) = rings(caller, callee);
    let theirs = callee.phone.pick_up(&invite);
    let ok = caller.phone.outcome(&sent);
    assert_eq!(ok.status(), 200, "{}", ok.all);
    let ours = caller.phone.acknowledge(&ok);
    let ack = callee.phone.asked("ACK");
    assert_eq!(ack.header("Call-ID"), ours.call_id);
    (ours, theirs)
}

/// One side hangs up, and the other hears of it; as patiently as the network asks for. How often it was put off.
pub(crate) fn hangs_up(one: &mut Resident, leg: &mut Leg, other: &mut Resident) -> u32 {
    let mut put_off = 0;
    let end = Instant::now() + PATIENT;
    let mut heard = false;
    loop {
        let bye = one.phone.within(leg, "BYE", "");
        let call_id = leg.call_id.clone();
        let is_ours = |text: &Text| text.method() == "BYE" && text.header("Call-ID") == call_id;
        let begun = Instant::now();
        let refused = loop {
            if let Some(came) = other.phone.wait(Duration::from_millis(250), is_ours) {
                other.phone.respond(&came, 200);
                heard = true;
                break None;
            }
            if let Some(refusal) = one.phone.wait(Duration::from_millis(250), |text| bye.is_answered_by(text))
            {
                break Some(refusal);
            }
            assert!(begun.elapsed() < SOON, "the BYE does not come");
            one.phone.turn();
            one.phone.send(&bye);
        };
        let answer = refused.or_else(|| one.phone.persist(&bye, SOON)).expect("an answer to BYE");
        let after = answer.header("Retry-After").parse().ok().filter(|_| answer.status() != 200);
        let Some(after) = after.map(Duration::from_secs) else {
            // RFC 3261 §15.1.1: to whoever was put off after the other side had heard of it, the call is over as well.
            assert!(answer.status() == 200 || heard && answer.status() == 481, "{}", answer.all);
            assert!(heard, "the other side does not hear of it");
            return put_off;
        };
        put_off += 1;
        assert!(Instant::now() + after < end, "{}", answer.all);
        std::thread::sleep(after);
    }
}

/// Takes the BYE that the network sends in a call, and answers it.
pub(crate) fn is_released(who: &mut Resident, call_id: &str, within: Duration) {
    let bye = who.phone.wait(within, |text| text.method() == "BYE" && text.header("Call-ID") == call_id);
    let bye = bye.unwrap_or_else(|| panic!("{}: no BYE of the network's", who.name()));
    who.phone.respond(&bye, 200);
}
