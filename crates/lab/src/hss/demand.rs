//! TS 29.228 §6.1.3, §6.2.1, RFC 6733 §8.3 — what the HSS asks of the S-CSCF that serves a user.

use super::{
    Hss,
    connection::Word,
    provision::Scheme,
    subscribers::{RegistrationState, Subscriber},
};
use bytes::Bytes;
use diameter::{Message, message::RETRANSMITTED, peer::Why};
use scscf::{
    Impi,
    cx::{
        Demand, DeregistrationReason, DigestCredentials, PushProfile, ReAuth, RegistrationTermination,
        ResultCode, Secret,
    },
    profile::ChargingAddresses,
};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Why a demand had no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Undelivered {
    #[error("{0} is not subscribed")]
    Unknown(Box<str>),
    #[error("no S-CSCF serves {0}")]
    NotServed(Box<str>),
    #[error("the S-CSCF of {0} is not connected")]
    NotConnected(Box<str>),
    #[error("the S-CSCF of {0} did not answer")]
    NotAnswered(Box<str>),
    #[error("no node {node} is connected; connected: {connected}")]
    NoNode { node: Box<str>, connected: String },
}

/// How many nodes are asked, one after another, when connections end before the answer.
const NODES: usize = 3;

/// How re-authentication is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum With {
    #[default]
    Rar,
    Ppr,
}

impl Hss {
    /// Asks the S-CSCF to have the user authenticate anew.
    pub(super) async fn reauthenticate(
        &self,
        impi: &str,
        with: With,
        via: Option<&str>,
    ) -> Result<ResultCode, Undelivered> {
        let name = self.subscribed(impi)?;
        let (demand, what) = match with {
            With::Rar => (Demand::ReAuth(ReAuth { impi: name }), "RAR"),
            With::Ppr => {
                let auth_data = Some(self.pushed_credentials(impi));
                (
                    Demand::PushProfile(PushProfile {
                        impi: name,
                        user_data: None,
                        charging: None,
                        auth_data,
                    }),
                    "PPR SIP-Auth-Data-Item",
                )
            }
        };
        self.demand(impi, &demand, None, what, via).await
    }

    /// Ends registrations of the user.
    pub(super) async fn terminate(
        &self,
        impi: &str,
        reason: DeregistrationReason,
        impus: Vec<Box<str>>,
        via: Option<&str>,
    ) -> Result<ResultCode, Undelivered> {
        let rtr = RegistrationTermination {
            impi: self.subscribed(impi)?,
            associated_identities: Vec::new(),
            impus,
            reason,
            reason_info: None,
        };
        let what = match reason {
            DeregistrationReason::PermanentTermination => "RTR PERMANENT_TERMINATION",
            DeregistrationReason::NewServerAssigned => "RTR NEW_SERVER_ASSIGNED",
            DeregistrationReason::ServerChange => "RTR SERVER_CHANGE",
            DeregistrationReason::RemoveScscf => "RTR REMOVE_S-CSCF",
        };
        let result = self.demand(impi, &Demand::RegistrationTermination(rtr), None, what, via).await?;
        let ended = matches!(result, ResultCode::SUCCESS | ResultCode::LIMITED_SUCCESS);
        if ended && reason != DeregistrationReason::NewServerAssigned {
            let mut subscribers = self.subscribers();
            subscribers.get_mut(impi).into_iter().for_each(Subscriber::release);
            self.keep(&subscribers, impi);
        }
        Ok(result)
    }

    /// Pushes the current profile, charging addresses, or both.
    pub(super) async fn push(
        &self,
        impi: &str,
        profile: bool,
        charging: Option<ChargingAddresses>,
        via: Option<&str>,
    ) -> Result<ResultCode, Undelivered> {
        let ppr = PushProfile { impi: self.subscribed(impi)?, user_data: None, charging, auth_data: None };
        let user_data = profile.then(|| self.subscribers().user_data(impi));
        self.demand(impi, &Demand::PushProfile(ppr), user_data, "PPR", via).await
    }

    fn subscribed(&self, impi: &str) -> Result<Impi, Undelivered> {
        let known = self.subscribers().get(impi).is_some();
        Impi::new(impi).filter(|_| known).ok_or_else(|| Undelivered::Unknown(impi.into()))
    }

    fn pushed_credentials(&self, impi: &str) -> Option<DigestCredentials> {
        let subscribers = self.subscribers();
        let credentials = subscribers.credentials(impi).filter(|own| own.scheme == Scheme::Digest)?;
        credentials.ha1.map(|ha1| DigestCredentials {
            realm: subscribers.domain().into(),
            ha1: Secret::new(&ha1),
            qop: "auth".into(),
        })
    }

    /// RFC 6733 §5 — a demand whose connection ends before the answer goes to another node, marked as sent before.
    async fn demand(
        &self,
        impi: &str,
        demand: &Demand,
        user_data: Option<Bytes>,
        what: &'static str,
        via: Option<&str>,
    ) -> Result<ResultCode, Undelivered> {
        let last = self.served_by(impi)?;
        let session = self.session_id();
        let end_to_end = rand::random::<u32>().max(1);
        let mut tried: Vec<Box<str>> = Vec::new();
        let mut outcome = Err(Undelivered::NotConnected(impi.into()));
        while tried.len() < NODES {
            let found = match via {
                Some(node) => Some(self.connection_of(node).ok_or_else(|| Undelivered::NoNode {
                    node: node.into(),
                    connected: self.hosts().join(", "),
                })?),
                None => self.connection(last.as_deref(), &tried),
            };
            let Some((host, connection)) = found else { break };
            let mut request = diameter::cx::encode_demand(
                demand,
                user_data.as_deref(),
                self.identity(),
                &session,
                &host,
                &self.identity().origin_realm,
            );
            request.end_to_end = end_to_end;
            if !tried.is_empty() {
                request.flags |= RETRANSMITTED;
            }
            let answer = ask(&connection, request).await;
            let gone = matches!(answer, Err(Why::Disconnected));
            outcome = answer
                .map(|message| diameter::cx::decode_demand_answer(&message).result)
                .map_err(|_| Undelivered::NotAnswered(impi.into()));
            tried.push(host);
            if !gone || via.is_some() {
                break;
            }
        }
        if let Some(subscriber) = self.subscribers().get_mut(impi).filter(|_| !tried.is_empty()) {
            subscriber.remember(what, outcome.as_ref().ok().copied(), None);
        }
        outcome
    }

    /// The node that asked last for a user whom an S-CSCF serves.
    fn served_by(&self, impi: &str) -> Result<Option<Box<str>>, Undelivered> {
        let subscribers = self.subscribers();
        let subscriber = subscribers.get(impi).ok_or_else(|| Undelivered::Unknown(impi.into()))?;
        if subscriber.server.is_none() || subscriber.state == RegistrationState::NotRegistered {
            return Err(Undelivered::NotServed(impi.into()));
        }
        Ok(subscriber.host.as_deref().map(Box::from))
    }
}

async fn ask(connection: &mpsc::Sender<Word>, request: Message) -> Result<Message, Why> {
    let (answer, answered) = oneshot::channel();
    if connection.send(Word::Ask { request, answer }).await.is_err() {
        return Err(Why::Disconnected);
    }
    // The connection has its own patience; this one is for a connection that is stuck altogether.
    match tokio::time::timeout(Duration::from_secs(8), answered).await {
        Ok(outcome) => outcome.unwrap_or(Err(Why::Disconnected)),
        Err(_) => Err(Why::TimedOut),
    }
}
