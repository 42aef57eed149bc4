//! What can happen, drawn at random.

use crate::assertions::{Heard, bounded};
use crate::reference::{Licence, Reference, bindings};
use crate::servers::{self, Servers};
use crate::world::{
    self, ALICE, BARRED, IMPI, Proof, TEL, Ue, Watcher, World, foreign_nonce, identity, policy,
};
use scscf::cx::{self, DeregistrationReason, Failure, ResultCode};
use scscf::policy::{OnWrongAnswer, UnprotectedAnswer};
use scscf::{Event, Impi, Impu, Purpose, Reply, SharedContact, Span};
use sip::{Contacts, Request, Status};

/// A generator of numbers that needs nothing but a seed (xorshift64*).
pub(crate) struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    fn below(&mut self, sides: u64) -> u64 {
        self.roll() % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len() as u64) as usize;
        from[at]
    }
}

/// A REGISTER that awaits its answer.
struct Waiting {
    tx: u64,
    ue: usize,
}

pub(crate) struct Simulation {
    pub(crate) world: World,
    pub(crate) story: Vec<String>,
    pub(crate) registered: usize,
    pub(crate) deregistered: usize,
    dice: Dice,
    reference: Reference,
    heard: Heard,
    pub(crate) servers: Servers,
    /// ue1, ue2 and the attacker.
    ues: Vec<Ue>,
    watchers: Vec<Watcher>,
    waiting: Vec<Waiting>,
}

const ATTACKER: usize = 2;

