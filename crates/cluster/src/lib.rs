//! Who owns which shard, as a value. It does not know what it shards.

mod fence;
mod frame;
pub mod link;
mod member;
mod ownership;
mod placement;
mod registry;
mod shard;

pub use fence::{Fence, FenceError};
pub use frame::MAX_WORD;
pub use member::{Beat, Claim, Claimed, Member};
pub use ownership::{Input, Output, Ownership, Timing, Whose};
pub use placement::place;
pub use registry::Registry;
pub use shard::ShardId;
