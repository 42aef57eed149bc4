//! What `rollcall ue register` and `rollcall ue subscribe` do, from the first word to the last.

use super::{
    Config, Credentials, Error, Happening, OnReauth, Package, Role, Subscribed, Transport, Ue,
    audience::Audience,
};
use std::{future::Future, net::SocketAddr, time::Duration};
use tokio::time::Instant;

/// What to register as, and for how long.
#[derive(Clone, Debug)]
pub struct RegisterArgs {
    /// Private user identity.
    pub impi: String,
    /// `HOST:PORT`, or several with commas between, the next of which is asked when one does not answer.
    pub proxy: String,
    /// Public user identity; `sip:IMPI` unless given.
    pub impu: Option<String>,
    /// Over what.
    pub transport: Transport,
    /// What the USIM holds.
    pub credentials: Credentials,
    /// Expiry asked for, in seconds.
    pub expires: u32,
    /// Path URI; the UE's own address unless given.
    pub path: Option<String>,
    /// Stay registered that long, then deregister; without it, end once registered and leave it at that.
    pub stay: Option<Duration>,
    /// What to do when asked to authenticate anew.
    pub on_reauth: OnReauth,
    /// Where the UE is reached; any port unless given.
    pub listen: Option<SocketAddr>,
    /// Whether its P-CSCF stays on the path of calls.
    pub record_route: bool,
}

impl RegisterArgs {
    /// A lab UE that registers and ends.
    pub fn new(impi: &str, proxy: &str) -> Self {
        Self {
            impi: impi.to_owned(),
            proxy: proxy.to_owned(),
            impu: None,
            transport: Transport::Udp,
            credentials: Credentials::default(),
            expires: 3600,
            path: None,
            stay: None,
            on_reauth: OnReauth::Obey,
            listen: None,
            record_route: true,
        }
    }

    pub(super) async fn config(&self) -> Result<Config, Error> {
        if self.impi.rsplit_once('@').is_none_or(|(name, realm)| name.is_empty() || realm.is_empty()) {
            return Err(Error::Missed("the private user identity has the form NAME@DOMAIN"));
        }
        let mut proxies = Vec::new();
        for proxy in self.proxy.split(',') {
            let unresolved = || Error::Proxy(proxy.to_owned());
            let mut found = tokio::net::lookup_host(proxy).await.map_err(|_| unresolved())?;
            proxies.push(found.next().ok_or_else(unresolved)?);
        }
        let proxy = proxies.remove(0);
        Ok(Config {
            impu: self.impu.clone(),
            transport: self.transport,
            credentials: self.credentials,
            expires: self.expires,
            path: self.path.clone(),
            on_reauth: self.on_reauth,
            listen: self.listen,
            record_route: self.record_route,
            others: proxies,
            ..Config::new(&self.impi, proxy)
        })
    }
}

/// What to subscribe to, after registering.
#[derive(Clone, Debug)]
pub struct SubscribeArgs {
    /// The registration; without `stay` the subscription is watched until it ends.
    pub register: RegisterArgs,
    /// Event package.
    pub package: Package,
    /// As whom.
    pub role: Role,
}

/// Registers, and stays registered if told to. `on` hears everything; `stop` ends it early, politely.
pub async fn run_register(
    args: RegisterArgs,
    on: impl FnMut(&Happening),
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    Audience::follow(args.config().await?, on, stop, async |ue, audience| {
        audience.during(ue.register()).await?;
        if args.stay.is_none() {
            return Ok(());
        }
        let watched = watch(audience, args.stay, false).await;
        leave(ue, None, watched, audience).await
    })
    .await
}

/// Registers, subscribes and watches. It fails unless the first NOTIFY came and, if the network asked for
/// authentication and the UE is to obey, unless that succeeded.
pub async fn run_subscribe(
    args: SubscribeArgs,
    on: impl FnMut(&Happening),
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    Audience::follow(args.register.config().await?, on, stop, async |ue, audience| {
        audience.during(ue.register()).await?;
        let subscribed = audience.during(ue.subscribe(args.package, args.role)).await?;
        let watched = watch(audience, args.register.stay, true).await;
        leave(ue, Some(&subscribed), watched, audience).await
    })
    .await
}

/// What was seen while watching.
#[derive(Debug, Default)]
struct Seen {
    notified: bool,
    ended: bool,
    asked: bool,
    failed: bool,
}

async fn watch(
    audience: &mut Audience<impl FnMut(&Happening), impl Future<Output = ()>>,
    stay: Option<Duration>,
    subscribed: bool,
) -> Seen {
    let mut seen = Seen { notified: !subscribed, ..Seen::default() };
    let end = stay.map(|stay| Instant::now() + stay);
    let end = end.unwrap_or_else(|| Instant::now() + Duration::from_secs(u32::MAX.into()));
    loop {
        let happening = tokio::select! {
            happening = audience.happenings.recv() => happening,
            () = tokio::time::sleep_until(end) => return seen,
            () = &mut audience.stop => return seen,
        };
        let Some(happening) = happening else { return seen };
        (audience.on)(&happening);
        match &happening {
            Happening::Notified(notification) => {
                seen.notified = true;
                seen.ended |= notification.terminated;
            }
            Happening::Asked { .. } => seen.asked = true,
            Happening::Reauthenticated => seen.asked = false,
            Happening::Deregistered { .. } => seen.ended = true,
            Happening::Failed { .. } => seen.failed = true,
            Happening::Sent { .. }
            | Happening::Received { .. }
            | Happening::Unreadable { .. }
            | Happening::Resynchronising
            | Happening::Registered { .. }
            | Happening::Subscribed { .. }
            | Happening::Call { .. }
            | Happening::Messaged { .. }
            | Happening::AnsweredWrongly { .. } => {}
        }
        if seen.ended {
            return seen;
        }
    }
}

/// Says goodbye to what still stands, and judges.
async fn leave(
    ue: &Ue,
    subscribed: Option<&Subscribed>,
    seen: Seen,
    audience: &mut Audience<impl FnMut(&Happening), impl Future<Output = ()>>,
) -> Result<(), Error> {
    if !seen.ended {
        audience.goodbye(ue, subscribed).await?;
    }
    let obeys = ue.inner.config.on_reauth == OnReauth::Obey;
    match seen {
        Seen { notified: false, .. } => Err(Error::Missed("no NOTIFY came")),
        Seen { asked: true, .. } if obeys => {
            Err(Error::Missed("asked to authenticate anew, and did not succeed"))
        }
        Seen { failed: true, .. } => Err(Error::Missed("the registration or subscription could not be kept")),
        Seen { .. } => Ok(()),
    }
}
