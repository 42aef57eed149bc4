//! An application server for the lab.

use crate::cli::As;
use crate::{ladder, signals};
use lab::as_::{ApplicationServer, Behaviour, Config, Listen, Timers, Wanted};
use std::io::{self, Write};
use std::time::Duration;

pub(crate) fn run(args: As) -> anyhow::Result<()> {
    let wanted = Wanted {
        mode: args.mode,
        status: args.status,
        to: args.to,
        delay_ms: args.delay_ms,
        progress: args.progress,
    };
    let config = Config {
        listen: args.listen,
        behaviour: Behaviour::try_from(wanted)?,
        record_route: !args.no_record_route,
        register_status: Some(args.as_register_status).filter(|status| *status > 0),
        s_cscf: args.s_cscf,
        s_cscf_name: args.s_cscf_name,
        http: args.http,
        timers: Timers::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = ApplicationServer::start(config).await?;
        let places: Vec<String> = server.addresses().iter().map(Listen::to_string).collect();
        let mut about = format!("application server: {} at {}", args.mode, places.join(", "));
        if let Some(http) = server.http() {
            about.push_str(&format!(", http://{http}/journal"));
        }
        writeln!(io::stdout(), "{about}; Ctrl-C ends it")?;
        let mut end = std::pin::pin!(signals::end());
        let mut last = 0;
        loop {
            let ended = tokio::time::timeout(Duration::from_millis(100), &mut end).await.is_ok();
            for entry in server.journal_after(last) {
                last = entry.number;
                let now = ladder::clock(&entry.at);
                // Whoever reads may have gone; the server goes on.
                let _ = writeln!(io::stdout(), "{now}  < {} {} from {}", entry.method, entry.uri, entry.from);
            }
            if ended {
                return Ok(());
            }
        }
    })
}
