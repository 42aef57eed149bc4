//! A UE with a soft USIM.

use crate::cli::{UeCommand, UeRegister, Usim};
use crate::{ladder, signals};
use lab::provisioning;
use lab::ue::{Credentials, Happening, Operator, RegisterArgs, SubscribeArgs, run_register, run_subscribe};
use std::io::{self, Write};
use std::time::Duration;

pub(crate) fn run(command: UeCommand) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            UeCommand::Register(args) => run_register(plan(args), tell, signals::end()).await?,
            UeCommand::Subscribe(args) => {
                let plan =
                    SubscribeArgs { register: plan(args.register), package: args.event, role: args.role };
                run_subscribe(plan, tell, signals::end()).await?;
            }
        }
        Ok(())
    })
}

fn plan(args: UeRegister) -> RegisterArgs {
    RegisterArgs {
        impi: args.who.impi,
        proxy: args.who.proxy,
        impu: args.impu,
        transport: args.who.transport,
        credentials: credentials(&args.who.usim),
        expires: args.expires,
        path: args.path,
        stay: args.stay.map(Duration::from_secs),
        on_reauth: args.on_reauth,
    }
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
