//! What befalls a node, and how it ends.

use crate::town::{SLACK, TAKEOVER};
use e2e::{Cluster, Cut};
use std::time::{Duration, Instant};

/// How long a node that was told to end may take.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// What befalls a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, and SIGCONT later.
    Freeze,
    /// Neither Redis nor any other node is reached, and nobody is told; the process lives and takes SIP.
    Cut,
    /// SIGTERM: it is to leave without anybody's noticing.
    Terminate,
}

impl Fault {
    pub(crate) const ALL: [Self; 4] = [Self::Kill, Self::Freeze, Self::Cut, Self::Terminate];
    /// Those that strike any cluster, with wires or without, and that nobody is told of.
    pub(crate) const SUDDEN: [Self; 2] = [Self::Kill, Self::Freeze];

    /// Strikes a node; when.
    pub(crate) fn strike(self, cluster: &mut Cluster, node: &str) -> Instant {
        match self {
            Self::Kill => return cluster.kill(node),
            Self::Freeze => cluster.freeze(node),
            Self::Cut => cluster.cut_off(node, Cut::Silent),
            Self::Terminate => cluster.begin_to_terminate(node),
        }
        Instant::now()
    }

    /// Whether the process goes on after the stroke.
    pub(crate) fn leaves_it_running(self) -> bool {
        matches!(self, Self::Cut | Self::Terminate)
    }

    /// What a user waits at most: a node that is silent is given its lease's time and the detection of links.
    pub(crate) fn patience(self) -> Duration {
        match self {
            Self::Kill | Self::Terminate => TAKEOVER + SLACK,
            Self::Freeze | Self::Cut => TAKEOVER + Duration::from_secs(2) + SLACK,
        }
    }

    /// Has the node come back, a frozen one not before `end`; it is not waited for.
    pub(crate) fn undo(self, cluster: &mut Cluster, node: &str, end: Instant) {
        match self {
            Self::Kill => cluster.start_again(node),
            Self::Freeze => {
                std::thread::sleep(end.saturating_duration_since(Instant::now()));
                cluster.thaw(node);
            }
            Self::Cut => cluster.mend(node),
            Self::Terminate => {
                assert_eq!(cluster.ends(node, ENDS_WITHIN), Some(0), "{node} does not end by itself");
                cluster.start_again(node);
            }
        }
    }
}
