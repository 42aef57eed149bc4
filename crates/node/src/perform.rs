//! Does what a step asked for, after its save.

use crate::actor::duties::Duties;
use crate::actor::parcel::Parcel;
use crate::actor::sending::{Relayed, Sending};
use crate::shell::Shell;
use scscf::{Effect, Impi, Impu, Purpose, SharedContact};
use sip::Method;
use std::collections::BTreeSet;
use std::rc::Rc;

impl Shell {
    pub(crate) fn perform(self: &Rc<Self>, impi: &Impi, duties: &Duties, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Respond { tx, response } => {
                    if response.status().is_final() {
                        duties.answered_sip(tx);
                    }
                    if response.cseq().method == Method::Register {
                        self.telemetry.registered(response.status());
                    }
                    self.respond(tx, response);
                }
                Effect::Send { purpose, request } => {
                    duties.ask();
                    match purpose {
                        Purpose::Notify(_) => self.telemetry.notifies.inc(),
                        Purpose::Refer => self.telemetry.refers.inc(),
                        Purpose::Release(..) => self.telemetry.releases.inc(),
                        Purpose::Relay(..) => self.telemetry.relayed.inc(),
                        Purpose::ThirdPartyRegister(_) => self.telemetry.third_party_registers.inc(),
                    };
                    self.send(Sending { impi: impi.clone(), purpose, request, relayed: None });
                }
                Effect::Relay { relay, branch, request, tx, mark } => {
                    duties.ask();
                    self.telemetry.relayed.inc();
                    let purpose = Purpose::Relay(relay, branch);
                    let relayed = Some(Relayed { tx, mark });
                    self.send(Sending { impi: impi.clone(), purpose, request, relayed });
                }
                Effect::Cancel { relay, branch, reason } => {
                    self.cancel_sent(impi, Purpose::Relay(relay, branch), reason.as_deref());
                }
                Effect::Pass { request } => self.pass(request, None),
                Effect::CxRequest { purpose, request } => {
                    duties.ask();
                    self.ask_hss(impi.clone(), purpose, &request);
                }
                Effect::CxAnswer { tx, answer } => {
                    duties.answered_cx(tx);
                    self.answer_demand(tx, answer);
                }
                Effect::Tell { ask, told } => {
                    duties.answered_ask(ask);
                    self.tell(ask, told);
                }
                Effect::TellSiblings { impus, contacts, also } => {
                    self.tell_siblings(impi, impus, contacts, also);
                }
            }
        }
    }

    fn tell_siblings(
        self: &Rc<Self>,
        impi: &Impi,
        impus: Vec<Impu>,
        contacts: Vec<SharedContact>,
        also: Vec<Impi>,
    ) {
        let (shell, impi) = (Rc::clone(self), impi.clone());
        // They hear it in their own time, as anything else from outside.
        tokio::task::spawn_local(async move {
            let mut siblings = BTreeSet::from_iter(also);
            for impu in &impus {
                match shell.store.holders(impu).wait().await {
                    Ok(holders) => siblings.extend(holders),
                    Err(error) => shell.store_failed(&impi, &error),
                }
            }
            siblings.remove(&impi);
            for sibling in siblings {
                shell.bring(&sibling, Parcel::Sibling { from: impi.clone(), contacts: contacts.clone() });
            }
        });
    }
}
