//! What `rollcall ue script` does: the steps in order, until one fails.

use super::{
    super::{
        Call, Calls, End, Error, Happening, Record, RegisterArgs, State, Subscribed, Ue, audience::Audience,
    },
    Deed, Script, ScriptError, Step, Wanted,
};
use std::{collections::BTreeMap, future::Future, time::Duration};
use tokio::time::{sleep, timeout};

/// What is followed, as whom.
#[derive(Clone, Debug)]
pub struct ScriptArgs {
    /// Who the UE is; it registers only where the script says so.
    pub register: RegisterArgs,
    /// The steps.
    pub script: Script,
}

/// What a script has come to.
struct Play {
    ue: Ue,
    calls: BTreeMap<String, Call>,
    coming: Option<Calls>,
    registered: bool,
    subscribed: Option<Subscribed>,
}

/// Follows a script; the first step that fails ends it, and a break of the protocol in any call makes it fail, too. What is
/// left of calls and registration is ended in any case.
pub async fn run_script(
    args: ScriptArgs,
    on: impl FnMut(&Happening),
    stop: impl Future<Output = ()>,
) -> Result<(), ScriptError> {
    let before = |error: Error| ScriptError { line: 0, why: error.to_string() };
    let config = args.register.config().await.map_err(before)?;
    let (ue, mut audience) = Audience::of(config, on, stop).await.map_err(before)?;
    let mut play = Play { ue, calls: BTreeMap::new(), coming: None, registered: false, subscribed: None };
    let mut outcome = Ok(());
    for (line, step) in &args.script.0 {
        let done = async { Ok(play.step(step).await) };
        if let Err(why) = audience.during(done).await.unwrap_or_else(|error| Err(error.to_string())) {
            outcome = Err(ScriptError { line: *line, why });
            break;
        }
    }
    audience.throughout(play.clear()).await;
    let last = args.script.0.last().map_or(0, |(line, _)| *line);
    if outcome.is_ok()
        && let Some((name, fault)) = play.fault()
    {
        outcome = Err(ScriptError { line: last, why: format!("{name}: protocol error: {fault}") });
    }
    audience.end(play.ue);
    outcome
}

impl Play {
    async fn step(&mut self, step: &Step) -> Result<(), String> {
        let told = |error: Error| error.to_string();
        match step {
            Step::Register { wrongly: false } => {
                self.ue.register().await.map_err(told)?;
                self.registered = true;
            }
            Step::Register { wrongly: true } => match self.ue.register_wrongly().await {
                Err(Error::Refused { .. }) => {}
                Ok(_) => return Err("a wrong answer was accepted".into()),
                Err(error) => return Err(told(error)),
            },
            Step::Subscribe { package, role } => {
                self.subscribed = Some(self.ue.subscribe(*package, *role).await.map_err(told)?);
            }
            Step::Deregister => {
                if let Some(subscribed) = self.subscribed.take() {
                    let _ = self.ue.unsubscribe(&subscribed).await;
                }
                self.ue.deregister().await.map_err(told)?;
                self.registered = false;
            }
            Step::Answering(how) => self.coming = Some(self.ue.answering(*how)),
            Step::Call { name, dial } => {
                let call = self.ue.call(dial.clone()).map_err(told)?;
                self.calls.insert(name.clone(), call);
            }
            Step::Await { name, within } => {
                let coming = self.coming.as_mut().ok_or("nothing was said about answering calls")?;
                let call = timeout(*within, coming.next()).await.ok().flatten();
                self.calls.insert(name.clone(), call.ok_or("no call came")?);
            }
            Step::Expect { name, wanted, within } => {
                expect(self.call(name)?, wanted, *within).await?;
            }
            Step::Count { name, method, number } => {
                let came = self.call(name)?.record().of(method).count();
                if came != *number {
                    return Err(format!("{came} of {method} came, not {number}"));
                }
            }
            Step::Do { name, deed } => act(self.call(name)?, deed).await?,
            Step::Send { request, status } => {
                let answer = self.ue.send(request.clone()).await.map_err(told)?;
                let fits = status.map_or(answer.status / 100 == 2, |status| answer.status == status);
                if !fits {
                    return Err(format!("it was answered {} {}", answer.status, answer.reason));
                }
            }
            Step::Wait(span) => sleep(*span).await,
        }
        Ok(())
    }

    fn call(&mut self, name: &str) -> Result<&mut Call, String> {
        self.calls.get_mut(name).ok_or_else(|| format!("there is no call '{name}'"))
    }

    fn fault(&self) -> Option<(String, String)> {
        let mut faulty = self.calls.iter().map(|(name, call)| (name, call.record().faults));
        faulty.find_map(|(name, faults)| Some((name.clone(), faults.first()?.to_string())))
    }

    /// Ends what is left.
    async fn clear(&mut self) {
        for call in self.calls.values().filter(|call| call.record().state != State::Ended) {
            let _ = timeout(Duration::from_secs(5), call.hang_up()).await;
        }
        if let Some(subscribed) = self.subscribed.take() {
            let _ = self.ue.unsubscribe(&subscribed).await;
        }
        if std::mem::take(&mut self.registered) {
            let _ = self.ue.deregister().await;
        }
    }
}

fn holds(record: &Record, wanted: &Wanted) -> bool {
    match (wanted, &record.end) {
        (Wanted::Ringing, _) => !record.provisional.is_empty(),
        (Wanted::Established, _) => record.state == State::Established,
        (Wanted::Refused(wanted), Some(End::Refused { status })) => wanted == status,
        (Wanted::Released(None), Some(End::Released { .. }))
        | (Wanted::Cancelled, Some(End::Cancelled { .. }))
        | (Wanted::HungUp, Some(End::HungUp { .. })) => true,
        (Wanted::Released(Some(text)), Some(End::Released { reason: Some(reason) })) => reason.contains(text),
        _ => false,
    }
}

async fn expect(call: &mut Call, wanted: &Wanted, within: Duration) -> Result<(), String> {
    let reached = call.until(|record| holds(record, wanted) || record.state == State::Ended);
    let reached = timeout(within, reached).await;
    let record = call.record();
    match (reached, &record.end) {
        (Ok(_), _) if holds(&record, wanted) => Ok(()),
        (_, Some(end)) => Err(format!("the call was {end}")),
        (_, None) => Err(format!("the call is {}", record.state)),
    }
}

async fn act(call: &Call, deed: &Deed) -> Result<(), String> {
    let (outcome, wanted) = match deed {
        Deed::PickUp => (call.answer().await, 200),
        Deed::Decline(status) => (call.reject(*status).await, *status),
        Deed::Cancel => (call.cancel().await, 487),
        Deed::HangUp => (call.hang_up().await, 200),
        Deed::Reinvite => (call.reinvite().await, 200),
        Deed::Update => (call.update().await, 200),
        Deed::Info(text) => (call.info(text).await, 200),
    };
    match outcome {
        Ok(status) if status == wanted => Ok(()),
        Ok(status) => Err(format!("it was answered {status}")),
        Err(error) => Err(error.to_string()),
    }
}
