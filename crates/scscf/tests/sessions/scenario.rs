//! What happens in one run: who there is, what they do and when. Drawn from a seed, or written down.

use crate::network::{Dice, EDGE, Weather, address, remote, server};
use crate::server::{Proxy, Trade};
use crate::ue::{Deed, Line, Manner, Phone, Rudeness};
use scscf::Policy;
use scscf::cx::DeregistrationReason;
use scscf::policy::{OnWrongAnswer, UnprotectedAnswer};
use scscf::profile::DefaultHandling;
use scscf::token::Tokens;
use sip::{Method, Uri};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Criterion {
    pub(crate) server: usize,
    pub(crate) handling: DefaultHandling,
    /// SessionCase; none: always.
    pub(crate) case: Option<u32>,
}

#[derive(Clone, Debug)]
pub(crate) struct UserSetup {
    pub(crate) name: &'static str,
    /// The HSS knows it.
    pub(crate) known: bool,
    pub(crate) ues: usize,
    /// Its UEs register flows (RFC 5626), so both stay bound.
    pub(crate) flows: bool,
    /// It shares the public identity of the first user.
    pub(crate) shares: bool,
    /// The second UE registers an identity of another implicit registration set.
    pub(crate) second_set: bool,
    /// They are flows of one instance.
    pub(crate) one_instance: bool,
    /// Its second UE is tried after the first.
    pub(crate) in_turn: bool,
    pub(crate) criteria: Vec<Criterion>,
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) weather: Weather,
    pub(crate) users: Vec<UserSetup>,
    pub(crate) trades: Vec<Trade>,
    /// Which telephones know session timers.
    pub(crate) timers: u64,
    /// What telephones do that they should not, by their number.
    pub(crate) rudeness: Vec<Rudeness>,
    /// How late a user may be woken, milliseconds.
    pub(crate) drowsy: u64,
    /// Share of steps that are done twice and read back, per cent.
    pub(crate) audited: u64,
    pub(crate) hss_fails: u64,
    pub(crate) session_expires: u32,
    pub(crate) on_wrong_answer: OnWrongAnswer,
    pub(crate) unprotected_answer: UnprotectedAnswer,
    pub(crate) refer: bool,
    pub(crate) store_server_name: bool,
    pub(crate) max_sessions: usize,
    pub(crate) max_relays: usize,
    pub(crate) acts: Vec<(u64, Act)>,
}

/// How somebody who is called reacts; times in milliseconds from the INVITE on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reaction {
    pub(crate) rings: Option<u64>,
    pub(crate) reliably: bool,
    pub(crate) ends: Option<(u64, Deed)>,
    /// After the answer.
    pub(crate) hangs_up: Option<u64>,
}

/// How a call goes; times in milliseconds, of the caller's from the INVITE or the answer on.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) cancels: Option<u64>,
    pub(crate) hangs_up: Option<u64>,
    pub(crate) reactions: Vec<Reaction>,
    pub(crate) deeds: Vec<(u64, bool, Deed)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Attach {
        phone: usize,
        expires: u32,
    },
    Refresh {
        phone: usize,
        expires: u32,
    },
    Deregister {
        phone: usize,
    },
    Move {
        phone: usize,
    },
    Manner {
        phone: usize,
        manner: Manner,
    },
    Call {
        call: u32,
        from: usize,
        to: String,
        plan: Plan,
    },
    /// An application server calls on behalf of a user.
    CallFor {
        call: u32,
        from: usize,
        user: usize,
        to: String,
        plan: Plan,
    },
    Message {
        from: usize,
        to: String,
        method: Method,
    },
    Reauthenticate {
        user: usize,
        by_hss: bool,
        period: u64,
    },
    OperatorDeregisters {
        user: usize,
    },
    Terminate {
        user: usize,
        reason: DeregistrationReason,
        impus: Vec<String>,
    },
    Push {
        user: usize,
    },
    TakeOver {
        user: usize,
        in_order: bool,
    },
    KillServer {
        server: usize,
    },
    ReviveServer {
        server: usize,
    },
    KillPhone {
        phone: usize,
    },
    RevivePhone {
        phone: usize,
    },
    Attack {
        user: usize,
        answer: Option<Manner>,
        near: bool,
        expires: u32,
    },
}

pub(crate) const REMOTES: usize = 2;

