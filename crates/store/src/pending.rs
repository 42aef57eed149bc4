//! An answer that may be there already: a store in memory costs its caller no future.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// The answer of a store.
pub enum Pending<T> {
    /// It is there.
    Ready(T),
    /// It will be.
    Later(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T> Pending<T> {
    /// Waits for it.
    pub async fn wait(self) -> T {
        match self {
            Self::Ready(answer) => answer,
            Self::Later(future) => future.await,
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(answer) => f.debug_tuple("Ready").field(answer).finish(),
            Self::Later(_) => f.write_str("Later(..)"),
        }
    }
}
