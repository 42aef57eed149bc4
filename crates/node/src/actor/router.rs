//! Whose request it is: the core reads the key off the message, the directory knows who holds a public identity.

use super::parcel::Parcel;
use crate::shell::Shell;
use scscf::locate::{Located, locate};
use scscf::{Impi, Impu, Rejection, ServerTx, Source};
use sip::transaction::Flow;
use sip::{Method, Name, Request, Status};
use std::rc::Rc;
use store::Pending;

/// What an S-CSCF takes.
const METHODS: &str = "REGISTER, SUBSCRIBE, NOTIFY, INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, INFO, MESSAGE, REFER, PUBLISH, OPTIONS";

impl Shell {
    /// Brings a request to its user.
    pub(crate) fn route(self: &Rc<Self>, tx: ServerTx, request: Request, flow: &Flow) {
        self.telemetry.requested(request.method());
        if self.draining.get() {
            self.unavailable(tx, &request);
            return;
        }
        let source = Source { address: flow.remote.ip(), trusted: self.transport.is_trusted(flow.remote) };
        match locate(&request, &self.policy) {
            Ok(Located::User(impi)) => self.deliver_request(&impi, tx, request, source),
            Ok(Located::Identity(impu, number)) => self.route_by_identity(tx, request, source, impu, number),
            Ok(Located::Ourselves) => self.answer_for_ourselves(tx, &request),
            Err(rejection) => self.refuse(tx, &request, &rejection),
        }
    }

    /// Brings an ACK to a 2xx to its user; one that leads to nobody has nobody to hear of it.
    pub(crate) fn route_ack(self: &Rc<Self>, request: Request, flow: &Flow) {
        let source = Source { address: flow.remote.ip(), trusted: self.transport.is_trusted(flow.remote) };
        match locate(&request, &self.policy) {
            Ok(Located::User(impi)) => self.bring(&impi, Parcel::Ack { request, source }),
            Ok(Located::Identity(..) | Located::Ourselves) | Err(_) => {
                self.telemetry.unrouted.inc();
            }
        }
    }

    /// RFC 3261 §11: whoever asks the S-CSCF itself learns that it is there and what it takes.
    fn answer_for_ourselves(self: &Rc<Self>, tx: ServerTx, request: &Request) {
        if *request.method() == Method::Options {
            let response = request.respond(Status::OK, &self.tag()).header(Name::Allow, METHODS).finish();
            self.respond(tx, response);
        } else {
            let why = "the Request-URI names the network and no user";
            self.refuse(tx, request, &Rejection::new(Status::NOT_FOUND, "RFC 3261 §16.5", why));
        }
    }

    fn route_by_identity(
        self: &Rc<Self>,
        tx: ServerTx,
        request: Request,
        source: Source,
        impu: Impu,
        number: Option<Impu>,
    ) {
        match self.store.holders(&impu) {
            Pending::Ready(found) => self.route_to_holder(tx, request, source, impu, number, found),
            Pending::Later(finding) => {
                self.relays.sought(tx, &request);
                let shell = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    let found = finding.await;
                    if shell.relays.is_given_up(tx, &request) {
                        return;
                    }
                    shell.route_to_holder(tx, request, source, impu, number, found);
                });
            }
        }
    }

    fn route_to_holder(
        self: &Rc<Self>,
        tx: ServerTx,
        request: Request,
        source: Source,
        impu: Impu,
        number: Option<Impu>,
        found: Result<Vec<Impi>, store::Error>,
    ) {
        let Ok(holders) = found else {
            self.unavailable(tx, &request);
            return;
        };
        if let Some(number) = number.filter(|_| holders.is_empty()) {
            self.route_by_identity(tx, request, source, number, None);
            return;
        }
        // Nobody holds it: a user of that name owns nothing, and the core says what such a user answers.
        match holders.into_iter().next().or_else(|| namesake(&impu)) {
            Some(impi) => self.deliver_request(&impi, tx, request, source),
            None => self.failed(tx, &request),
        }
    }

    fn deliver_request(self: &Rc<Self>, impi: &Impi, tx: ServerTx, request: Request, source: Source) {
        self.relays.brought(tx, &request, impi);
        self.bring(impi, Parcel::Request { tx, request, source });
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
