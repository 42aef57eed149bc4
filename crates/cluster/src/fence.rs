//! The token of an owner. Every save carries it, so that a deposed owner cannot speak.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The right to write a shard: compared as a whole, because an epoch alone can be handed out twice.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// Rises with each change of owner.
    pub epoch: u64,
    /// Name of the node.
    pub node: Box<str>,
    /// Differs between two runs of one node.
    pub incarnation: u64,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{:016x}", self.epoch, self.node, self.incarnation)
    }
}

/// The text is no `epoch:node:incarnation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceError;

impl fmt::Display for FenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no epoch:node:incarnation")
    }
}

impl std::error::Error for FenceError {}

impl FromStr for Fence {
    type Err = FenceError;

    fn from_str(text: &str) -> Result<Self, FenceError> {
        let (epoch, rest) = text.split_once(':').ok_or(FenceError)?;
        let (node, incarnation) = rest.rsplit_once(':').ok_or(FenceError)?;
        Ok(Self {
            epoch: epoch.parse().map_err(|_| FenceError)?,
            node: node.into(),
            incarnation: u64::from_str_radix(incarnation, 16).map_err(|_| FenceError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_reads_back_as_it_was_written() {
        let fence = Fence { epoch: 7, node: "10.0.0.1:7070".into(), incarnation: 0xfeed };
        assert_eq!(fence.to_string(), "7:10.0.0.1:7070:000000000000feed");
        assert_eq!(fence.to_string().parse(), Ok(fence));
        assert_eq!("7".parse::<Fence>(), Err(FenceError));
        assert_eq!("x:n:0".parse::<Fence>(), Err(FenceError));
    }

    #[test]
    fn two_runs_of_one_node_in_one_epoch_differ() {
        let first = Fence { epoch: 1, node: "n1".into(), incarnation: 1 };
        assert_ne!(first, Fence { incarnation: 2, ..first.clone() });
    }
}
