//! Every name that is written to Redis, in one table.
//!
//! | name | type | what |
//! |---|---|---|
//! | `{s0042}:own` | string | the token of the shard's owner, `EPOCH:NODE:INCARNATION`; without node it is released |
//! | `{s0042}:r:IMPI` | string | a record: its head, then the envelope |
//! | `{s0042}:due` | sorted set | every user of the shard by its deadline, milliseconds since 1970, or `inf` |
//! | `{s0042}:i:IMPU` | string | who holds a public identity, a private identity a line, with the epoch of its shard's owner if its record is in another group; `s0042` is the shard of the IMPU's text |
//! | `rollcall:lease:NODE` | string, expires | incarnation and member of a node whose lease stands |
//! | `rollcall:nodes` | set | names of nodes that had a lease lately |
//! | `rollcall:version` | number | rises with every change of an owner |
//! | `rollcall:run` | string | which run of Redis wrote it, and when |
//! | `rollcall:grace` | string, expires | while it is there only former holders take shards |
//! | `rollcall:layout` | string | which group of how many this is |
//! | `rollcall:secret` | string | what seals the cluster's tokens; in group 0 |
//! | `rollcall:pulse` | string, expires | written to see whether it can be |

use cluster::ShardId;
use scscf::{Impi, Impu};

/// Name of the function library; another text needs another number, so that two releases can work side by side.
pub(super) const LIBRARY: &str = "rollcall_v1";

pub(super) const LAYOUT: &str = "rollcall:layout";
pub(super) const SECRET: &str = "rollcall:secret";
pub(super) const PULSE: &str = "rollcall:pulse";

pub(super) fn owner(shard: ShardId) -> String {
    format!("{{{shard}}}:own")
}

pub(super) fn record(shard: ShardId, impi: &Impi) -> String {
    format!("{{{shard}}}:r:{impi}")
}

pub(super) fn due(shard: ShardId) -> String {
    format!("{{{shard}}}:due")
}

pub(super) fn holders(impu: &Impu) -> String {
    format!("{{{}}}:i:{impu}", home(impu))
}

/// The shard whose group keeps the directory entry of a public identity.
pub(super) fn home(impu: &Impu) -> ShardId {
    ShardId::of(impu.as_str())
}

/// A function of the library by its last name.
pub(super) fn function(name: &str) -> String {
    format!("{LIBRARY}_{name}")
}

/// The text of the library.
pub(super) fn library() -> String {
    let names = [
        ("NAME", LIBRARY),
        ("LEASE", "rollcall:lease:"),
        ("NODES", "rollcall:nodes"),
        ("VERSION", "rollcall:version"),
        ("RUN", "rollcall:run"),
        ("GRACE", "rollcall:grace"),
        ("NOBODY", crate::head::NOBODY),
    ];
    let mut text = format!("#!lua name={LIBRARY}\n");
    for (name, value) in names {
        text.push_str(&format!("local {name} = '{value}'\n"));
    }
    text.push_str(include_str!("../functions/leases.lua"));
    text.push_str(include_str!("../functions/records.lua"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FNV-1a of the library's text after its first line.
    const TEXT: u64 = 0xae44_dd06_e3d9_1e68;

    #[test]
    fn another_text_of_the_library_has_another_number() {
        let library = library();
        let text = library.split_once('\n').map_or("", |(_, text)| text);
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
            (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        assert_eq!(
            hash, TEXT,
            "the functions changed: raise LIBRARY once it was released, then write {hash:#018x} here"
        );
    }
}
