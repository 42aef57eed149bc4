//! What `rollcall ue call` and `rollcall ue answer` do, from the first word to the last.

use super::{
    Answering, Call, CallEvent, Calls, Dial, End, Error, Happening, Package, RegisterArgs, Role, Standalone,
    State, Subscribed, Then, Ue, audience::Audience,
};
use std::{future::Future, pin::pin, time::Duration};
use tokio::time::{sleep, timeout};

/// How long an answer to the BYE that ends what is left is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a call is to come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Goal {
    /// It is answered, held and ended by this UE; or, if so told, given up with 487.
    #[default]
    Done,
    /// The INVITE, or the request in its place, is finally answered with that status code.
    Status(u16),
    /// The far side or the network ends it with BYE.
    Bye,
}

/// What is sent.
#[derive(Clone, Debug)]
pub enum Errand {
    /// A call.
    Call {
        /// How it is made.
        dial: Dial,
        /// How long it is held.
        hold: Duration,
        /// How long it may ring.
        ring_timeout: Duration,
        /// Gives it up that long after the INVITE.
        cancel_after: Option<Duration>,
        /// Sends a re-INVITE once it is established.
        reinvite: bool,
        /// Sends UPDATE once it is established.
        update: bool,
    },
    /// One request without dialog.
    Send(Standalone),
}

/// Whom to call, as whom, and what is to come of it.
#[derive(Clone, Debug)]
pub struct CallArgs {
    /// The registration.
    pub register: RegisterArgs,
    /// Calls without registering: the proxy is a UE or an application server.
    pub unregistered: bool,
    /// Subscribes to the registration state meanwhile, so that re-authentication is asked for.
    pub subscribe: Option<(Package, Role)>,
    /// What is sent.
    pub errand: Errand,
    /// What is to come of it.
    pub goal: Goal,
}

/// How to answer, as whom, and how often.
#[derive(Clone, Debug)]
pub struct AnswerArgs {
    /// The registration; `stay` is how long it answers at most.
    pub register: RegisterArgs,
    /// Answers without registering.
    pub unregistered: bool,
    /// Subscribes to the registration state meanwhile, so that re-authentication is asked for.
    pub subscribe: Option<(Package, Role)>,
    /// How calls and messages are answered.
    pub answering: Answering,
    /// Ends after so many calls and messages.
    pub count: Option<u32>,
}

/// Registers, calls, holds, ends and deregisters; it fails unless the goal was reached. `on` hears everything; `stop`
/// ends it early, politely.
pub async fn run_call(
    args: CallArgs,
    on: impl FnMut(&Happening),
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    Audience::follow(args.register.config().await?, on, stop, async |ue, audience| {
        let subscribed = arrive(ue, args.unregistered, args.subscribe, audience).await?;
        let reached = errand(ue, &args, audience).await;
        // Who is released because of the registration has none to end.
        let left = leave(ue, args.unregistered, subscribed.as_ref(), audience).await;
        reached.and(if args.goal == Goal::Bye { Ok(()) } else { left })
    })
    .await
}

/// Registers and answers; it fails unless so many calls and messages came as were to be answered, and all of them ended
/// as set out.
pub async fn run_answer(
    args: AnswerArgs,
    on: impl FnMut(&Happening),
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    Audience::follow(args.register.config().await?, on, stop, async |ue, audience| {
        // An unregistered UE may be called at once.
        let mut calls = ue.answering(args.answering);
        let subscribed = arrive(ue, args.unregistered, args.subscribe, audience).await?;
        let answered = answer(&args, &mut calls, audience).await;
        let left = leave(ue, args.unregistered, subscribed.as_ref(), audience).await;
        answered.and(left)
    })
    .await
}

async fn arrive(
    ue: &Ue,
    unregistered: bool,
    subscribe: Option<(Package, Role)>,
    audience: &mut Audience<impl FnMut(&Happening), impl Future<Output = ()>>,
) -> Result<Option<Subscribed>, Error> {
    if unregistered {
        return Ok(None);
    }
    audience.during(ue.register()).await?;
    let Some((package, role)) = subscribe else { return Ok(None) };
    audience.during(ue.subscribe(package, role)).await.map(Some)
}

async fn leave(
    ue: &Ue,
    unregistered: bool,
    subscribed: Option<&Subscribed>,
    audience: &mut Audience<impl FnMut(&Happening), impl Future<Output = ()>>,
) -> Result<(), Error> {
    if unregistered {
        // The last answer may still have to be repeated.
        audience.throughout(sleep(Duration::from_millis(300))).await;
        return Ok(());
    }
    audience.goodbye(ue, subscribed).await
}

async fn errand(
    ue: &Ue,
    args: &CallArgs,
    audience: &mut Audience<impl FnMut(&Happening), impl Future<Output = ()>>,
) -> Result<(), Error> {
    let goal = args.goal;
    match &args.errand {
        Errand::Send(request) => {
            let answer = audience.during(ue.send(request.clone())).await?;
            let wanted = match goal {
                Goal::Status(status) => answer.status == status,
                Goal::Done => answer.status / 100 == 2,
                Goal::Bye => return Err(Error::Missed("only a call can be ended by BYE")),
            };
            if wanted { Ok(()) } else { Err(Error::refused_with(answer.status)) }
        }
        Errand::Call { dial, .. } => {
            let mut call = ue.call(dial.clone())?;
            let outcome = audience.during(follow(&mut call, &args.errand, goal)).await;
            if call.record().state != State::Ended {
                let _ = audience.throughout(timeout(PATIENCE, call.hang_up())).await;
            }
            outcome?;
            if call.record().faults.is_empty() {
                Ok(())
            } else {
                Err(Error::Missed("the network or the far side broke the protocol"))
            }
        }
    }
}