impl UserSetup {
    /// The identity that a UE registers.
    pub(crate) fn identity(&self, second_ue: bool) -> String {
        match second_ue && self.second_set {
            true => format!("sip:{}.b@home1.net", self.name),
            false if self.shares => "sip:alice@home1.net".to_owned(),
            false => format!("sip:{}@home1.net", self.name),
        }
    }
}

impl Scenario {
    /// Fair weather, two users with one UE each who know session timers, no application server, no acts.
    pub(crate) fn plain(seed: u64) -> Self {
        let user = |name| UserSetup {
            name,
            known: true,
            ues: 1,
            flows: false,
            shares: false,
            second_set: false,
            one_instance: false,
            in_turn: false,
            criteria: Vec::new(),
        };
        Self {
            seed,
            weather: Weather { lost: 0, doubled: 0, delay: 20 },
            users: vec![user("alice"), user("bob")],
            trades: Vec::new(),
            timers: u64::MAX,
            rudeness: Vec::new(),
            drowsy: 0,
            audited: 100,
            hss_fails: 0,
            session_expires: 1800,
            on_wrong_answer: OnWrongAnswer::Rechallenge,
            unprotected_answer: UnprotectedAnswer::Accept,
            refer: false,
            store_server_name: false,
            max_sessions: 64,
            max_relays: 256,
            acts: Vec::new(),
        }
    }

    pub(crate) fn policy(&self) -> Policy {
        let name = Uri::parse("sip:scscf.home1.net:5060").unwrap();
        let mut policy = Policy::of(name, "home1.net", Tokens::new(&[7; 32]));
        policy.session.session_expires = self.session_expires;
        policy.session.max_sessions = self.max_sessions;
        policy.session.max_relays = self.max_relays;
        policy.reauthentication.on_wrong_answer = self.on_wrong_answer;
        policy.reauthentication.refer = self.refer;
        policy.authentication.unprotected_answer = self.unprotected_answer;
        policy.registration.store_server_name = self.store_server_name;
        policy
    }

    /// The number of the first UE of a user.
    pub(crate) fn first_ue(&self, user: usize) -> usize {
        self.users[..user].iter().map(|user| user.ues).sum()
    }

    pub(crate) fn ues(&self) -> usize {
        self.first_ue(self.users.len())
    }

    pub(crate) fn attacker(&self) -> usize {
        self.ues() + REMOTES
    }

    pub(crate) fn phones(&self) -> Vec<Phone> {
        let mut phones = Vec::new();
        for (number, user) in self.users.iter().enumerate() {
            for ue in 0..user.ues {
                let at = phones.len();
                let place = address(10, 0, number as u8, ue as u8 + 1);
                let aor = user.identity(ue == 1);
                let mut phone = Phone::new(at, &format!("{}{ue}", user.name), &aor, place, self.seed);
                phone.line = Some(self.line(user, ue));
                phones.push(phone);
            }
        }
        for number in 0..REMOTES {
            let aor = format!("sip:rem{number}@remote.net");
            phones.push(Phone::new(phones.len(), &format!("rem{number}"), &aor, remote(number), self.seed));
        }
        let mut attacker =
            Phone::new(phones.len(), "attacker", "sip:alice@home1.net", crate::network::ATTACKER, self.seed);
        attacker.line = Some(self.line(&self.users[0], 9));
        phones.push(attacker);
        for (number, trade) in self.trades.iter().enumerate().filter(|(_, trade)| trade.is_phone()) {
            let aor = format!("sip:as{number}.home1.net");
            let mut phone = Phone::new(phones.len(), &format!("as{number}"), &aor, server(number), self.seed);
            phone.serves = true;
            phone.answers = *trade == Trade::Answers;
            phones.push(phone);
        }
        for phone in &mut phones {
            phone.rudeness = self.rudeness.get(phone.number).copied().unwrap_or(Rudeness::None);
            phone.timer = self.timers >> (phone.number % 64) & 1 == 1;
        }
        phones
    }

