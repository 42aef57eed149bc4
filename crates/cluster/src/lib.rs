//! Who owns which shard, as a value. It does not know what it shards.

mod fence;
mod shard;

pub use fence::{Fence, FenceError};
pub use shard::ShardId;
