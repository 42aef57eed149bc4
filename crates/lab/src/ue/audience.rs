//! Whoever follows a UE: hears everything that happens to it, and may stop it early.

use super::{Config, Error, Happening, Subscribed, Ue};
use std::{future::Future, pin::Pin};
use tokio::sync::mpsc;

/// Ears for what happens to a UE, and the word that ends it.
pub(super) struct Audience<On, Stop> {
    pub(super) happenings: mpsc::UnboundedReceiver<Happening>,
    pub(super) on: On,
    pub(super) stop: Pin<Box<Stop>>,
}

impl<On: FnMut(&Happening), Stop: Future<Output = ()>> Audience<On, Stop> {
    /// Starts a UE, follows it through what it does, and lets it fall silent when all is heard.
    pub(super) async fn follow(
        config: Config,
        on: On,
        stop: Stop,
        does: impl AsyncFnOnce(&Ue, &mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (ue, mut audience) = Self::of(config, on, stop).await?;
        let outcome = does(&ue, &mut audience).await;
        audience.end(ue);
        outcome
    }

    /// Starts a UE and follows it.
    pub(super) async fn of(config: Config, on: On, stop: Stop) -> Result<(Ue, Self), Error> {
        let (ue, happenings) = Ue::start(config).await?;
        Ok((ue, Self { happenings, on, stop: Box::pin(stop) }))
    }

    /// Listens while something is done; [`Error::Stopped`] if the word came before it was.
    pub(super) async fn during<T>(
        &mut self,
        doing: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let stop = &mut self.stop;
        let unless_stopped = async {
            tokio::select! {
                biased;
                done = doing => done,
                () = stop => Err(Error::Stopped),
            }
        };
        listen(&mut self.happenings, &mut self.on, unless_stopped).await
    }

    /// Listens while something is done that goes on to its end: a goodbye.
    pub(super) async fn throughout<T>(&mut self, doing: impl Future<Output = T>) -> T {
        listen(&mut self.happenings, &mut self.on, doing).await
    }

    /// Listens while the UE takes its leave: of its subscription, if it has one, then of the network.
    pub(super) async fn goodbye(&mut self, ue: &Ue, subscribed: Option<&Subscribed>) -> Result<(), Error> {
        if let Some(subscribed) = subscribed {
            let _ = self.throughout(ue.unsubscribe(subscribed)).await;
        }
        self.throughout(ue.deregister()).await
    }

    /// Hears what is left to be heard, and lets the UE fall silent.
    pub(super) fn end(mut self, ue: Ue) {
        while let Ok(happening) = self.happenings.try_recv() {
            (self.on)(&happening);
        }
        ue.stop();
    }
}

async fn listen<T>(
    happenings: &mut mpsc::UnboundedReceiver<Happening>,
    on: &mut impl FnMut(&Happening),
    doing: impl Future<Output = T>,
) -> T {
    tokio::pin!(doing);
    loop {
        tokio::select! {
            biased;
            Some(happening) = happenings.recv() => on(&happening),
            done = &mut doing => return done,
        }
    }
}