    fn line(&self, user: &UserSetup, ue: usize) -> Line {
        let (params, supported, path) = match (user.flows, ue, user.in_turn) {
            (true, 0, _) => (";+sip.instance=\"<urn:uuid:a0>\";reg-id=1", "path, outbound", true),
            (true, _, _) if user.one_instance => {
                (";+sip.instance=\"<urn:uuid:a0>\";reg-id=2", "path, outbound", true)
            }
            (true, _, true) => (";+sip.instance=\"<urn:uuid:a1>\";reg-id=1;q=0.5", "path, outbound", true),
            (true, _, false) => (";+sip.instance=\"<urn:uuid:a1>\";reg-id=1", "path, outbound", true),
            (false, _, _) => ("", "path", false),
        };
        Line {
            impi: format!("{}@home1.net", user.name),
            impu: user.identity(ue == 1),
            params,
            supported,
            path: match path {
                true => "<sip:term@pcscf1.visited1.net;lr;ob>",
                false => "<sip:term@pcscf1.visited1.net;lr>",
            },
            call_id: format!("reg-{}{ue}", user.name),
            cseq: 0,
            nonce: String::new(),
            expires: 3600,
            protected: false,
            manner: if ue == 9 { Manner::Wrong } else { Manner::Right },
            service_route: None,
            registered: None,
        }
    }

    pub(crate) fn proxies(&self) -> Vec<Proxy> {
        let edge = Proxy::new("sip:pcscf1.visited1.net", EDGE, Trade::Proxy { records: true }, self.seed);
        let mut proxies = vec![edge];
        for (number, trade) in self.trades.iter().enumerate().filter(|(_, trade)| !trade.is_phone()) {
            let uri = format!("sip:as{number}.home1.net");
            let mut proxy = Proxy::new(&uri, server(number), *trade, self.seed ^ (number as u64) << 8);
            proxy.diverts_to = format!("sip:rem{}@remote.net", number % REMOTES);
            proxies.push(proxy);
        }
        proxies
    }

    /// Whether users share a public identity.
    pub(crate) fn is_shared(&self) -> bool {
        self.users.iter().any(|user| user.shares)
    }

    /// Whether nothing is lost or late, nobody dies, and who leaves does it in order.
    pub(crate) fn is_gentle(&self) -> bool {
        let in_order = |act: &Act| match act {
            Act::TakeOver { in_order, .. } => *in_order,
            Act::KillServer { .. } | Act::KillPhone { .. } | Act::RevivePhone { .. } => false,
            _ => true,
        };
        let polite = self.rudeness.iter().all(|rudeness| *rudeness == Rudeness::None);
        let quick = self.weather.lost == 0 && self.weather.delay <= 40;
        polite && quick && self.acts.iter().all(|(_, act)| in_order(act))
    }

    /// Whether nothing is lost, nobody dies and every server does its work.
    pub(crate) fn is_fair(&self) -> bool {
        let dies = |act: &Act| {
            matches!(
                act,
                Act::KillServer { .. }
                    | Act::KillPhone { .. }
                    | Act::TakeOver { .. }
                    | Act::RevivePhone { .. }
            )
        };
        let polite = self.rudeness.iter().all(|rudeness| *rudeness == Rudeness::None);
        polite
            && self.weather.lost == 0
            && self.weather.delay <= 40
            && !self.acts.iter().any(|(_, act)| dies(act))
    }

