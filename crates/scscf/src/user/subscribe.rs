//! TS 24.229 §5.4.2.1.1 — subscription to the registration state.
//!
//! Who may subscribe is told by P-Asserted-Identity, which is believed from the trust domain alone. A trusted sender that
//! asserts nobody speaks for itself: P-Preferred-Identity, or else From, is then the identity. Networks with a P-CSCF
//! always have the assertion; in a laboratory the UE may itself be the trusted sender.

use super::notify::contact;
use super::{RegSubscription, Step, Subscriber, SubscriptionKind, User};
use crate::event::{ServerTx, Source};
use crate::rejection::{Rejection, Remedy};
use crate::token::TokenKind;
use crate::{Effect, Impu, Span, SubscriptionId};
use sip::{ChargingVector, Contacts, Dialog, Malformed, Name, Request, Status, Uri, reginfo};

const CLAUSE: &str = "TS 24.229 §5.4.2.1.1";
const RFC_6665: &str = "RFC 6665 §4.2.1";

/// Option tags that a subscription may require, because nothing more has to be done for them here.
const UNDERSTOOD: [&str; 3] = ["gruu", "outbound", "path"];

/// The event packages of the registration state, offered or not.
const PACKAGES: [&str; 2] = ["reg", "registration-state"];

/// Allow-Events.
pub(crate) const fn offered(policy: &crate::policy::RegEvent) -> &'static str {
    if policy.legacy_enabled { "reg, registration-state" } else { "reg" }
}

impl User {
    /// A SUBSCRIBE: out of a dialog it creates a subscription, in a dialog it prolongs or ends one.
    pub(crate) fn subscribe(
        &mut self,
        tx: ServerTx,
        request: &Request,
        source: Source,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        let asked = Asked::of(request, step)?;
        if request.to_tag().is_some() {
            if !source.trusted {
                // Its dialog identifiers are no credentials, and its Contact would become the target of NOTIFYs.
                return Err(refusal(Status::FORBIDDEN, "the sender is not in the trust domain"));
            }
            return self.resubscribe(tx, request, &asked, step);
        }
        let watched = Impu::of(request.uri());
        if !self.is_bound(&watched) {
            return Err(refusal(Status::TEMPORARILY_UNAVAILABLE, "no contact is bound to the identity"));
        }
        let (subscriber, identity) = self.subscriber(request, source, &step.policy.domain)?;
        let tag = step.tag();
        let dialog = Dialog::accepted(request, &tag).map_err(malformed)?;
        let superseded = self.superseded(&dialog, &asked, subscriber, identity.as_str());
        if superseded.is_none() && self.subscriptions.len() >= step.policy.reg_event.max_subscriptions {
            return Err(refusal(Status::FORBIDDEN, "the user has as many subscriptions as it may have"));
        }
        let vector = request.charging_vector().map_err(malformed)?;
        if let Some(superseded) = superseded {
            self.end_subscription(superseded, step);
        }
        let id = SubscriptionId(step.mint());
        let icid = match &vector {
            Some(vector) => vector.icid_value.clone(),
            None => format!("{:016x}", step.mint()).into(),
        };
        let subscription = RegSubscription {
            dialog,
            kind: asked.kind,
            event_id: asked.event_id.clone(),
            subscriber,
            subscriber_uri: identity.as_str().into(),
            bindings: match subscriber {
                Subscriber::Ue => self.bindings_behind(request, step),
                Subscriber::PCscf | Subscriber::As => Vec::new(),
            },
            expires_at: step.now() + Span::seconds(asked.expires.into()),
            version: 0,
            icid: Some(icid),
            orig_ioi: vector.and_then(|vector| vector.orig_ioi),
            in_flight: None,
            stale: false,
            demand: false,
            departed: Vec::new(),
            ending: (asked.expires == 0).then(|| "timeout".into()),
            last_notify: None,
        };
        self.subscriptions.insert(id, Box::new(subscription));
        step.say(format!("{identity} subscribed for {} s", asked.expires));
        self.accept_subscribe(tx, request, id, asked.expires, &tag, step);
        Ok(())
    }

