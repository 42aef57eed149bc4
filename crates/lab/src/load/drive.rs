//! The loop of a run: starts what is due, hears what comes, sends again what was lost (RFC 3261 §17.1.2).

use super::{
    Error, Plan, Progress, Report,
    caller::{Caller, Heard, Phase, Template},
    report::Recorder,
};
use crate::provisioning::generated_name;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    future::{Future, poll_fn},
    net::SocketAddr,
    task::Poll,
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until},
};

const T1_MS: u32 = 500;
const T2_MS: u32 = 4_000;
const TIMER_F: Duration = Duration::from_secs(32);
/// Asked of the system for each socket, in octets.
const BUFFER: usize = 8 << 20;
/// How many users are registered at once before a run of re-registrations.
const PREPARING: u64 = 256;
/// How many causes of failure are told apart.
const CAUSES: usize = 64;

/// A run.
pub(super) struct Drive {
    plan: Plan,
    template: Template,
    sockets: Vec<(UdpSocket, SocketAddr)>,
    callers: Vec<Caller>,
    /// When a request is sent again or given up: its user and the CSeq it has.
    timers: BinaryHeap<Reverse<(Instant, u32, u32)>>,
    report: Report,
    challenge: Recorder,
    answer: Recorder,
    whole: Recorder,
    from_intended: Recorder,
    in_flight: u64,
    /// Successes that count for the rate achieved.
    succeeded_in_time: u64,
    starting: bool,
    measuring: bool,
    message: Vec<u8>,
}

fn socket(proxy: SocketAddr) -> std::io::Result<(UdpSocket, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(proxy), Type::DGRAM, Some(Protocol::UDP))?;
    // The system may grant less than it is asked for; then there are retransmissions, and they are counted.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.set_nonblocking(true)?;
    socket.connect(&proxy.into())?;
    let socket = UdpSocket::from_std(socket.into())?;
    let local = socket.local_addr()?;
    Ok((socket, local))
}

impl Drive {
    pub(super) fn new(plan: Plan, scenario: &'static str) -> Result<Self, Error> {
        if !plan.rate.is_finite() || plan.rate <= 0.0 || plan.rate > 1e6 {
            return Err(Error::Plan("the rate is above 0 and at most 1000000 per second"));
        }
        if plan.users == 0 || plan.first == 0 || plan.sockets == 0 || plan.sockets > 256 {
            return Err(Error::Plan(
                "users, the first of them and sockets count from 1; at most 256 sockets",
            ));
        }
        let sockets = (0..plan.sockets).map(|_| socket(plan.proxy)).collect::<Result<_, _>>()?;
        let now = Instant::now();
        let numbers = plan.first..plan.first.saturating_add(plan.users);
        Ok(Self {
            template: Template {
                uri: format!("sip:{}", plan.domain),
                domain: plan.domain.clone(),
                expires: plan.expires,
                key: plan.credentials.key(),
                run: rand::random(),
            },
            report: Report { scenario, rate_wanted: plan.rate, ..Report::default() },
            callers: numbers.map(|number| Caller::new(generated_name(number), now)).collect(),
            plan,
            sockets,
            timers: BinaryHeap::new(),
            challenge: Recorder::new(),
            answer: Recorder::new(),
            whole: Recorder::new(),
            from_intended: Recorder::new(),
            in_flight: 0,
            succeeded_in_time: 0,
            starting: false,
            measuring: false,
            message: Vec::with_capacity(2048),
        })
    }