    /// One run out of the dice.
    pub(crate) fn drawn(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x1357_9bdf);
        let mut scenario = Self::plain(seed);
        scenario.audited = 10;
        scenario.weather = match dice.below(10) {
            0..5 => Weather { lost: 0, doubled: dice.pick(&[0, 0, 5]), delay: dice.pick(&[1, 10, 40]) },
            5..7 => Weather { lost: 0, doubled: 5, delay: 400 },
            _ => Weather { lost: dice.between(2, 15), doubled: 5, delay: dice.pick(&[40, 200]) },
        };
        scenario.timers = dice.pick(&[u64::MAX, u64::MAX, 0]) ^ (dice.roll() & dice.roll());
        scenario.drowsy = dice.pick(&[0, 0, 300]);
        if dice.chance(15) {
            let kinds = [
                Rudeness::None,
                Rudeness::NeverAcknowledges,
                Rudeness::RefusesBye,
                Rudeness::IgnoresBye,
                Rudeness::NeverRefreshes,
            ];
            scenario.rudeness = (0..6).map(|_| dice.pick(&kinds)).collect();
        }
        scenario.session_expires = dice.pick(&[0, 90, 600, 1800, 1800]);
        scenario.on_wrong_answer =
            dice.pick(&[OnWrongAnswer::Rechallenge, OnWrongAnswer::Deregister, OnWrongAnswer::Reject]);
        scenario.unprotected_answer =
            dice.pick(&[UnprotectedAnswer::Accept, UnprotectedAnswer::Accept, UnprotectedAnswer::Challenge]);
        scenario.refer = dice.chance(50);
        scenario.store_server_name = dice.chance(15);
        scenario.max_sessions = dice.pick(&[64, 64, 64, 1, 2]);
        scenario.max_relays = dice.pick(&[256, 256, 256, 2]);
        scenario.hss_fails = dice.pick(&[0, 0, 0, 20]);
        for _ in 0..dice.below(4) {
            scenario.trades.push(dice.pick(&[
                Trade::Proxy { records: true },
                Trade::Proxy { records: true },
                Trade::Proxy { records: false },
                Trade::Back2Back,
                Trade::Back2Back,
                Trade::Fork,
                Trade::Divert,
                Trade::Reject(403),
                Trade::Reject(503),
                Trade::Silent,
                Trade::Trying,
                Trade::Ringing,
                Trade::Answers,
            ]));
        }
        if dice.chance(20) {
            scenario.users.push(UserSetup { name: "carol", shares: true, ..scenario.users[0].clone() });
        }
        let servers = scenario.trades.len() as u64;
        for user in &mut scenario.users {
            user.ues = dice.pick(&[1, 1, 2]);
            user.flows = dice.chance(if user.ues == 2 { 80 } else { 30 });
            user.in_turn = dice.chance(30);
            user.one_instance = dice.chance(25);
            user.second_set = dice.chance(20) && !user.shares;
            user.known = dice.chance(97);
            for _ in 0..if servers == 0 { 0 } else { dice.below(3) } {
                user.criteria.push(Criterion {
                    server: dice.below(servers) as usize,
                    handling: dice
                        .pick(&[DefaultHandling::SessionContinued, DefaultHandling::SessionTerminated]),
                    case: dice.pick(&[None, Some(0), Some(1), Some(2)]),
                });
            }
        }
        scenario.draw_acts(&mut dice);
        if scenario.acts.iter().any(|(_, act)| matches!(act, Act::TakeOver { .. })) {
            // What becomes of a BYE that nobody answers is not known to another owner.
            scenario.rudeness.retain(|rudeness| *rudeness != Rudeness::IgnoresBye);
        }
        scenario
    }

    fn draw_acts(&mut self, dice: &mut Dice) {
        let ues = self.ues() as u64;
        for phone in 0..ues as usize {
            if dice.chance(92) {
                let expires = dice.pick(&[3600, 3600, 3600, 60, 600]);
                self.acts.push((dice.below(1000), Act::Attach { phone, expires }));
            }
        }
        // What is possible in this run at all, so that short runs differ.
        let possible = dice.roll();
        let spread = dice.pick(&[3_000, 20_000, 60_000, 240_000]);
        let count = dice.between(2, 9);
        let mut call = 0;
        for _ in 0..count {
            let at = 1500 + dice.below(spread);
            call += 1;
            let act = self.drawn_act(dice, call, possible);
            if let Act::Reauthenticate { user, period, .. } = &act {
                self.draw_answer_to(*user, at, *period, dice);
            }
            if let Act::KillServer { server } = &act
                && dice.chance(50)
            {
                self.acts.push((at + dice.below(spread), Act::ReviveServer { server: *server }));
            }
            if let Act::KillPhone { phone } = &act
                && dice.chance(50)
            {
                self.acts.push((at + dice.below(spread), Act::RevivePhone { phone: *phone }));
            }
            self.acts.push((at, act));
        }
        self.acts.sort_by_key(|(at, _)| *at);
    }

    /// UEs obey a demand for re-authentication, answer it wrongly or do nothing.
    fn draw_answer_to(&mut self, user: usize, at: u64, period: u64, dice: &mut Dice) {
        for phone in self.first_ue(user)..self.first_ue(user) + self.users[user].ues {
            let when = at + dice.below(period * 1000);
            match dice.below(3) {
                0 => self.acts.push((when, Act::Refresh { phone, expires: 3600 })),
                1 => {
                    let manner = dice.pick(&[Manner::Wrong, Manner::Wrong, Manner::Silent]);
                    self.acts.push((when, Act::Manner { phone, manner }));
                    self.acts.push((when + 1, Act::Refresh { phone, expires: 3600 }));
                    self.acts.push((when + 2000, Act::Manner { phone, manner: Manner::Right }));
                }
                _ => {}
            }
        }
    }

    fn drawn_act(&self, dice: &mut Dice, call: u32, possible: u64) -> Act {
        let may = |bit: u64| possible >> bit & 1 == 1;
        let user = dice.below(self.users.len() as u64) as usize;
        let ue = dice.below(self.ues() as u64) as usize;
        let caller = dice.below((self.ues() + REMOTES) as u64) as usize;
        let mut target = self.target(dice);
        if caller >= self.ues() && target.contains("rem") {
            target = "sip:bob@home1.net".into();
        }
        match dice.below(100) {
            0..4 if may(0) => Act::Deregister { phone: ue },
            4..7 if may(1) => Act::Move { phone: ue },
            7..10 if may(2) => Act::Attach { phone: ue, expires: dice.pick(&[60, 3600]) },
            10..13 if may(3) => Act::Refresh { phone: ue, expires: dice.pick(&[60, 3600]) },
            13..17 if may(4) => {
                Act::Reauthenticate { user, by_hss: dice.chance(30), period: dice.pick(&[60, 90, 600]) }
            }
            17..20 if may(5) => Act::OperatorDeregisters { user },
            20..24 if may(6) => Act::Terminate {
                user,
                reason: dice.pick(&[
                    DeregistrationReason::PermanentTermination,
                    DeregistrationReason::NewServerAssigned,
                    DeregistrationReason::ServerChange,
                    DeregistrationReason::RemoveScscf,
                ]),
                impus: match dice.below(3) {
                    0 => vec![self.users[user].identity(dice.chance(50))],
                    _ => Vec::new(),
                },
            },
            24..26 if may(7) => Act::Push { user },
            26..32 if may(8) => Act::TakeOver { user, in_order: dice.chance(50) },
            32..35 if may(9) && !self.trades.is_empty() => {
                Act::KillServer { server: dice.below(self.trades.len() as u64) as usize }
            }
            35..37 if may(10) => Act::KillPhone { phone: caller },
            37..41 if may(11) => Act::Attack {
                user,
                answer: dice.pick(&[None, None, Some(Manner::Wrong), Some(Manner::Silent)]),
                near: dice.chance(50),
                expires: dice.pick(&[0, 3600]),
            },
            41..45 => Act::Message {
                from: caller,
                to: target,
                method: dice.pick(&[Method::Message, Method::Options, Method::Publish]),
            },
            45..48 if self.trades.iter().any(|trade| trade.is_phone()) => {
                let from = self.attacker() + 1;
                Act::CallFor { call, from, user, to: target, plan: plan(dice) }
            }
            _ => Act::Call { call, from: caller, to: target, plan: plan(dice) },
        }
    }

    fn target(&self, dice: &mut Dice) -> String {
        match dice.below(20) {
            0..14 => dice.pick(&self.users).identity(dice.chance(30)),
            14..19 => format!("sip:rem{}@remote.net", dice.below(REMOTES as u64)),
            _ => dice.pick(&["sip:nobody@home1.net", "sip:x@nowhere.example"]).to_owned(),
        }
    }
}