impl Simulation {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut policy = policy();
        policy.reauthentication.on_wrong_answer =
            dice.pick(&[OnWrongAnswer::Rechallenge, OnWrongAnswer::Deregister, OnWrongAnswer::Reject]);
        policy.reauthentication.refer = dice.below(2) == 0;
        policy.reauthentication.on_every_reregister = dice.below(4) == 0;
        policy.reauthentication.every_n_registrations = dice.pick(&[0, 0, 2]);
        policy.authentication.unprotected_answer =
            dice.pick(&[UnprotectedAnswer::Accept, UnprotectedAnswer::Accept, UnprotectedAnswer::Challenge]);
        policy.registration.store_server_name = dice.below(4) == 0;
        policy.reg_event.max_subscriptions = 4;
        policy.registration.max_contacts = 3;
        let identities = vec![identity(ALICE, false), identity(TEL, false), identity(BARRED, true)];
        policy.registration.max_application_servers = dice.pick(&[2, 8, 8]);
        let mut world = World::with(policy, servers::profile(identities, dice.roll()));
        world.chance = seed;
        world.prompt = dice.below(3) != 0;
        let flow = |name, host: &str, reg_id| Ue {
            contact: format!("<sip:alice@{host}:5060>;+sip.instance=\"<urn:uuid:{name}>\";reg-id={reg_id}"),
            path: vec!["<sip:term@pcscf1.visited1.net;lr;ob>".into()],
            supported: "path, outbound, gruu",
            ..Ue::new(name, host)
        };
        let first = match dice.below(2) {
            0 => Ue::one(),
            _ => flow("ue1", "10.0.0.1", 1),
        };
        let ues = vec![first, flow("ue2", "10.0.0.2", 1), Ue::new("attacker", "10.6.6.6")];
        let watchers = vec![
            Watcher::ue("reg"),
            Watcher::ue("registration-state"),
            Watcher::p_cscf("reg"),
            Watcher::p_cscf("registration-state"),
            Watcher::server("reg"),
            Watcher {
                identity: "P-Asserted-Identity: <sip:eve@home1.net>\r\n".into(),
                call_id: "eve".into(),
                ..Watcher::ue("reg")
            },
        ];
        Self {
            world,
            story: Vec::new(),
            registered: 0,
            deregistered: 0,
            dice,
            reference: Reference::default(),
            heard: Heard::default(),
            servers: Servers::default(),
            ues,
            watchers,
            waiting: Vec::new(),
        }
    }

    /// One thing happens.
    pub(crate) fn happen(&mut self) {
        match self.dice.below(100) {
            0..6 => self.a_ue_attaches(),
            6..30 => self.a_ue_registers(),
            30..40 => self.the_attacker_registers(),
            40..44 => self.a_register_comes_again(),
            44..58 => self.somebody_subscribes(),
            58..74 => self.a_notify_is_answered(),
            74..82 => self.the_hss_answers(),
            82..84 => self.the_hss_terminates(),
            84..86 => self.the_hss_pushes(),
            86..89 => self.the_network_asks(),
            89..90 => self.an_operator_deregisters(),
            90..92 => self.a_sibling_tells(),
            92..93 => self.the_owner_dies(),
            93..94 => self.something_else_comes(),
            _ => self.time_passes(),
        }
    }

    /// Everything that is owed is given, and time takes what is left.
    pub(crate) fn end(&mut self) {
        self.tell("the end".into());
        while !self.world.pending.is_empty() {
            self.world.deliver();
            self.after(Licence::Proved, "an answer of the HSS", false);
        }
        assert!(self.world.open.is_empty(), "requests without answer: {:?}", self.world.open);
        self.world.prompt = true;
        for _ in 0..40 {
            while let Some(sent) = self.world.sent.first().cloned() {
                self.world.reply(&sent, 200);
                self.after(Licence::None, "200 to what was sent", false);
            }
            self.pass(Span::seconds(30_000));
        }
        let view = self.world.user.view();
        let nobody = view.subscriptions.is_empty() && view.third_party.is_empty();
        assert!(view.bindings.is_empty() && nobody, "{view:?}");
        assert_eq!(view.next_deadline, None, "nothing to wait for: {view:?}");
    }

    fn tell(&mut self, line: String) {
        let at = (self.world.now - world::START).millis();
        self.story.push(format!("{at:>10} ms  {line}"));
    }

    fn after(&mut self, licence: Licence, what: &str, takeover: bool) {
        self.reference.follow(licence, &self.world, what);
        bounded(&self.world);
        self.heard.listen(&self.world, takeover);
        self.servers.listen(&self.world, takeover);
        self.read_answers();
    }

    /// UEs read the answers to their REGISTERs.
    fn read_answers(&mut self) {
        let (world, ues) = (&mut self.world, &mut self.ues);
        let mut granted = 0;
        self.waiting.retain(|waiting| {
            let Some(response) = world.answers.remove(&waiting.tx) else { return true };
            ues[waiting.ue].learn(&response);
            if response.status() == Status::OK {
                granted += 1;
            }
            let failed = matches!(response.status().class(), 4..=6);
            let leaks = response.has(sip::Name::Contact) || response.has(sip::Name::ServiceRoute);
            assert!(!failed || !leaks, "a failure tells no contact");
            false
        });
        self.registered += granted;
    }

    fn send_register(&mut self, ue: usize, request: Request, licence: Licence, what: &str) {
        let tx = self.world.arrive(request, true);
        if let Some(response) = self.world.answers.get(&tx)
            && response.status() == Status::OK
        {
            assert_ne!(ue, ATTACKER, "the attacker got a 200");
            let bound = bindings(&self.world.user.view());
            let Ok(Contacts::List(listed)) = response.contacts() else { panic!("a 200 without contacts") };
            let own = |contact: &&sip::NameAddr| {
                contact.param("expires") != Some("0") && contact.uri.user() != Some("sibling")
            };
            for contact in listed.iter().filter(own) {
                let expires = contact.param("expires").unwrap().parse::<u32>().unwrap();
                assert_eq!(self.world.seconds(bound[contact.uri.as_str()]), expires, "{what}");
            }
            assert_eq!(listed.iter().filter(own).count(), bound.len(), "the 200 lists every contact: {what}");
        }
        self.waiting.push(Waiting { tx, ue });
        self.after(licence, what, false);
    }

    fn a_ue_registers(&mut self) {
        let ue = self.dice.below(2) as usize;
        let proof = match self.dice.below(12) {
            0..2 => Proof::None,
            2..9 => Proof::Right,
            9..10 => Proof::Wrong,
            10..11 => Proof::Silent,
            _ => Proof::Synchronise,
        };
        let protected = proof != Proof::None && self.dice.below(4) != 0;
        let expires = self.dice.pick(&[3600, 3600, 3600, 600, 100, 10, 0, 700_000]);
        self.ues[ue].expires = expires;
        if self.dice.below(20) == 0 {
            let host = self.dice.pick(&["10.0.0.7", "10.0.0.8"]);
            let rest = self.ues[ue].contact.split_once('>').unwrap().1.to_owned();
            self.ues[ue].contact = format!("<sip:alice@{host}:506{ue}>{rest}");
        }
        let what =
            format!("{} > REGISTER {proof:?} protected={protected} expires={expires}", self.ues[ue].name);
        self.tell(what.clone());
        let request = self.world.build_register(&mut self.ues[ue], proof, protected);
        let licence = match protected || proof == Proof::Right {
            true => Licence::Proved,
            false => Licence::None,
        };
        self.send_register(ue, request, licence, &what);
    }

    /// A REGISTER without answer, and one with the right answer.
    fn a_ue_attaches(&mut self) {
        let ue = self.dice.below(2) as usize;
        self.ues[ue].expires = 3600;
        for (proof, protected, licence) in
            [(Proof::None, false, Licence::None), (Proof::Right, true, Licence::Proved)]
        {
            let what = format!("{} > REGISTER {proof:?} to attach", self.ues[ue].name);
            self.tell(what.clone());
            let request = self.world.build_register(&mut self.ues[ue], proof, protected);
            self.send_register(ue, request, licence, &what);
        }
    }

    fn the_attacker_registers(&mut self) {
        let proof =
            self.dice.pick(&[Proof::None, Proof::Wrong, Proof::Wrong, Proof::Silent, Proof::Synchronise]);
        let victim = self.dice.below(2) as usize;
        match self.dice.below(5) {
            // As close to the victim as an outsider can get.
            0 => {
                self.ues[ATTACKER].nonce = self.ues[victim].nonce.clone();
                self.ues[ATTACKER].call_id = self.ues[victim].call_id.clone();
                self.ues[ATTACKER].cseq = self.ues[victim].cseq + 1;
            }
            1 => self.ues[ATTACKER].nonce = foreign_nonce(),
            2 => self.ues[ATTACKER].contact = self.ues[victim].contact.clone(),
            _ => self.ues[ATTACKER].call_id = format!("attack-{}", self.dice.below(5)),
        }
        self.ues[ATTACKER].expires = self.dice.pick(&[0, 60, 3600]);
        let what = format!("attacker > REGISTER {proof:?} expires={}", self.ues[ATTACKER].expires);
        self.tell(what.clone());
        let request = self.world.build_register(&mut self.ues[ATTACKER], proof, false);
        self.send_register(ATTACKER, request, Licence::None, &what);
    }

    fn a_register_comes_again(&mut self) {
        let ue = self.dice.below(3) as usize;
        let Some(request) = self.ues[ue].last.clone() else { return };
        let what = format!("{} > the same REGISTER again", self.ues[ue].name);
        self.tell(what.clone());
        // The transaction layer would have answered it; after a takeover it may not.
        let licence = match ue {
            ATTACKER => Licence::None,
            _ => Licence::Proved,
        };
        let tx = self.world.arrive(request, true);
        self.waiting.push(Waiting { tx, ue });
        self.after(licence, &what, false);
    }

    fn somebody_subscribes(&mut self) {
        let at = self.dice.below(self.watchers.len() as u64) as usize;
        let expires =
            self.dice.pick(&[Some(600_000), Some(600_000), Some(3600), Some(60), Some(5), Some(0), None]);
        let afresh = self.dice.below(4) == 0;
        let watcher = &mut self.watchers[at];
        if afresh {
            watcher.to_tag.clear();
            watcher.call_id = format!("{}'", watcher.call_id);
        }
        let what =
            format!("{} > SUBSCRIBE {} expires={expires:?} {}", watcher.name, watcher.event, watcher.call_id);
        let call_id = watcher.call_id.clone();
        let response = self.world.subscribe(&mut self.watchers[at], expires);
        if response.status() == Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST {
            self.watchers[at].to_tag.clear();
        }
        assert!(!call_id.starts_with("eve") || !response.status().is_success(), "a stranger watches");
        self.tell(format!("{what}: {}", response.status().code()));
        self.after(Licence::None, &what, false);
    }

    fn a_notify_is_answered(&mut self) {
        if self.world.sent.is_empty() {
            return;
        }
        let at = self.dice.below(self.world.sent.len() as u64) as usize;
        let sent = self.world.sent[at].clone();
        let status = self.dice.pick(&[200, 200, 200, 200, 500, 481, 0, 1]);
        let what = format!("{} {} answered {status}", sent.request.method(), sent.request.call_id());
        self.tell(what.clone());
        match status {
            0 => self.world.time_out(&sent),
            1 => {
                self.world.sent.remove(at);
                self.world.step(Event::Reply { to: sent.purpose, reply: Reply::Unsendable });
            }
            status => self.world.reply(&sent, status),
        }
        let licence = match sent.purpose {
            // A server without which there is to be no registration may end it.
            Purpose::ThirdPartyRegister(_) if status != 200 => Licence::Ends,
            Purpose::ThirdPartyRegister(_)
            | Purpose::Notify(_)
            | Purpose::Refer
            | Purpose::Relay(..)
            | Purpose::Release(..) => Licence::None,
        };
        self.after(licence, &what, false);
    }

    fn the_hss_answers(&mut self) {
        let fails = self.dice.below(6) == 0;
        let Some((to, answer)) = self.world.pending.front_mut() else { return };
        if fails {
            let failure = match self.dice.below(3) {
                0 => Failure::Unreachable,
                1 => Failure::Refused(ResultCode::UNABLE_TO_COMPLY),
                _ => Failure::Malformed("nonsense".into()),
            };
            *answer = match answer {
                cx::Answer::MultimediaAuth(_) => cx::Answer::MultimediaAuth(Err(failure)),
                cx::Answer::ServerAssignment(_) => cx::Answer::ServerAssignment(Err(failure)),
            };
        }
        let what = format!("hss > answer to {to:?}, fails={fails}");
        let licence = match to {
            scscf::CxPurpose::Assign(_) => Licence::Proved,
            scscf::CxPurpose::Challenge(_) | scscf::CxPurpose::Report | scscf::CxPurpose::Profile(_) => {
                Licence::None
            }
        };
        self.tell(what.clone());
        self.world.deliver();
        self.after(licence, &what, false);
    }

    fn the_hss_terminates(&mut self) {
        let reason = self.dice.pick(&[
            DeregistrationReason::PermanentTermination,
            DeregistrationReason::NewServerAssigned,
            DeregistrationReason::ServerChange,
            DeregistrationReason::RemoveScscf,
        ]);
        let what = format!("hss > RTR {reason:?}");
        self.tell(what.clone());
        self.world.terminate(reason);
        self.deregistered += 1;
        self.after(Licence::Ends, &what, false);
    }

    fn the_hss_pushes(&mut self) {
        let tel = self.dice.below(3);
        let mut identities = vec![identity(ALICE, false), identity(BARRED, true)];
        if tel > 0 {
            identities.push(identity(TEL, tel == 1));
        }
        let pushed = servers::profile(identities, self.dice.roll());
        self.world.profile = pushed.clone();
        self.heard.profile_changes = true;
        let auth_data = (self.dice.below(3) == 0).then_some(None);
        let what = format!("hss > PPR tel={tel} auth={}", auth_data.is_some());
        self.tell(what.clone());
        self.world.demand(cx::Demand::PushProfile(cx::PushProfile {
            impi: Impi::new(IMPI).unwrap(),
            user_data: Some(Ok(pushed)),
            charging: None,
            auth_data,
        }));
        self.after(Licence::Shortens, &what, false);
    }

    fn the_network_asks(&mut self) {
        let what = match self.dice.below(2) {
            0 => {
                let impi = Impi::new(IMPI).unwrap();
                self.tell("hss > RAR".into());
                self.world.demand(cx::Demand::ReAuth(cx::ReAuth { impi }));
                "RAR"
            }
            _ => {
                let period = self.dice.pick(&[None, Some(60), Some(1200)]);
                self.tell(format!("operator > reauthenticate {period:?}"));
                self.world.reauthenticate(period);
                "an operator's demand"
            }
        };
        self.after(Licence::Shortens, what, false);
    }

    fn an_operator_deregisters(&mut self) {
        self.tell("operator > deregister".into());
        self.world.step(Event::Deregister { reason: "enough".into(), ask: None });
        self.deregistered += 1;
        self.after(Licence::Ends, "an operator's deregistration", false);
        assert!(self.world.user.view().bindings.is_empty());
    }

    fn a_sibling_tells(&mut self) {
        let gone = self.dice.below(2) == 0;
        self.tell(format!("sibling > contacts, gone={gone}"));
        let contact = SharedContact {
            path: Vec::new(),
            impus: vec![Impu::parse(ALICE).unwrap()],
            contact: "<sip:sibling@10.0.0.99>".into(),
            expires_at: self.world.now + Span::seconds(500),
            id: 99,
        };
        let contacts = if gone { Vec::new() } else { vec![contact] };
        let impi = Impi::new("alice-tablet@home1.net").unwrap();
        self.world.step(Event::Sibling { impi, contacts });
        self.after(Licence::None, "a sibling", false);
    }

    fn the_owner_dies(&mut self) {
        self.tell("another node takes over".into());
        self.waiting.clear();
        self.world.fail_over();
        self.after(Licence::None, "a takeover", true);
    }

    fn something_else_comes(&mut self) {
        let method = self.dice.pick(&["OPTIONS", "MESSAGE", "BYE", "FROB"]);
        self.tell(format!("somebody > {method}"));
        let n = self.world.next();
        let request = world::request(&format!(
            "{method} {ALICE} SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK{n}\r\nFrom: <sip:x@y>;tag=1\r\n\
             To: <{ALICE}>;tag=2\r\nCall-ID: other{n}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        ));
        let response = self.world.ask(request);
        assert_eq!(response.status().code(), 403, "no dialog of that kind passes here");
        self.after(Licence::None, "another method", false);
    }

    fn time_passes(&mut self) {
        let span = match self.dice.below(6) {
            0 => Span::from_millis(self.dice.below(1000)),
            1 => Span::seconds(self.dice.below(60)),
            2 => Span::seconds(self.dice.below(600)),
            3 => Span::seconds(240),
            4 => Span::seconds(600),
            _ => Span::seconds(self.dice.below(4000)),
        };
        self.tell(format!("{} ms pass", span.millis()));
        self.pass(span);
    }

    fn pass(&mut self, span: Span) {
        // Deadlines send NOTIFYs, which are read one by one.
        let until = self.world.now + span;
        loop {
            let next = self.world.user.next_deadline().filter(|&deadline| deadline <= until);
            let to = next.unwrap_or(until);
            let had = self.world.user.view().bindings.len();
            self.world.pass(to - self.world.now);
            self.reference.pass(&self.world);
            if self.world.user.view().bindings.len() < had {
                self.deregistered += 1;
            }
            self.heard.listen(&self.world, false);
            self.servers.listen(&self.world, false);
            self.read_answers();
            // What has not been answered for so long has timed out long ago.
            let views = self.world.user.view().subscriptions;
            let live: Vec<u64> =
                views.iter().map(|view| u64::from_str_radix(&view.id, 16).unwrap()).collect();
            let in_flight = |sent: &world::Sent| match sent.purpose {
                Purpose::Notify(id) => live.contains(&id.0),
                Purpose::Refer | Purpose::Relay(..) | Purpose::Release(..) => true,
                Purpose::ThirdPartyRegister(id) => servers::awaits(&self.world.user, id),
            };
            self.world.sent.retain(in_flight);
            if next.is_none() {
                break;
            }
        }
    }
}
