//! The loop of a run: starts what is due whatever the answers do, hears what comes, sends what is to be sent.

use super::{
    Error, Plan, Progress, Report,
    call::Habits,
    engine::Engine,
    ground::Ground,
    mix::{Mix, Procedure},
    report::Count,
    sockets::Sockets,
    tally::Tally,
};
use std::{collections::BTreeMap, future::Future, time::Duration};
use tokio::time::Instant;

/// How many registrations are under way at most before a run.
const PREPARING: u64 = 256;
/// Datagrams taken from a socket before others get their turn, so that starting on time does not starve.
const BATCH: usize = 256;
/// Datagrams that wait for one another before they leave.
const TOGETHER: usize = 8;
/// How often the caller hears how it stands.
const TELL: Duration = Duration::from_millis(100);

/// A run.
pub(super) struct Drive {
    plan: Plan,
    scenario: &'static str,
    mix: Mix,
    sockets: Sockets,
    engine: Engine,
    sent: u64,
}

impl Drive {
    pub(super) fn new(
        plan: Plan,
        scenario: &'static str,
        mix: Mix,
        habits: Option<Habits>,
    ) -> Result<Self, Error> {
        plan.check()?;
        if let Some(habits) = &habits {
            habits.check()?;
            plan.lasts(habits)?;
        } else if plan.subscribe {
            plan.lasts(&Habits::default())?;
        }
        let callees = habits.is_some();
        let count = if callees { 2 * plan.sockets } else { plan.sockets };
        let sockets = Sockets::open(&plan.proxies, count)?;
        let ground = Ground::new(&plan, &sockets.addresses, callees);
        let engine = Engine::new(ground, habits.unwrap_or_default());
        Ok(Self { plan, scenario, mix, sockets, engine, sent: 0 })
    }

    /// Whether users are registered before the measurement: where there is more than their registration.
    fn prepares(&self) -> bool {
        self.mix.procedures().any(|procedure| procedure != Procedure::Register)
    }

    pub(super) async fn run(
        mut self,
        mut progress: impl FnMut(&Progress),
        stop: impl Future<Output = ()>,
    ) -> Result<Report, Error> {
        tokio::pin!(stop);
        self.sockets.ready().await?;
        if self.prepares() {
            tokio::select! {
                () = self.prepare(&mut progress) => {}
                () = &mut stop => return Ok(self.report(Duration::ZERO)),
            }
        }
        let registered_before = self.engine.registrations.registered;
        let mut cause = None;
        for procedure in Procedure::ALL {
            cause = cause.or(self.engine.tally(procedure).measure().0.into_keys().next());
        }
        if self.prepares() && registered_before == 0 {
            return Err(Error::Prepare(cause.unwrap_or_default()));
        }
        self.sent = 0;
        self.engine.received = 0;
        self.engine.ground.seen.responses.clear();
        let begun = Instant::now();
        let planned = match self.plan.duration {
            Some(duration) => (duration.as_secs_f64() * self.plan.rate).floor() as u64,
            None => self.plan.users.into(),
        };
        let interval = self.plan.rate.recip();
        let due = |turn: u64| begun + Duration::from_secs_f64(turn as f64 * interval);
        let (mut turn, mut tell_at, mut stopped) = (0, begun, false);
        let mut started_for = None;
        loop {
            let now = Instant::now();
            self.engine.ground.now = now;
            while turn < planned && !stopped && due(turn) <= now {
                let next = self.mix.next();
                self.engine.start(next, due(turn));
                turn += 1;
            }
            self.flush();
            let starting = turn < planned && !stopped;
            if !starting && started_for.is_none() {
                started_for = Some(begun.elapsed());
                Procedure::ALL.into_iter().for_each(|one| self.engine.tally(one).starting = false);
            }
            if now >= tell_at {
                progress(&self.progress(begun, planned));
                while tell_at <= now {
                    tell_at += TELL;
                }
            }
            if !starting && self.engine.in_flight() == 0 {
                break;
            }
            let next = if starting { due(turn).min(tell_at) } else { tell_at };
            tokio::select! {
                biased;
                () = &mut stop, if !stopped => {
                    stopped = true;
                    self.engine.ground.now = Instant::now();
                    self.engine.calls.hang_up(&mut self.engine.ground);
                }
                () = self.turn(next) => {}
            }
        }
        progress(&self.progress(begun, planned));
        let started_for = started_for.unwrap_or_default();
        let mut report = self.report(started_for.max(Duration::from_secs_f64(interval)));
        report.duration_s = started_for.as_secs_f64();
        report.registered_before = registered_before;
        Ok(report)
    }

