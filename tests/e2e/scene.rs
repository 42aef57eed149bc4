//! Lab UEs around a node, in this process: they read and write SIP with another codec, and complain of what no correct
//! network does.

use e2e::{DOMAIN, Lab, http};
use lab::as_::{self, ApplicationServer, Listen};
use lab::ue::{Answering, Call, Calls, Config, Dial, End, Happening, State, Then, Ue};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

/// What takes no time takes less than this.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A user with one UE.
pub(crate) struct Person {
    pub(crate) ue: Ue,
    calls: Calls,
    happenings: UnboundedReceiver<Happening>,
}

/// `sip:NAME@DOMAIN`.
pub(crate) fn sip(name: &str) -> String {
    format!("sip:{name}@{DOMAIN}")
}

impl Person {
    /// A UE that answers calls at once, not registered yet.
    pub(crate) async fn new(lab: &Lab, name: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(&format!("{name}@{DOMAIN}"), lab.sip);
        change(&mut config);
        let (ue, happenings) = Ue::start(config).await.unwrap();
        let calls = ue.answering(Answering::default());
        Self { ue, calls, happenings }
    }

    /// A UE that is registered.
    pub(crate) async fn registered(lab: &Lab, name: &str) -> Self {
        Self::registered_as(lab, name, |_| ()).await
    }

    /// A UE that is registered, and was told more.
    pub(crate) async fn registered_as(lab: &Lab, name: &str, change: impl FnOnce(&mut Config)) -> Self {
        let person = Self::new(lab, name, change).await;
        person.ue.register().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        person
    }

    /// From now on lets calls ring.
    pub(crate) fn lets_it_ring(&mut self) {
        self.answers(Answering { then: Then::Wait, ..Answering::default() });
    }

    /// From now on answers so.
    pub(crate) fn answers(&mut self, how: Answering) {
        self.calls = self.ue.answering(how);
    }

    /// Calls somebody of the home domain.
    pub(crate) fn calls(&self, name: &str) -> Call {
        self.ue.call(Dial::to(&sip(name))).unwrap()
    }

    /// The next call that comes.
    pub(crate) async fn called(&mut self) -> Call {
        timeout(SOON, self.calls.next()).await.expect("no call comes").unwrap()
    }

    /// Whether nothing of that kind happens for a while.
    pub(crate) async fn never_hears(&mut self, during: Duration, what: impl Fn(&Happening) -> bool) -> bool {
        let heard = async { while !self.happenings.recv().await.is_none_or(|one| what(&one)) {} };
        timeout(during, heard).await.is_err()
    }

    /// The call that came, if one did or is about to.
    pub(crate) async fn was_called(&mut self) -> Option<Call> {
        timeout(Duration::from_millis(30), self.calls.next()).await.ok().flatten()
    }

    /// Whether no call comes for a while.
    pub(crate) async fn is_not_called(&mut self, during: Duration) -> bool {
        timeout(during, self.calls.next()).await.is_err()
    }

    /// Waits for a happening; those before it are passed over.
    pub(crate) async fn hears(&mut self, what: &str, wanted: impl Fn(&Happening) -> bool) -> Happening {
        let mut passed = Vec::new();
        let found = timeout(SOON, async {
            loop {
                let happening = self.happenings.recv().await.expect("the UE lives");
                if wanted(&happening) {
                    return happening;
                }
                passed.push(happening.to_string());
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("{what} never came; what did: {passed:#?}"),
        }
    }
}

/// A call that stands; the caller's end and the callee's.
pub(crate) async fn talk(caller: &Person, callee: &mut Person, to: &str) -> (Call, Call) {
    let mut made = caller.calls(to);
    let mut came = callee.called().await;
    reaches(&mut made, State::Established).await;
    reaches(&mut came, State::Established).await;
    (made, came)
}

/// Waits until a call is in that state.
pub(crate) async fn reaches(call: &mut Call, state: State) {
    let reached = timeout(SOON, call.until(|record| record.state == state)).await;
    assert!(matches!(reached, Ok(Ok(_))), "not {state}: {:#?}", call.record());
}

/// Waits until a call is over; how.
pub(crate) async fn ended(call: &mut Call) -> End {
    reaches(call, State::Ended).await;
    call.record().end.unwrap()
}

/// Nothing happened to these calls that no correct network does.
pub(crate) fn no_faults(calls: &[&Call]) {
    for call in calls {
        assert_eq!(call.record().faults, [], "{:#?}", call.record());
    }
}

/// An application server that lets everything through.
pub(crate) async fn application_server(lab: &Lab) -> ApplicationServer {
    application_server_over(lab, "udp").await
}

/// The same over `udp` or `tcp`.
pub(crate) async fn application_server_over(lab: &Lab, transport: &str) -> ApplicationServer {
    ApplicationServer::start(server_config(lab, transport)).await.unwrap()
}

/// What it is told.
pub(crate) fn server_config(lab: &Lab, transport: &str) -> as_::Config {
    let listen: Listen = format!("{transport}:127.0.0.1:0").parse().unwrap();
    let name = Some(format!("sip:scscf.{DOMAIN}:{}", lab.sip.port()));
    as_::Config { s_cscf: Some(lab.sip), s_cscf_name: name, ..as_::Config::new(listen) }
}

/// SESSION_CONTINUED and SESSION_TERMINATED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handling {
    Continued,
    Terminated,
}

/// Session cases of filter criteria.
pub(crate) const ORIGINATING: u8 = 0;
pub(crate) const TERMINATING: u8 = 1;
pub(crate) const TERMINATING_UNREGISTERED: u8 = 2;
pub(crate) const ORIGINATING_UNREGISTERED: u8 = 3;
pub(crate) const DIVERTING: u8 = 4;

/// An InitialFilterCriteria: requests of that method, in that session case if one is given.
pub(crate) fn criterion(
    priority: u32,
    method: &str,
    case: Option<u8>,
    server: &str,
    handling: Handling,
) -> String {
    let case = case.map_or_else(String::new, |case| {
        format!("<SPT><ConditionNegated>0</ConditionNegated><Group>1</Group><SessionCase>{case}</SessionCase></SPT>")
    });
    format!(
        "<InitialFilterCriteria><Priority>{priority}</Priority><TriggerPoint><ConditionTypeCNF>1</ConditionTypeCNF>\
         <SPT><ConditionNegated>0</ConditionNegated><Group>0</Group><Method>{method}</Method></SPT>{case}</TriggerPoint>\
         <ApplicationServer><ServerName>{server}</ServerName><DefaultHandling>{}</DefaultHandling></ApplicationServer>\
         </InitialFilterCriteria>",
        handling as u8
    )
}

/// Provisions filter criteria for a user with one identity.
pub(crate) fn provide(lab: &Lab, name: &str, criteria: &[String]) {
    let xml = format!(
        "<IMSSubscription><PrivateID>{name}@{DOMAIN}</PrivateID><ServiceProfile><PublicIdentity><Identity>{}</Identity>\
         </PublicIdentity>{}</ServiceProfile></IMSSubscription>",
        sip(name),
        criteria.concat()
    );
    let url = format!("{}/subscribers/{name}@{DOMAIN}", lab.hss);
    let (status, body) = http::put(&url, &serde_json::json!({ "profile_xml": xml })).unwrap();
    assert!(matches!(status, 200 | 201), "{status}: {body}");
}
