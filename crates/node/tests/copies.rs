//! One request that comes by two nodes, and what the caller wants of its copy.
#![allow(clippy::unwrap_used)]

mod scene;

use scene::cluster::{Call, cancel, cluster, hear, name_where};

#[test]
fn a_caller_who_cancels_a_copy_of_its_invite_is_heard() {
    for (first, second) in [("n1", "n2"), ("n2", "n1"), ("n2", "n3")] {
        let (_, cluster) = cluster(3);
        let bob = cluster.registered(&name_where("bob", |owner| owner(&["n1", "n2", "n3"]) == "n1"));
        let mut call = Call::ring(cluster.node(first), bob, "ring");
        call.alice.to = cluster.node(second).sip;
        call.alice.send(&call.invite);
        let followed = scene::eventually(scene::cluster::SOON, || {
            (cluster.node("n1").metric("rollcall_copies_total") == 1).then_some(())
        });
        assert!(followed.is_some());
        call.alice.send(&cancel(&call.invite));
        call.is_told("200");
        let heard = hear(&mut call.bob, "CANCEL");
        assert!(heard.starts_with("CANCEL "), "{heard}");
        call.says("487 Request Terminated");
        call.is_told("487");
        call.is_told("487");
    }
}