    /// Registers everybody, which is not measured, at the rate for that and with a bound on what is under way.
    async fn prepare(&mut self, progress: &mut impl FnMut(&Progress)) {
        let begun = Instant::now();
        let all = self.engine.ground.users.len() as u64;
        let interval = self.plan.registration_rate.recip();
        let due = |turn: u64| begun + Duration::from_secs_f64(turn as f64 * interval);
        let (mut turn, mut tell_at) = (0, begun);
        while turn < all || self.engine.in_flight() > 0 {
            let now = Instant::now();
            self.engine.ground.now = now;
            let room = |engine: &Engine| engine.in_flight() < PREPARING;
            while turn < all && room(&self.engine) && due(turn) <= now {
                self.engine.start(Procedure::Register, now);
                turn += 1;
            }
            self.flush();
            if now >= tell_at {
                let registered = self.engine.registrations.registered;
                progress(&Progress {
                    preparing: true,
                    elapsed: begun.elapsed(),
                    planned: all,
                    succeeded: registered,
                    in_flight: self.engine.in_flight(),
                    ..Progress::default()
                });
                tell_at = now + TELL;
            }
            let next = if turn < all && room(&self.engine) { due(turn) } else { tell_at };
            self.turn(next.min(tell_at)).await;
        }
    }

    fn progress(&mut self, begun: Instant, planned: u64) -> Progress {
        let in_flight = self.engine.in_flight();
        let mut progress = Progress { elapsed: begun.elapsed(), planned, in_flight, ..Progress::default() };
        for procedure in Procedure::ALL {
            self.engine.tally(procedure).add_to(&mut progress);
        }
        progress
    }

    /// Waits until `until`, a timer or a datagram, and deals with what there is.
    async fn turn(&mut self, until: Instant) {
        let until = self.engine.ground.timers.next().map_or(until, |at| at.min(until));
        self.sockets.wait(until).await;
        for number in 0..self.sockets.len() {
            for _ in 0..BATCH {
                let Some((from, octets)) = self.sockets.receive(number) else { break };
                self.engine.ground.now = Instant::now();
                self.engine.hear(number as u16, from, octets);
                if self.engine.ground.outbox.len() >= TOGETHER {
                    self.flush();
                }
            }
        }
        self.engine.ground.now = Instant::now();
        self.engine.expire();
        self.flush();
    }

    fn flush(&mut self) {
        self.sent += self.engine.ground.outbox.len() as u64;
        self.sockets.send(&mut self.engine.ground.outbox);
    }

    fn report(mut self, started_for: Duration) -> Report {
        let take = |engine: &mut Engine, procedure| {
            let tally = engine.tally(procedure);
            std::mem::replace(tally, Tally::new(&[])).count(started_for)
        };
        let kinds = self.mix.procedures().map(|one| (one.name(), take(&mut self.engine, one)));
        let mut kinds: BTreeMap<&'static str, Count> = kinds.collect();
        let total = match kinds.len() {
            1 => kinds.pop_first().map(|(_, count)| count).unwrap_or_default(),
            _ => Count::sum(&kinds),
        };
        let Engine { ground, received, most_in_flight, kept, .. } = self.engine;
        Report {
            scenario: self.scenario,
            rate_wanted: self.plan.rate,
            total,
            most_in_flight,
            messages_sent: self.sent,
            messages_received: received,
            repeated: ground.seen.repeated,
            late: ground.seen.late,
            unexpected: ground.seen.unexpected.0,
            responses: ground.seen.responses,
            kinds,
            silences: ground.entries.silences(),
            subscriptions: self.plan.subscribe.then(|| kept.kept()),
            ..Report::default()
        }
    }
}