fn plan(dice: &mut Dice) -> Plan {
    let reaction = |dice: &mut Dice| {
        let after = dice.pick(&[0, 50, 900, 4_000, 20_000]);
        let ends = match dice.below(20) {
            0..13 => Some((after, Deed::Answer)),
            13..17 => Some((after, Deed::Reject(dice.pick(&[486, 603, 480, 503, 404, 302])))),
            17..19 => None,
            _ => Some((after, Deed::Answer)),
        };
        Reaction {
            rings: dice.pick(&[None, Some(0), Some(0), Some(500)]),
            reliably: dice.chance(25),
            ends,
            hangs_up: dice.chance(30).then(|| dice.pick(&[10, 1_000, 30_000])),
        }
    };
    let deeds = [Deed::Reinvite, Deed::Update, Deed::Info, Deed::Reinvite];
    Plan {
        cancels: dice.chance(15).then(|| dice.pick(&[1, 100, 1_000, 5_000])),
        hangs_up: dice.chance(40).then(|| dice.pick(&[0, 10, 1_000, 30_000, 100_000])),
        reactions: vec![reaction(dice), reaction(dice)],
        deeds: (0..dice.pick(&[0, 1, 3, 6]))
            .map(|_| (dice.below(10_000), dice.chance(50), dice.pick(&deeds)))
            .collect(),
    }
}
