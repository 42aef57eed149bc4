//! The file, which is opened anew after it failed: the library refuses everything after one failure, and a disk that was full is not
//! full for ever.

use redb::{Database, DatabaseError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

/// Pages of the file that are kept in memory, octets.
const CACHE: usize = 64 << 20;

/// A file that mends itself.
pub(super) struct File {
    path: Box<Path>,
    /// `None` while it cannot be opened.
    database: RwLock<Option<Database>>,
    /// It was read or written in vain.
    failed: AtomicBool,
}

impl File {
    /// Opens it, or makes it.
    pub(super) fn open(path: PathBuf) -> Result<Self, DatabaseError> {
        let database = Database::builder().set_cache_size(CACHE).create(&path)?;
        let database = RwLock::new(Some(database));
        Ok(Self { path: path.into_boxed_path(), database, failed: AtomicBool::new(false) })
    }

    /// Does something with it.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(Result<&Database, redb::Error>) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let done = work(database.as_ref().ok_or(redb::Error::PreviousIo));
        if matches!(done, Err(redb::Error::Io(_) | redb::Error::PreviousIo)) {
            self.failed.store(true, Ordering::Relaxed);
        }
        done
    }

    /// Opens it anew if it failed. What was committed last is what it has then: whether that is the change that failed is as unknown as
    /// it was.
    pub(super) fn mend(&self) {
        if !self.failed.load(Ordering::Relaxed) {
            return;
        }
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // Nobody opens it twice.
        *database = None;
        // If it cannot be opened yet, it is tried again after whatever is asked next.
        if let Ok(opened) = Database::builder().set_cache_size(CACHE).open(&self.path) {
            *database = Some(opened);
            self.failed.store(false, Ordering::Relaxed);
        }
    }
}
