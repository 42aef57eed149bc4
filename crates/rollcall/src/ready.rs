//! Whether a node serves.

use crate::api::Caller;
use crate::cli;
use std::io::{self, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &cli::Ready) -> anyhow::Result<()> {
    let caller = Caller::new(&args.api);
    let end = Instant::now() + Duration::from_secs(args.wait);
    loop {
        match caller.text("/readyz") {
            Ok(_) => return Ok(writeln!(io::stdout(), "{} is ready", args.api.api)?),
            Err(error) if Instant::now() >= end => return Err(error),
            Err(_) => sleep(PAUSE),
        }
    }
}