async fn follow(call: &mut Call, errand: &Errand, goal: Goal) -> Result<(), Error> {
    let Errand::Call { hold, ring_timeout, cancel_after, reinvite, update, .. } = errand else {
        return Ok(());
    };
    if let Some(after) = cancel_after {
        return give_up(call, *after, goal).await;
    }
    match (timeout(*ring_timeout, call.established()).await, goal) {
        (Err(_), _) => {
            call.cancel().await?;
            return Err(Error::Missed("nobody answered in time"));
        }
        (Ok(Err(Error::Refused { status, .. })), Goal::Status(wanted)) if status == wanted => return Ok(()),
        (Ok(Err(why)), _) => return Err(why),
        (Ok(Ok(())), Goal::Status(wanted)) if call.record().status != Some(wanted) => {
            return Err(Error::Missed("it was answered"));
        }
        (Ok(Ok(())), _) => {}
    }
    if *reinvite {
        succeeded(call.reinvite().await?)?;
    }
    if *update {
        succeeded(call.update().await?)?;
    }
    match (timeout(*hold, call.ended()).await, goal) {
        (Ok(Ok(End::Released { .. })), Goal::Bye) => Ok(()),
        (Ok(Ok(_)), _) => Err(Error::Missed("it ended before it was to end")),
        (Ok(Err(why)), _) => Err(why),
        (Err(_), Goal::Bye) => Err(Error::Missed("no BYE came")),
        (Err(_), _) => succeeded(call.hang_up().await?),
    }
}

async fn give_up(call: &mut Call, after: Duration, goal: Goal) -> Result<(), Error> {
    let settled = call.until(|record| !matches!(record.state, State::Setup | State::Ringing));
    let status = match timeout(after, settled).await {
        Ok(record) => record?.status.unwrap_or(0),
        Err(_) => call.cancel().await?,
    };
    let wanted = if let Goal::Status(status) = goal { status } else { 487 };
    if status == wanted {
        return Ok(());
    }
    Err(if status / 100 == 2 {
        Error::Missed("it was answered before it was given up")
    } else {
        Error::refused_with(status)
    })
}

fn succeeded(status: u16) -> Result<(), Error> {
    if status / 100 == 2 {
        return Ok(());
    }
    Err(Error::refused_with(status))
}

async fn answer(
    args: &AnswerArgs,
    calls: &mut Calls,
    audience: &mut Audience<impl FnMut(&Happening), impl Future<Output = ()>>,
) -> Result<(), Error> {
    let (mut answered, mut wrong) = (0, None);
    let mut open: Vec<Call> = Vec::new();
    let longest = args.register.stay.unwrap_or(Duration::from_secs(u32::MAX.into()));
    let mut over = pin!(sleep(longest));
    while args.count.is_none_or(|count| answered < count) {
        let happening = tokio::select! {
            happening = audience.happenings.recv() => happening,
            Some(call) = calls.next() => {
                open.retain(|call| call.record().state != State::Ended);
                open.push(call);
                continue;
            }
            () = &mut over => break,
            () = &mut audience.stop => break,
        };
        let Some(happening) = happening else { break };
        (audience.on)(&happening);
        match &happening {
            Happening::Call { event: CallEvent::Ended(end), .. } => {
                answered += 1;
                if !as_set_out(end, args.answering.then) {
                    wrong = Some("a call did not end as set out");
                }
            }
            Happening::Call { event: CallEvent::Fault(_), .. } => {
                wrong = Some("the network or the far side broke the protocol");
            }
            Happening::Messaged { method, .. } if method == "MESSAGE" => answered += 1,
            Happening::Failed { .. } => wrong = Some("the registration or subscription could not be kept"),
            Happening::Deregistered { .. } => return Err(Error::Missed("deregistered by the network")),
            Happening::Sent { .. }
            | Happening::Received { .. }
            | Happening::Unreadable { .. }
            | Happening::Resynchronising
            | Happening::Registered { .. }
            | Happening::Subscribed { .. }
            | Happening::Notified(_)
            | Happening::Asked { .. }
            | Happening::Reauthenticated
            | Happening::AnsweredWrongly { .. }
            | Happening::Call { .. }
            | Happening::Messaged { .. } => {}
        }
    }
    for call in open.iter().filter(|call| call.record().state != State::Ended) {
        let _ = audience.throughout(timeout(PATIENCE, call.hang_up())).await;
    }
    match wrong {
        Some(why) => Err(Error::Missed(why)),
        None if args.count.is_some_and(|count| answered < count) => {
            Err(Error::Missed("fewer calls and messages came than were to be answered"))
        }
        None => Ok(()),
    }
}

fn as_set_out(end: &End, then: Then) -> bool {
    match (then, end) {
        (Then::Answer, End::Released { .. }) | (Then::Wait, End::Cancelled { .. }) => true,
        (Then::Answer, End::HungUp { status }) => status / 100 == 2,
        (Then::Reject(wanted), End::Refused { status }) => wanted == *status,
        _ => false,
    }
}
