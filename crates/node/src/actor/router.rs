//! Whose request it is: the core reads the key off the message, the directory knows who holds a public identity.

use super::duties::Owed;
use crate::shell::Shell;
use scscf::locate::{Located, locate};
use scscf::{Event, Impi, Impu, Rejection, ServerTx, Source};
use sip::Request;
use sip::transaction::Flow;
use std::rc::Rc;
use store::Pending;

impl Shell {
    /// Brings a request to its user.
    pub(crate) fn route(self: &Rc<Self>, tx: ServerTx, request: Request, flow: &Flow) {
        self.telemetry.requested(request.method());
        if self.draining.get() {
            self.unavailable(tx, &request);
            return;
        }
        let address = flow.remote.ip();
        let source = Source { address, trusted: self.transport.is_trusted(address) };
        match locate(&request, &self.policy.tokens, &self.policy.domain) {
            Ok(Located::User(impi)) => self.deliver_request(&impi, tx, request, source),
            Ok(Located::Identity(impu)) => self.route_by_identity(tx, request, source, impu),
            Err(rejection) => self.refuse(tx, &request, &rejection),
        }
    }

    fn route_by_identity(self: &Rc<Self>, tx: ServerTx, request: Request, source: Source, impu: Impu) {
        match self.store.holders(&impu) {
            Pending::Ready(found) => self.route_to_holder(tx, request, source, &impu, found),
            Pending::Later(finding) => {
                let shell = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    let found = finding.await;
                    shell.route_to_holder(tx, request, source, &impu, found);
                });
            }
        }
    }

    fn route_to_holder(
        self: &Rc<Self>,
        tx: ServerTx,
        request: Request,
        source: Source,
        impu: &Impu,
        found: Result<Vec<Impi>, store::Error>,
    ) {
        let Ok(holders) = found else {
            self.unavailable(tx, &request);
            return;
        };
        // Nobody holds it: a user of that name owns nothing, and the core says what such a user answers.
        match holders.into_iter().next().or_else(|| namesake(impu)) {
            Some(impi) => self.deliver_request(&impi, tx, request, source),
            None => self.failed(tx, &request),
        }
    }

    fn deliver_request(self: &Rc<Self>, impi: &Impi, tx: ServerTx, request: Request, source: Source) {
        let owed = Owed::Sip(tx, request.clone());
        self.deliver(impi, Event::Request { tx, request, source }, Some(owed));
    }

    fn refuse(self: &Rc<Self>, tx: ServerTx, request: &Request, rejection: &Rejection) {
        self.respond(tx, rejection.response(request, &self.tag(), &self.policy.domain));
    }
}

/// The private identity that a public one suggests: what stands behind its scheme.
fn namesake(impu: &Impu) -> Option<Impi> {
    let text = impu.as_str();
    Impi::new(text.split_once(':').map_or(text, |(_, rest)| rest))
}