    /// A SUBSCRIBE in the dialog of a subscription.
    fn resubscribe(
        &mut self,
        tx: ServerTx,
        request: &Request,
        asked: &Asked,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        let found = self.subscriptions.iter_mut().find(|(_, subscription)| {
            subscription.ending.is_none()
                && subscription.dialog.holds(request)
                && subscription.kind == asked.kind
                && subscription.event_id == asked.event_id
        });
        let Some((&id, subscription)) = found else {
            return Err(refusal(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST, "no such subscription"));
        };
        subscription.dialog.received(request).map_err(|out_of_order| {
            Rejection::new(Status::SERVER_INTERNAL_ERROR, "RFC 3261 §12.2.2", out_of_order.to_string())
        })?;
        subscription.expires_at = step.now() + Span::seconds(asked.expires.into());
        if asked.expires == 0 {
            subscription.ending = Some("timeout".into());
        }
        step.say(format!(
            "{} prolonged its subscription by {} s",
            subscription.subscriber_uri, asked.expires
        ));
        self.accept_subscribe(tx, request, id, asked.expires, "", step);
        Ok(())
    }

    /// The 200, and after it the NOTIFY that every SUBSCRIBE gets.
    fn accept_subscribe(
        &mut self,
        tx: ServerTx,
        request: &Request,
        id: SubscriptionId,
        expires: u32,
        tag: &str,
        step: &mut Step<'_>,
    ) {
        let mut response = request.respond(Status::OK, tag);
        for route in request.lines(Name::RecordRoute) {
            response = response.header(Name::RecordRoute, route);
        }
        response = response
            .header(Name::Contact, contact(id, &self.impi, step.policy))
            .header(Name::Expires, expires);
        if let Ok(Some(vector)) = request.charging_vector() {
            let vector = ChargingVector { term_ioi: Some(step.policy.domain.clone()), ..vector };
            response = response.header(Name::PChargingVector, vector);
        }
        step.effect(Effect::Respond { tx, response: response.finish() });
        self.notify(id, step);
    }

    /// A SUBSCRIBE for the S-CSCF itself: in a dialog of ours, or to the registration state of this user. Any other goes on its
    /// way like other requests.
    pub(crate) fn watches_registration(&self, request: &Request, policy: &crate::Policy) -> bool {
        let opened = request.uri().user().and_then(|user| policy.tokens.open(user));
        if matches!(opened, Some((TokenKind::RegEvent, _, _))) {
            return true;
        }
        let names_another_package = request
            .event()
            .is_ok_and(|event| event.is_some_and(|event| !PACKAGES.contains(&&*event.package)));
        if names_another_package {
            return false;
        }
        let routed = request.addresses(Name::Route).unwrap_or_default();
        let Some(top) = routed.first().map(|route| &route.uri) else { return true };
        match top.user().and_then(|user| policy.tokens.open(user)) {
            // A passage of somebody else's dialog, or the user's own word about another user.
            Some((TokenKind::RecordRoute | TokenKind::OriginalDialog, ..)) => false,
            Some((TokenKind::ServiceRoute, ..)) => {
                let named = Impu::of(request.uri());
                self.registration.set_of(&named).is_some() || self.registration.sets.is_empty()
            }
            Some((TokenKind::RegEvent | TokenKind::TemporaryGruu, ..)) | None => !top.has_param("orig"),
        }
    }

    /// Whether a contact is bound to `impu`: it belongs to a registered set and is not barred.
    fn is_bound(&self, impu: &Impu) -> bool {
        self.registration.sets.iter().any(|set| {
            !set.bindings.is_empty() && set.profile.identity(impu).is_some_and(|identity| !identity.barred)
        })
    }

