//! A UE with a soft USIM.

use crate::cli::{
    CallMethod, UeAnswer, UeCall, UeCommand, UeRegister, UeRegistration, UeScript, UeSession, Usim,
};
use crate::{ladder, signals};
use anyhow::Context;
use lab::provisioning;
use lab::ue::script::{ScriptArgs, run_script};
use lab::ue::{
    AnswerArgs, Answering, CallArgs, Credentials, Dial, Errand, Goal, Happening, Operator, Package,
    RegisterArgs, Role, Standalone, SubscribeArgs, Then, run_answer, run_call, run_register, run_subscribe,
};
use std::io::{self, Write};
use std::time::Duration;

pub(crate) fn run(command: UeCommand) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            UeCommand::Register(args) => run_register(stay(args), tell, signals::end()).await?,
            UeCommand::Subscribe(args) => {
                let plan =
                    SubscribeArgs { register: stay(args.register), package: args.event, role: args.role };
                run_subscribe(plan, tell, signals::end()).await?;
            }
            UeCommand::Call(args) => run_call(call(*args), tell, signals::end()).await?,
            UeCommand::Answer(args) => run_answer(answer(*args), tell, signals::end()).await?,
            UeCommand::Script(args) => {
                let name = args.file.display().to_string();
                run_script(steps(*args)?, tell, signals::end()).await.context(name)?;
            }
        }
        Ok(())
    })
}

fn stay(args: UeRegister) -> RegisterArgs {
    RegisterArgs { stay: args.stay.map(Duration::from_secs), ..registration(args.as_whom) }
}

fn registration(args: UeRegistration) -> RegisterArgs {
    RegisterArgs {
        impi: args.who.impi,
        proxy: args.who.proxy,
        impu: args.impu,
        transport: args.who.transport,
        credentials: credentials(&args.who.usim),
        expires: args.expires,
        path: args.path,
        stay: None,
        on_reauth: args.on_reauth,
        listen: args.listen,
        record_route: true,
    }
}

/// Registration, whether there is none, and what is subscribed to.
fn session(args: UeSession) -> (RegisterArgs, bool, Option<(Package, Role)>) {
    let register = RegisterArgs { record_route: !args.no_record_route, ..registration(args.as_whom) };
    (register, args.no_register, args.subscribe.map(|package| (package, Role::Ue)))
}

fn call(args: UeCall) -> CallArgs {
    let (register, unregistered, subscribe) = session(args.session);
    let errand = match args.method {
        CallMethod::Invite => Errand::Call {
            dial: Dial {
                session_expires: args.session_expires,
                reliable: args.prack,
                privacy: args.privacy,
                late_offer: args.late_offer,
                headers: args.header,
                ..Dial::to(&args.to)
            },
            hold: Duration::from_secs_f64(args.hold),
            ring_timeout: Duration::from_secs_f64(args.ring_timeout),
            cancel_after: args.cancel_after.map(Duration::from_secs_f64),
            reinvite: args.reinvite,
            update: args.update,
        },
        CallMethod::Message | CallMethod::Options => {
            let mut request = if args.method == CallMethod::Message {
                Standalone::message(&args.to, &args.body.unwrap_or_default())
            } else {
                Standalone::options(&args.to)
            };
            (request.privacy, request.headers) = (args.privacy, args.header);
            Errand::Send(request)
        }
    };
    let goal = match args.expect {
        Some(status) => Goal::Status(status),
        None if args.expect_bye => Goal::Bye,
        None => Goal::Done,
    };
    CallArgs { register, unregistered, subscribe, errand, goal }
}

fn steps(args: UeScript) -> anyhow::Result<ScriptArgs> {
    let name = args.file.display().to_string();
    let text =
        if name == "-" { io::read_to_string(io::stdin()) } else { std::fs::read_to_string(&args.file) };
    let script = text.context(name.clone())?.parse().context(name)?;
    Ok(ScriptArgs { register: registration(args.as_whom), script })
}

fn answer(args: UeAnswer) -> AnswerArgs {
    let (register, unregistered, subscribe) = session(args.session);
    let answering = Answering {
        ring: Duration::from_secs_f64(args.ring),
        then: match args.reject {
            Some(status) => Then::Reject(status),
            None if args.never => Then::Wait,
            None => Then::Answer,
        },
        hang_up_after: args.hangup_after.map(Duration::from_secs_f64),
        reliable: args.reliable,
        min_se: args.min_se,
        refresh: args.refresh,
    };
    let register = RegisterArgs { stay: args.stay.map(Duration::from_secs), ..register };
    AnswerArgs { register, unregistered, subscribe, answering, count: args.count }
}

/// What the USIM holds; the lab's unless given.
pub(crate) fn credentials(usim: &Usim) -> Credentials {
    let operator = match usim.opc {
        Some(opc) => Operator::Opc(opc),
        None => Operator::Op(usim.op.unwrap_or(provisioning::OP)),
    };
    Credentials { k: usim.k.unwrap_or(provisioning::K), operator }
}

fn tell(happening: &Happening) {
    let now = ladder::clock(&jiff::Timestamp::now().to_string());
    // Whoever reads may have gone; the UE goes on.
    let _ = writeln!(io::stdout(), "{now}  {happening}");
}
