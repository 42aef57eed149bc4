//! Requests of the HSS: each goes to the users it concerns, and is answered once for all of them.

use crate::actor::delivery::abroad;
use crate::actor::parcel::Parcel;
use crate::shell::Shell;
use crate::word::Word;
use ahash::AHashMap;
use diameter::Message;
use diameter::cx::{decode_demand_with, encode_demand_answer};
use diameter::pool::LinkId;
use scscf::cx::{Demand, DemandAnswer, ResultCode};
use scscf::{CxTx, Impi};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Requests that wait for the users they concern.
#[derive(Default)]
pub(super) struct Demands {
    open: RefCell<AHashMap<u64, Demanded>>,
    /// Which request each user's answer belongs to.
    parts: RefCell<AHashMap<CxTx, u64>>,
    next: Cell<u64>,
}

struct Demanded {
    link: LinkId,
    message: Message,
    waiting: usize,
    answers: Vec<DemandAnswer>,
}

/// Requests that may wait; more are answered DIAMETER_TOO_BUSY.
const MOST: usize = 10_000;

impl Demands {
    pub(super) fn open(&self) -> usize {
        self.open.borrow().len()
    }

    fn draw(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }
}

impl Shell {
    pub(super) fn took_demand(self: &Rc<Self>, link: LinkId, message: Message) {
        self.telemetry.cx_demands.inc();
        let cx = &self.cx;
        let read = decode_demand_with(&message, &cx.identity, |octets| cx.profiles.borrow_mut().read(octets));
        let demand = match read {
            Ok(demand) if cx.demands.open() < MOST => demand,
            Ok(_) => {
                let busy = DemandAnswer::of(ResultCode::TOO_BUSY);
                let answer = encode_demand_answer(&message, &busy, &cx.identity);
                self.converse_cx(|pool, now, out| pool.answer(link, answer, now, out));
                return;
            }
            Err(answer) => {
                self.converse_cx(|pool, now, out| pool.answer(link, answer, now, out));
                return;
            }
        };
        let concerned = concerned(&demand);
        let octets = message.encode();
        let whole = cx.demands.draw();
        let demanded = Demanded { link, message, waiting: concerned.len(), answers: Vec::new() };
        cx.demands.open.borrow_mut().insert(whole, demanded);
        for impi in concerned {
            let tx = CxTx(cx.demands.draw());
            cx.demands.parts.borrow_mut().insert(tx, whole);
            let demand = addressed(&demand, &impi);
            self.bring(&impi, Parcel::Demand { tx, demand, octets: octets.clone() });
        }
    }

    /// A request of the HSS that another node took, as it reaches a user of ours.
    pub(crate) fn read_demand(&self, message: &Message, impi: &Impi) -> Option<Demand> {
        let cx = &self.cx;
        let read = decode_demand_with(message, &cx.identity, |octets| cx.profiles.borrow_mut().read(octets));
        read.ok().map(|demand| addressed(&demand, impi))
    }

    /// One user's answer; the last one sends the answer of all.
    pub(crate) fn answer_demand(self: &Rc<Self>, tx: CxTx, answer: DemandAnswer) {
        if let Some((slot, number)) = abroad(tx.0) {
            self.say(slot, &Word::DemandAnswer { number, answer });
            return;
        }
        let demands = &self.cx.demands;
        let Some(whole) = demands.parts.borrow_mut().remove(&tx) else { return };
        let done = {
            let mut open = demands.open.borrow_mut();
            let Some(demanded) = open.get_mut(&whole) else { return };
            demanded.answers.push(answer);
            demanded.waiting -= 1;
            if demanded.waiting > 0 { None } else { open.remove(&whole) }
        };
        if let Some(Demanded { link, message, answers, .. }) = done {
            let answer = encode_demand_answer(&message, &together(answers), &self.cx.identity);
            self.converse_cx(|pool, now, out| pool.answer(link, answer, now, out));
        }
    }
}

/// The private user identities that a request concerns.
fn concerned(demand: &Demand) -> Vec<Impi> {
    let mut impis = vec![demand.impi().clone()];
    if let Demand::RegistrationTermination(rtr) = demand {
        for impi in &rtr.associated_identities {
            if !impis.contains(impi) {
                impis.push(impi.clone());
            }
        }
    }
    impis
}

/// The request as it reaches one of them.
fn addressed(demand: &Demand, impi: &Impi) -> Demand {
    let mut demand = demand.clone();
    if let Demand::RegistrationTermination(rtr) = &mut demand {
        rtr.impi = impi.clone();
    }
    demand
}

/// One answer of several: success if it is true of all who were known, limited if of some.
fn together(mut answers: Vec<DemandAnswer>) -> DemandAnswer {
    if answers.len() == 1 {
        return answers.remove(0);
    }
    let succeeded = |answer: &&DemandAnswer| {
        answer.result == ResultCode::SUCCESS || answer.result == ResultCode::LIMITED_SUCCESS
    };
    let known: Vec<&DemandAnswer> =
        answers.iter().filter(|answer| answer.result != ResultCode::USER_UNKNOWN).collect();
    let result = match known.iter().copied().find(succeeded) {
        Some(_) if known.iter().all(|answer| answer.result == ResultCode::SUCCESS) => ResultCode::SUCCESS,
        Some(_) => ResultCode::LIMITED_SUCCESS,
        None => known.first().map_or(ResultCode::USER_UNKNOWN, |answer| answer.result),
    };
    DemandAnswer {
        result,
        associated_identities: answers
            .iter()
            .flat_map(|answer| answer.associated_identities.clone())
            .collect(),
        emergency: answers.iter().flat_map(|answer| answer.emergency.clone()).collect(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use scscf::cx::{DeregistrationReason, RegistrationTermination};

    fn impi(name: &str) -> Impi {
        Impi::new(name).unwrap()
    }

    #[test]
    fn a_termination_reaches_each_identity_once_under_its_own_name() {
        let demand = Demand::RegistrationTermination(RegistrationTermination {
            impi: impi("a@x"),
            associated_identities: vec![impi("b@x"), impi("a@x"), impi("b@x")],
            impus: Vec::new(),
            reason: DeregistrationReason::PermanentTermination,
            reason_info: None,
        });
        assert_eq!(concerned(&demand), [impi("a@x"), impi("b@x")]);
        assert_eq!(addressed(&demand, &impi("b@x")).impi(), &impi("b@x"));
    }

    #[test]
    fn several_answers_become_one() {
        let of = DemandAnswer::of;
        let unknown = || of(ResultCode::USER_UNKNOWN);
        let deregistered =
            |name| DemandAnswer { associated_identities: vec![impi(name)], ..of(ResultCode::SUCCESS) };
        let all = together(vec![deregistered("a@x"), unknown(), deregistered("c@x")]);
        assert_eq!(all.result, ResultCode::SUCCESS);
        assert_eq!(all.associated_identities, [impi("a@x"), impi("c@x")]);
        assert_eq!(together(vec![unknown(), unknown()]).result, ResultCode::USER_UNKNOWN);
        let failed = || of(ResultCode::UNABLE_TO_COMPLY);
        assert_eq!(together(vec![unknown(), failed()]).result, ResultCode::UNABLE_TO_COMPLY);
        assert_eq!(together(vec![deregistered("a@x"), failed()]).result, ResultCode::LIMITED_SUCCESS);
    }
}
