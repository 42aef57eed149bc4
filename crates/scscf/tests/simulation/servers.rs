//! The application servers: whom the criteria name, and what each may and must be told.

use crate::world::{self, World, server_of};
use scscf::profile::{
    Condition, DefaultHandling, InitialFilterCriteria, PublicIdentity, ServicePointTrigger, Subscription,
};
use scscf::{AsId, Purpose, User};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A server by what it hears of; `as4` must take the registration.
const SERVERS: [(&str, &[u32]); 4] = [("as1", &[]), ("as2", &[0, 1]), ("as3", &[2]), ("as4", &[0, 1, 2])];

/// A profile with some of the servers, as the numbers fall.
pub(crate) fn profile(identities: Vec<PublicIdentity>, numbers: u64) -> Subscription {
    let mut profile = world::profile(identities);
    let criteria = &profile.profiles[0].criteria;
    let invite = criteria[0].clone();
    let named = SERVERS.iter().zip(0..).filter(|(_, bit)| numbers & (1 << bit) != 0);
    let hears = |((name, types), bit): (&(&str, &[u32]), u32)| {
        let mut criterion = InitialFilterCriteria { priority: 1 + bit, ..invite.clone() };
        let condition = Condition::Method("REGISTER".into());
        let spts = &mut criterion.trigger.as_mut().unwrap().spts;
        *spts =
            vec![ServicePointTrigger { condition, registration_types: types.to_vec(), ..spts[0].clone() }];
        let server = &mut criterion.application_server;
        server.server_name = format!("sip:{name}.home1.net").into();
        server.include_register_request = numbers & 16 != 0;
        server.include_register_response = numbers & 32 != 0;
        server.service_info = (numbers & 64 != 0).then(|| "x".into());
        if *name == "as4" {
            server.default_handling = DefaultHandling::SessionTerminated;
        }
        criterion
    };
    let criteria: Vec<_> = std::iter::once(invite.clone()).chain(named.map(hears)).collect();
    profile.profiles[0].criteria = criteria.into();
    profile
}

/// What the servers know, and what the user remembers of them.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    /// The interval told last, by Call-ID.
    told: BTreeMap<String, u32>,
    seen: BTreeSet<(String, u32)>,
    /// Call-IDs whose last REGISTER may come again.
    in_doubt: BTreeSet<String>,
    remembered: Vec<Remembered>,
    /// Another private identity has bound the identity too, and tells the servers itself.
    shared: bool,
    ended: usize,
}

#[derive(Clone, Debug)]
struct Remembered {
    call_id: String,
    name: String,
    shared: bool,
}

/// Groups and their servers in a record.
fn records(record: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let groups = record["registration"]["third_party"].as_array().into_iter().flatten();
    groups.flat_map(|group| {
        group["servers"].as_array().into_iter().flatten().map(move |server| (group, server))
    })
}

/// Whether the fate of a REGISTER is awaited.
pub(crate) fn awaits(user: &User, id: AsId) -> bool {
    records(&serde_json::to_value(user).unwrap())
        .any(|(_, server)| server["id"] == id.0 && !server["in_flight"].is_null())
}

impl Servers {
    /// Ends that servers were told.
    pub(crate) const fn ended(&self) -> usize {
        self.ended
    }

    /// Reads what has been sent since the last look; `takeover` excuses what is told again.
    pub(crate) fn listen(&mut self, world: &World, takeover: bool) {
        if takeover {
            self.in_doubt = self.told.keys().cloned().collect();
        }
        for sent in world.sent.iter().filter(|sent| matches!(sent.purpose, Purpose::ThirdPartyRegister(_))) {
            let call_id = sent.request.call_id().to_owned();
            if !self.seen.insert((call_id.clone(), sent.request.cseq().number)) {
                continue;
            }
            let expires = sent.request.expires().unwrap().unwrap();
            let name = server_of(&sent.request);
            let before = self.told.insert(call_id.clone(), expires);
            let again = self.in_doubt.remove(&call_id);
            assert!(name != "as3" || expires == 0, "it hears of ends only");
            assert!(name != "as2" || expires > 0, "it hears of no end");
            if expires == 0 {
                self.ended += 1;
                let known = before.is_some_and(|before| before > 0);
                assert!(known || again || name == "as3", "an end of nothing, told to {name}");
            } else {
                assert!(
                    !world.user.view().bindings.is_empty(),
                    "nobody is registered, and {name} is told so"
                );
            }
        }
        self.no_orphans(world);
    }

    fn no_orphans(&mut self, world: &World) {
        let view = world.user.view();
        let record = serde_json::to_value(&world.user).unwrap();
        assert!(records(&record).count() <= world.policy.registration.max_application_servers + 4);
        let mut remembered = Vec::new();
        for (group, server) in records(&record) {
            let bound = view.identities.iter().any(|identity| group["impu"] == *identity.impu)
                && !view.bindings.is_empty();
            assert!(bound || !server["in_flight"].is_null(), "an orphan: {server}");
            let kept = !group["messages"].is_null();
            let waits = |server: &Value| !server["in_flight"].is_null() || server["due"] == true;
            assert!(!kept || group["servers"].as_array().unwrap().iter().any(waits), "messages for nobody");
            let name = server["server"]["server_name"].as_str().unwrap();
            remembered.push(Remembered {
                call_id: format!("{:016x}@home1.net", server["id"].as_u64().unwrap()),
                name: name.trim_start_matches("sip:").split('.').next().unwrap().to_owned(),
                shared: group["shared"] == true,
            });
        }
        for gone in &self.remembered {
            if remembered.iter().any(|record| record.call_id == gone.call_id) {
                continue;
            }
            let told = self.told.get(&gone.call_id).copied();
            let asks = matches!(gone.name.as_str(), "as1" | "as4");
            assert!(
                !asks || told == Some(0) || self.shared || gone.shared,
                "{} was not told of the end: {told:?} {}",
                gone.name,
                gone.call_id
            );
        }
        self.remembered = remembered;
        self.shared =
            record["registration"]["siblings"].as_object().is_some_and(|siblings| !siblings.is_empty());
    }
}
