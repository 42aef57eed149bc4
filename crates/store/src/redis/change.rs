//! A change of one user, as the functions of Redis want it.

use super::schema;
use crate::head;
use crate::{Error, Fence, ShardId, Write};
use redis::{Cmd, cmd};
use scscf::{Impi, Impu};

/// What becomes of a user.
pub(super) struct Change {
    pub(super) shard: ShardId,
    pub(super) impi: Impi,
    pub(super) what: What,
}

pub(super) enum What {
    Save {
        version: u64,
        write_id: u64,
        /// Head and envelope.
        record: Box<[u8]>,
        /// Milliseconds, or `inf`.
        deadline: Box<str>,
        impus: Box<[Impu]>,
    },
    Erase,
}

/// How a change is asked for, besides what it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    /// Another record than the one that was read would be replaced: its identities hash so.
    pub(super) replaced: Option<Box<str>>,
    /// Public identities of the former record that the user has no more.
    pub(super) quits: Vec<Impu>,
    /// Do nothing if the identities change.
    pub(super) hold: bool,
    /// A save: versions up to this one were outdated by an erasure. An erasure: later ones stay.
    pub(super) bound: Option<u64>,
    /// A save: the write that was not outdated all the same.
    pub(super) but: Option<u64>,
}

impl Change {
    pub(super) fn save(shard: ShardId, fence: &Fence, write: Write<'_>) -> Result<Self, Error> {
        let Write { user, version, write_id } = write;
        let head::Written { record, impus } = head::write(write, fence)?;
        let deadline = match user.wakes_at() {
            Some(at) => at.millis().to_string().into(),
            None => "inf".into(),
        };
        let what = What::Save { version, write_id, record, deadline, impus };
        Ok(Self { shard, impi: user.impi().clone(), what })
    }

    pub(super) fn erase(shard: ShardId, impi: &Impi) -> Self {
        Self { shard, impi: impi.clone(), what: What::Erase }
    }

    /// The call that carries it out under `fence`; directory entries that are not `local` are left to others.
    pub(super) fn call(&self, fence: &str, terms: &Terms, local: impl Fn(&Impu) -> bool) -> Cmd {
        let own = schema::owner(self.shard);
        let record_key = schema::record(self.shard, &self.impi);
        let due = schema::due(self.shard);
        let quits: Vec<String> = terms.quits.iter().filter(|impu| local(impu)).map(schema::holders).collect();
        let hex = |number: Option<u64>| number.map_or_else(String::new, |number| format!("{number:016x}"));
        let bound = hex(terms.bound);
        let replaced = terms.replaced.as_deref().unwrap_or("");
        let mut call = cmd("FCALL");
        match &self.what {
            What::Save { version, record, deadline, impus, .. } => {
                let enters: Vec<String> =
                    impus.iter().filter(|impu| local(impu)).map(schema::holders).collect();
                call.arg(schema::function("save")).arg(3 + enters.len() + quits.len());
                call.arg(own).arg(record_key).arg(due).arg(&enters).arg(quits);
                call.arg(fence)
                    .arg(format!("{:016x}", version.saturating_sub(1)))
                    .arg(&**record)
                    .arg(&**deadline);
                call.arg(self.impi.as_str()).arg(bound).arg(replaced);
                call.arg(if terms.hold { "1" } else { "" }).arg(enters.len()).arg(hex(terms.but));
            }
            What::Erase => {
                call.arg(schema::function("erase")).arg(3 + quits.len());
                call.arg(own).arg(record_key).arg(due).arg(quits);
                call.arg(fence).arg(self.impi.as_str()).arg(bound).arg(replaced);
            }
        }
        call
    }

    /// The identities it leaves the user with.
    pub(super) fn impus(&self) -> &[Impu] {
        match &self.what {
            What::Save { impus, .. } => impus,
            What::Erase => &[],
        }
    }

    /// Terms under which the record `former`, whose identities are others, is replaced.
    pub(super) fn replacing(&self, former: &[u8], bound: Option<u64>) -> Result<Terms, Error> {
        if former.is_empty() {
            return Ok(Terms { bound, ..Terms::default() });
        }
        let (head, user) = head::read(former)?;
        let stays = self.impus();
        let mut quits = head::identities(&user).into_vec();
        quits.retain(|impu| stays.binary_search(impu).is_err());
        let replaced = Some(format!("{:016x}", head.identities).into());
        Ok(Terms { replaced, quits, bound, ..Terms::default() })
    }

    /// About how many octets it takes.
    pub(super) fn size(&self) -> usize {
        match &self.what {
            What::Save { record, .. } => record.len() + 256,
            What::Erase => 256,
        }
    }
}
