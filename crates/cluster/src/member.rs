//! What nodes and the store say to each other about who is there and who owns what.

use crate::{Fence, ShardId};
use serde::{Deserialize, Serialize};

/// A node as the others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name, different on every node.
    pub node: Box<str>,
    /// Rises from one run of a node to the next: say, the time it started.
    pub incarnation: u64,
    /// `ADDRESS:PORT` where it takes links of other nodes; empty if it takes none.
    #[serde(default)]
    pub link: Box<str>,
    /// `ADDRESS:PORT` where it takes SIP, for people who look at the cluster.
    #[serde(default)]
    pub sip: Box<str>,
    /// It gives its shards away and takes no new ones.
    #[serde(default)]
    pub draining: bool,
    /// Registered users among its shards.
    #[serde(default)]
    pub users: u64,
}

impl Member {
    /// Whether the owner that `fence` names is this very run of this node.
    pub fn holds(&self, fence: &Fence) -> bool {
        self.node == fence.node && self.incarnation == fence.incarnation
    }
}

/// What a group of the store answers to a node that renews its lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Which run of the store answered; another one than before may have lost the last writes.
    pub run: Box<str>,
    /// Rises with every change of an owner.
    pub version: u64,
    /// The last owner of every shard that ever had one, in order; `None` if the asker knows this version. An owner without
    /// node name has released its shard.
    pub owners: Option<Vec<(ShardId, Fence)>>,
    /// Every node whose lease stands by name: the asker too, or the later run of its node that keeps it from renewing.
    pub members: Vec<Member>,
}

/// A node wants to own a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The shard.
    pub shard: ShardId,
    /// The owner that the claimant knows to be gone for good: its process ended. It may be replaced before its lease lapses,
    /// which is safe because it cannot save any more once replaced.
    pub gone: Option<Fence>,
    /// What the claimant held when the store lost all memory of the shard. It counts for one lease's time after the failure, and
    /// later such a claim is refused.
    pub held: Option<Fence>,
    /// The highest epoch of the shard that the claimant has heard of. Its own will be above, whatever the store has forgotten: a
    /// token is never handed out twice.
    pub above: u64,
}

impl Claim {
    /// A claim on a shard of which nothing is known.
    pub fn new(shard: ShardId) -> Self {
        Self { shard, gone: None, held: None, above: 0 }
    }
}

/// Whether the claimant got it: its fence, or who owns the shard instead (`None`: nobody may take it yet).
pub type Claimed = Result<Fence, Option<Fence>>;