    /// Who subscribes, and under which identity.
    fn subscriber(
        &self,
        request: &Request,
        source: Source,
        domain: &str,
    ) -> Result<(Subscriber, Uri), Rejection> {
        let identities = claimed_identities(request, source)?;
        let known = |uri: &Uri| {
            let impu = Impu::of(uri);
            self.registration.sets.iter().find_map(|set| set.profile.identity(&impu))
        };
        // (a) a public user identity of the user itself
        if let Some(own) = identities.iter().find(|uri| known(uri).is_some_and(|identity| !identity.barred)) {
            return Ok((Subscriber::Ue, own.clone()));
        }
        if identities.iter().any(|uri| known(uri).is_some()) {
            return Err(refusal(Status::FORBIDDEN, "the subscriber's identity is barred"));
        }
        // (b) an entity on the Path
        let bindings = || self.registration.sets.iter().flat_map(|set| &set.bindings);
        let path: Vec<Uri> = bindings()
            .flat_map(|binding| &binding.path)
            .filter_map(|value| Some(sip::NameAddr::parse(value).ok()?.uri))
            .collect();
        if let Some(edge) = identities.iter().find(|uri| path.iter().any(|hop| names_hop(uri, hop))) {
            return Ok((Subscriber::PCscf, edge.clone()));
        }
        // (c) an application server of the user's filter criteria
        let servers: Vec<Uri> = self
            .registration
            .sets
            .iter()
            .flat_map(|set| &set.profile.profiles)
            .flat_map(|profile| profile.criteria.iter())
            .filter_map(|criterion| Uri::parse(&criterion.application_server.server_name).ok())
            .collect();
        // The host of a server names it, unless that is the home network, where every subscriber is at home.
        let at_home = |host: &str| host.eq_ignore_ascii_case(domain);
        let is_at = |server: &Uri, host: &str| server.host().eq_ignore_ascii_case(host);
        let is_server = |uri: &Uri| {
            let is = |server: &Uri| {
                is_at(server, uri.host()) && (!at_home(uri.host()) || server.user() == uri.user())
            };
            servers.iter().any(is)
        };
        // The topmost Via is the neighbour's own word, Contact is whatever a UE writes into it.
        let sender = || {
            let via = request.via().host;
            !at_home(&via) && servers.iter().any(|server| is_at(server, &via))
        };
        match (identities.iter().find(|uri| is_server(uri)), identities.first()) {
            (Some(server), _) => Ok((Subscriber::As, server.clone())),
            (None, Some(claimed)) if sender() => Ok((Subscriber::As, claimed.clone())),
            _ => Err(refusal(Status::FORBIDDEN, "the subscriber may not watch this user")),
        }
    }

    /// The subscription that a new one takes the place of: the same subscriber, reached at the same place, lost its dialog.
    fn superseded(
        &self,
        dialog: &Dialog,
        asked: &Asked,
        subscriber: Subscriber,
        identity: &str,
    ) -> Option<SubscriptionId> {
        let same = |old: &RegSubscription| {
            old.kind == asked.kind
                && old.event_id == asked.event_id
                && old.subscriber == subscriber
                && *old.subscriber_uri == *identity
                && old.ending.is_none()
                && old.dialog.target.equivalent(&dialog.target)
                && Impu::of(&old.dialog.local.uri) == Impu::of(&dialog.local.uri)
        };
        self.subscriptions.iter().find(|(_, old)| same(old)).map(|(&id, _)| id)
    }

    /// The contact bindings of the UE that sent a request: those of its Contact, by URI or instance, or of its Service-Route;
    /// all of them when nothing tells.
    fn bindings_behind(&self, request: &Request, step: &Step<'_>) -> Vec<u64> {
        let contact = match request.contacts() {
            Ok(Contacts::List(contacts)) => contacts.into_iter().next(),
            Ok(Contacts::None | Contacts::Star) | Err(_) => None,
        };
        let instance = contact.as_ref().and_then(|contact| {
            let gruu = || contact.uri.param("gr").flatten();
            contact.param("+sip.instance").or_else(gruu).map(bare_instance)
        });
        let routed = request.addresses(Name::Route).ok().and_then(|routes| {
            let users = routes.iter().filter_map(|route| route.uri.user());
            let mut opened = users.filter_map(|user| step.policy.tokens.open(user));
            opened.find(|(kind, impi, _)| *kind == TokenKind::ServiceRoute && *impi == self.impi)
        });
        let bindings = || self.registration.sets.iter().flat_map(|set| &set.bindings);
        let by_uri = |binding: &&super::ContactBinding| {
            contact.as_ref().is_some_and(|contact| contact.uri.equivalent(&binding.uri))
        };
        let by_instance = |binding: &&super::ContactBinding| {
            binding.instance_id.as_deref().map(bare_instance).is_some_and(|own| instance == Some(own))
        };
        let by_route = |binding: &&super::ContactBinding| {
            routed.as_ref().is_some_and(|(_, _, discriminator)| *discriminator == binding.id)
        };
        let matches: [&dyn Fn(&&super::ContactBinding) -> bool; 4] =
            [&by_uri, &by_instance, &by_route, &|_| true];
        matches
            .iter()
            .map(|matches| bindings().filter(matches).map(|binding| binding.id).collect::<Vec<u64>>())
            .find(|found| !found.is_empty())
            .unwrap_or_default()
    }
}