    pub(super) async fn run(
        mut self,
        anew: bool,
        mut progress: impl FnMut(&Progress),
        stop: impl Future<Output = ()>,
    ) -> Result<Report, Error> {
        tokio::pin!(stop);
        // A socket takes nothing until the runtime has seen that it can be written to.
        for (socket, _) in &self.sockets {
            socket.writable().await?;
        }
        if anew {
            tokio::select! {
                () = self.prepare(&mut progress) => {}
                () = &mut stop => return Ok(self.report),
            }
            if !self.callers.iter().any(|caller| caller.registered) {
                let cause = self.report.failures.keys().next().cloned();
                return Err(Error::Prepare(cause.unwrap_or_default()));
            }
            self.report.failures.clear();
            self.report.retransmissions = 0;
        }
        self.measuring = true;
        self.starting = true;
        let begun = Instant::now();
        let users = self.callers.len() as u64;
        let planned = match self.plan.duration {
            Some(duration) => (duration.as_secs_f64() * self.plan.rate).floor() as u64,
            None => users,
        };
        let interval = self.plan.rate.recip();
        let due = |turn: u64| begun + Duration::from_secs_f64(turn as f64 * interval);
        let (mut turn, mut tell_at, mut stopped) = (0, begun, false);
        let mut started_for = Duration::ZERO;
        loop {
            let now = Instant::now();
            while turn < planned && !stopped && due(turn) <= now {
                self.start((turn % users) as usize, due(turn), anew);
                turn += 1;
            }
            if self.starting && (turn >= planned || stopped) {
                self.starting = false;
                started_for = begun.elapsed();
            }
            if now >= tell_at {
                progress(&self.progress(begun, planned));
                tell_at = now + Duration::from_millis(200);
            }
            if !self.starting && self.in_flight == 0 {
                break;
            }
            let next = if self.starting { due(turn).min(tell_at) } else { tell_at };
            tokio::select! {
                biased;
                () = &mut stop, if !stopped => stopped = true,
                () = self.turn(next) => {}
            }
        }
        progress(&self.progress(begun, planned));
        self.report.duration_s = started_for.as_secs_f64();
        self.report.rate_achieved = self.succeeded_in_time as f64 / started_for.as_secs_f64().max(interval);
        self.report.challenge = self.challenge.latency();
        self.report.answer = self.answer.latency();
        self.report.whole = self.whole.latency();
        self.report.whole_from_intended = self.from_intended.latency();
        Ok(self.report)
    }

    /// Registers everybody, a bounded number at a time.
    async fn prepare(&mut self, progress: &mut impl FnMut(&Progress)) {
        let begun = Instant::now();
        let (mut turn, mut tell_at) = (0, begun);
        while turn < self.callers.len() || self.in_flight > 0 {
            while turn < self.callers.len() && self.in_flight < PREPARING {
                self.start(turn, Instant::now(), false);
                turn += 1;
            }
            let now = Instant::now();
            if now >= tell_at {
                let mut told = self.progress(begun, self.callers.len() as u64);
                told.preparing = true;
                told.started = turn as u64;
                told.succeeded = told.started.saturating_sub(self.in_flight);
                progress(&told);
                tell_at = now + Duration::from_millis(200);
            }
            self.turn(tell_at).await;
        }
    }

    fn progress(&self, begun: Instant, planned: u64) -> Progress {
        Progress {
            preparing: false,
            elapsed: begun.elapsed(),
            planned,
            started: self.report.started,
            succeeded: self.report.succeeded,
            failed: self.report.failed,
            in_flight: self.in_flight,
            retransmissions: self.report.retransmissions,
        }
    }

