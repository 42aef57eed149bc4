//! How long users wait when their node dies: from the stroke to the first right answer, a table of moments. How many runs each
//! has says `ROLLCALL_FAILOVER_RUNS`; one without.

use crate::town::{Fault, Resident, SOON, Town, hangs_up, talk, town};
use e2e::{Answer, Phone, eventually};
use std::fmt::Write;
use std::time::{Duration, Instant};

const STRUCK: &str = "n2";

/// What is asked of the network right after the stroke.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The answer to a challenge of before.
    Challenged,
    /// A re-registration.
    Registered,
    /// A call to the user.
    Called,
    /// The end of a call.
    Talking,
}

impl Moment {
    const ALL: [Self; 4] = [Self::Challenged, Self::Registered, Self::Called, Self::Talking];

    /// One run: from the stroke to the right answer.
    fn run(self, town: &mut Town, fault: Fault, number: usize) -> Duration {
        let others = town.cluster.entries_but(STRUCK);
        let name = town.somebody_at(STRUCK, number);
        let mut phone = Phone::among(&name, &others);
        match self {
            Self::Challenged => {
                let challenge = phone.register_unprotected();
                let line = phone.contact_line(3600) + &phone.authorization(&challenge, Answer::Right, "yes");
                let struck = fault.strike(&mut town.cluster, STRUCK);
                let (answer, _) = phone.insist(fault.patience(), |phone| phone.register(&line));
                assert_eq!(answer.status(), 200, "{self:?}: {}", answer.all);
                struck.elapsed()
            }
            Self::Registered => {
                let mut resident = Resident::at(phone);
                let struck = fault.strike(&mut town.cluster, STRUCK);
                assert_eq!(resident.reregisters().status(), 200, "{self:?}");
                struck.elapsed()
            }
            Self::Called => {
                let mut callee = Resident::at(phone);
                let mut caller = neighbour(town, number);
                let struck = fault.strike(&mut town.cluster, STRUCK);
                calls(&mut caller, &mut callee, fault, struck)
            }
            Self::Talking => {
                let mut caller = Resident::at(phone);
                let mut callee = neighbour(town, number);
                let (mut ours, _) = talk(&mut caller, &mut callee);
                let struck = fault.strike(&mut town.cluster, STRUCK);
                hangs_up(&mut caller, &mut ours, &mut callee);
                struck.elapsed()
            }
        }
    }
}

fn neighbour(town: &Town, number: usize) -> Resident {
    Resident::at(Phone::among(&town.somebody_at("n1", number), &town.cluster.entries_but(STRUCK)))
}

/// Calls until the callee hears of it; how long after the stroke that was.
fn calls(caller: &mut Resident, callee: &mut Resident, fault: Fault, struck: Instant) -> Duration {
    let (name, route) = (callee.name(), caller.route.clone());
    loop {
        let sent = caller.phone.invite(&name, &route);
        let came = eventually(fault.patience(), || {
            let brief = Duration::from_millis(5);
            if let Some(invite) = callee.phone.wait(brief, |text| text.method() == "INVITE") {
                callee.phone.reply(&invite, 486, "");
                return Some(None);
            }
            caller.phone.wait(brief, |text| sent.is_answered_by(text)).map(Some)
        });
        let took = struck.elapsed();
        let refused = came.unwrap_or_else(|| panic!("the call neither comes nor fails"));
        let answer = refused.clone().unwrap_or_else(|| caller.phone.outcome(&sent));
        caller.phone.acknowledge_refusal(&sent, &answer);
        if refused.is_none() {
            return took;
        }
        assert!(took < fault.patience() + SOON, "refused too long: {}", answer.all);
        let after = answer.header("Retry-After").parse().unwrap_or(1);
        std::thread::sleep(Duration::from_secs(after));
    }
}

fn quantile(sorted: &[Duration], of: usize) -> f64 {
    let at = (sorted.len() * of).div_ceil(100).max(1) - 1;
    sorted.get(at).map_or(0.0, Duration::as_secs_f64)
}

#[test]
fn whoever_loses_its_node_is_answered_again_within_two_seconds() {
    let runs: usize =
        std::env::var("ROLLCALL_FAILOVER_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(1);
    let Some(mut town) = town(3) else { return };
    let mut table = format!(
        "{:<12}{:<10}{:>6}{:>8}{:>8}{:>8}   seconds\n",
        "moment", "fault", "runs", "p50", "p99", "max"
    );
    for fault in Fault::ALL {
        for moment in Moment::ALL {
            let mut times = Vec::new();
            for run in 0..runs {
                times.push(moment.run(&mut town, fault, run % 20));
                town.cluster.start_again(STRUCK);
                town.cluster.balances(Duration::from_secs(30));
            }
            times.sort();
            let [p50, p99, most] = [50, 99, 100].map(|of| quantile(&times, of));
            let _ = writeln!(
                table,
                "{:<12}{:<10}{runs:>6}{p50:>8.2}{p99:>8.2}{most:>8.2}",
                format!("{moment:?}"),
                format!("{fault:?}")
            );
            // A call that found nobody is made again when the network says so; that is the network's wish, not its absence.
            let asked_for = if matches!(moment, Moment::Called) { SOON } else { Duration::ZERO };
            assert!(most < (fault.patience() + asked_for).as_secs_f64(), "{table}");
        }
    }
    eprintln!("{table}");
}