/// What a SUBSCRIBE asks for, apart from whom it concerns.
struct Asked {
    kind: SubscriptionKind,
    event_id: Option<Box<str>>,
    expires: u32,
}

impl Asked {
    fn of(request: &Request, step: &Step<'_>) -> Result<Self, Rejection> {
        let policy = &step.policy.reg_event;
        let bad_event = |why: &'static str| {
            Rejection::new(Status::BAD_EVENT, RFC_6665, why).with(Remedy::AllowEvents(offered(policy)))
        };
        if request.values(Name::Event).nth(1).is_some() {
            return Err(refusal(Status::BAD_REQUEST, "one SUBSCRIBE asks for one event package"));
        }
        let event = request.event().map_err(malformed)?.ok_or_else(|| bad_event("no event package"))?;
        let kind = match &*event.package {
            "reg" => SubscriptionKind::Reg,
            "registration-state" if policy.legacy_enabled => SubscriptionKind::RegistrationState,
            _ => return Err(bad_event("the event package is not offered")),
        };
        let unknown: Vec<Box<str>> = request
            .options(Name::Require)
            .into_iter()
            .filter(|option| !UNDERSTOOD.iter().any(|known| option.eq_ignore_ascii_case(known)))
            .collect();
        if !unknown.is_empty() {
            return Err(Rejection::new(
                Status::BAD_EXTENSION,
                "RFC 3261 §8.2.2.3",
                "an extension is required",
            )
            .with(Remedy::Unsupported(unknown.join(", ").into())));
        }
        if request.has(Name::Accept) && !request.values(Name::Accept).any(|range| takes_reginfo(&range)) {
            return Err(refusal(Status::NOT_ACCEPTABLE, "registration information has one type")
                .with(Remedy::Accept(reginfo::CONTENT_TYPE)));
        }
        let expires = match request.expires().map_err(malformed)? {
            None => policy.default_expires,
            Some(0) => 0,
            Some(asked) if asked < policy.min_expires => {
                return Err(Rejection::new(
                    Status::INTERVAL_TOO_BRIEF,
                    RFC_6665,
                    "the subscription is too short",
                )
                .with(Remedy::MinExpires(policy.min_expires)));
            }
            Some(asked) => asked.min(policy.max_expires),
        };
        Ok(Self { kind, event_id: event.id, expires })
    }
}

fn refusal(status: Status, why: &'static str) -> Rejection {
    Rejection::new(status, CLAUSE, why)
}

fn malformed(malformed: Malformed) -> Rejection {
    Rejection::new(Status::BAD_REQUEST, "RFC 3261 §8.2", malformed.to_string())
}

/// The identities that a trusted sender asserts, or else its own; none of an untrusted one.
fn claimed_identities(request: &Request, source: Source) -> Result<Vec<Uri>, Rejection> {
    if !source.trusted {
        return Ok(Vec::new());
    }
    for name in [Name::PAssertedIdentity, Name::PPreferredIdentity] {
        let identities = request.addresses(name).map_err(malformed)?;
        if !identities.is_empty() {
            return Ok(identities.into_iter().map(|identity| identity.uri).collect());
        }
    }
    Ok(vec![request.from().uri])
}

/// Whether `uri` names the entity that put `hop` into Path.
///
/// The user part of a Path entry is the entity's own affair (a flow token, a dialog), so host and port decide; a URI without
/// port names the entity at any of its ports.
fn names_hop(uri: &Uri, hop: &Uri) -> bool {
    uri.is_sip()
        && uri.host().eq_ignore_ascii_case(hop.host())
        && (uri.port().is_none() || uri.port() == hop.port())
}

/// Whether a media range of Accept takes registration information.
fn takes_reginfo(range: &str) -> bool {
    let media = range.split(';').next().unwrap_or(range).trim();
    ["*/*", "application/*", reginfo::CONTENT_TYPE].iter().any(|taken| media.eq_ignore_ascii_case(taken))
}

/// An instance identifier without the angle brackets it has in Contact and lacks in a GRUU.
fn bare_instance(instance: &str) -> &str {
    instance.trim_start_matches('<').trim_end_matches('>')
}