    /// Waits until `until`, a timer or a datagram, and deals with what there is.
    async fn turn(&mut self, until: Instant) {
        let timer = self.timers.peek().map(|Reverse((at, ..))| *at);
        let until = timer.map_or(until, |at| at.min(until));
        let sockets = &self.sockets;
        let readable = poll_fn(|context| {
            // Every socket is asked, for each is to wake this task.
            let ready =
                sockets.iter().filter(|(socket, _)| socket.poll_recv_ready(context).is_ready()).count();
            if ready > 0 { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::select! {
            () = readable => {}
            () = sleep_until(until) => {}
        }
        let mut buffer = [0; 8192];
        for at in 0..self.sockets.len() {
            // A bound, so that starting on time does not starve under a flood of answers.
            for _ in 0..256 {
                match self.sockets[at].0.try_recv(&mut buffer) {
                    Ok(length) => self.hear(&buffer[..length]),
                    // A refusal of an earlier datagram, or nothing more to read.
                    Err(_) => break,
                }
            }
        }
        self.expire();
    }

    fn start(&mut self, number: usize, intended: Instant, anew: bool) {
        self.report.started += u64::from(self.measuring);
        let caller = &mut self.callers[number];
        if caller.phase != Phase::Idle {
            self.failed("the former registration of the user is still under way");
            return;
        }
        if anew && !caller.registered {
            self.failed("the user is not registered");
            return;
        }
        if !anew {
            caller.forget();
        }
        let now = Instant::now();
        caller.phase = Phase::Asking;
        caller.intended = intended;
        caller.begun = now;
        self.in_flight += 1;
        self.send(number, now);
    }

    fn send(&mut self, number: usize, now: Instant) {
        let caller = &mut self.callers[number];
        caller.advance();
        caller.sent = now;
        caller.interval_ms = T1_MS;
        self.transmit(number, now);
    }

    fn transmit(&mut self, number: usize, now: Instant) {
        let (socket, local) = &self.sockets[number % self.sockets.len()];
        let caller = &self.callers[number];
        caller.write(&self.template, number, *local, &mut self.message);
        // What the socket does not take now is as good as lost, and is sent again like anything lost.
        let _ = socket.try_send(&self.message);
        let again = now + Duration::from_millis(caller.interval_ms.into());
        self.timers.push(Reverse((again, number as u32, caller.cseq)));
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((at, number, cseq))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            let number = number as usize;
            let caller = &mut self.callers[number];
            if caller.phase == Phase::Idle || caller.cseq != cseq {
                continue;
            }
            if now.duration_since(caller.sent) >= TIMER_F {
                self.end(number, Some("no answer (Timer F)"));
                continue;
            }
            caller.interval_ms = (caller.interval_ms * 2).min(T2_MS);
            self.report.retransmissions += 1;
            self.transmit(number, now);
        }
    }

    fn hear(&mut self, octets: &[u8]) {
        let Some(heard) = Heard::read(octets, self.template.run) else { return };
        let Some(caller) = self.callers.get_mut(heard.number) else { return };
        if caller.cseq != heard.cseq || caller.phase == Phase::Idle {
            return;
        }
        let now = Instant::now();
        match (heard.status, caller.phase) {
            (..200, _) => caller.interval_ms = T2_MS,
            (200..300, _) => {
                if self.measuring {
                    self.answer.record(now - caller.sent);
                    self.whole.record(now - caller.begun);
                    self.from_intended.record(now - caller.intended);
                }
                caller.registered = true;
                self.end(heard.number, None);
            }
            (401, Phase::Asking) => {
                if self.measuring {
                    self.challenge.record(now - caller.sent);
                }
                caller.phase = Phase::Answering;
                if caller.challenged(&self.template, heard.nonce, heard.realm) {
                    self.send(heard.number, now);
                } else {
                    self.end(heard.number, Some("a challenge that cannot be answered"));
                }
            }
            _ => self.end(heard.number, Some(heard.line)),
        }
    }

    fn end(&mut self, number: usize, cause: Option<&str>) {
        self.callers[number].phase = Phase::Idle;
        self.in_flight -= 1;
        match cause {
            Some(cause) => self.failed(cause),
            None if self.measuring => {
                self.report.succeeded += 1;
                self.succeeded_in_time += u64::from(self.starting);
            }
            None => {}
        }
    }

    fn failed(&mut self, cause: &str) {
        self.report.failed += u64::from(self.measuring);
        let failures = &mut self.report.failures;
        // Causes come from the network: a flood of different ones must not grow the table for ever.
        let cause = if failures.len() < CAUSES || failures.contains_key(cause) { cause } else { "other" };
        if let Some(count) = failures.get_mut(cause) {
            *count += 1;
        } else {
            failures.insert(cause.to_owned(), 1);
        }
    }
}
