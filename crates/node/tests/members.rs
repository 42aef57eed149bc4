//! Several nodes of one cluster, over one store: any of them takes any message.
#![allow(clippy::unwrap_used)]

mod scene;

use scene::cluster::{SOON, cluster, hear, member, register_anywhere, reply, view};
use scene::{DOMAIN, Phone, eventually, phone};
use scscf::cx::{Demand, DeregistrationReason, RegistrationTermination, ResultCode};

#[test]
fn each_request_may_enter_anywhere_and_any_node_shows_any_user() {
    let (_, cluster) = cluster(3);
    for number in 0..9 {
        let name = format!("user{number}");
        let mut phone = phone(&cluster.nodes[0], &name);
        register_anywhere(&mut phone, &cluster, number);
        for scene in &cluster.nodes {
            let user = scene.user(&name);
            assert_eq!(user["state"], "registered", "{user}");
            assert_eq!(user["bindings"].as_array().map(Vec::len), Some(1), "{user}");
        }
        let listed = cluster.nodes[number % 3].get("/v1/users?limit=100").1;
        assert!(listed.contains(&format!("{name}@{DOMAIN}")), "{listed}");
    }
    let given: u64 = cluster.nodes.iter().map(|scene| scene.metric("rollcall_given_to_peers_total")).sum();
    assert!(given > 0, "some entered where their user is not");
    let users: u64 = cluster.nodes.iter().map(|scene| scene.metric("rollcall_registered_users")).sum();
    assert_eq!(users, 9);
}

#[test]
fn an_operator_at_any_node_and_an_hss_at_any_node_reach_any_user() {
    let (_, cluster) = cluster(3);
    let mut alice = phone(&cluster.nodes[0], "alice");
    register_anywhere(&mut alice, &cluster, 0);
    let (away, _) = cluster.away_and_home("alice");
    let (status, body) = away.post(&format!("/v1/users/alice@{DOMAIN}/reauthenticate"), "{\"period_s\":60}");
    assert_eq!(status, 202, "{body}");
    assert_eq!(away.user("alice")["reauthentication"]["by"], "operator");
    let answered = away.hss.demand(Demand::RegistrationTermination(RegistrationTermination {
        impi: scscf::Impi::new(&format!("alice@{DOMAIN}")).unwrap(),
        associated_identities: Vec::new(),
        impus: Vec::new(),
        reason: DeregistrationReason::PermanentTermination,
        reason_info: None,
    }));
    assert_eq!(answered.recv_timeout(SOON).unwrap().result, ResultCode::SUCCESS);
    let gone = eventually(SOON, || (away.get(&format!("/v1/users/alice@{DOMAIN}")).0 == 404).then_some(()));
    assert!(gone.is_some(), "{}", away.user("alice"));
}

#[test]
fn a_watch_at_any_node_follows_a_user_of_another() {
    use std::io::{BufRead, BufReader, Write};
    let (_, cluster) = cluster(2);
    let mut alice = phone(&cluster.nodes[0], "alice");
    register_anywhere(&mut alice, &cluster, 0);
    let (away, _) = cluster.away_and_home("alice");
    let mut stream = std::net::TcpStream::connect(away.http).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(stream, "GET /v1/users/alice@{DOMAIN}/watch HTTP/1.1\r\nHost: {}\r\n\r\n", away.http).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("event: view")));
    assert!(lines.next().unwrap().contains("\"state\":\"registered\""));
    let (status, _) = away.post(&format!("/v1/users/alice@{DOMAIN}/reauthenticate"), "{\"period_s\":60}");
    assert_eq!(status, 202);
    assert!(lines.any(|line| line.contains("event: observation")));
    let step = lines.next().unwrap();
    assert!(step.contains("re-authentication") && step.contains("\"view\":{"), "{step}");
}

#[test]
fn a_request_that_comes_by_two_nodes_is_answered_alike() {
    let (_, cluster) = cluster(3);
    let mut alice = phone(&cluster.nodes[0], "alice");
    let text = alice.register("nonce=\"\",response=\"\"", 600);
    let mut answers = Vec::new();
    for scene in &cluster.nodes {
        alice.to = scene.sip;
        alice.send(&text);
    }
    for _ in &cluster.nodes {
        answers.push(alice.take());
    }
    alice.to = cluster.nodes[1].sip;
    alice.send(&text);
    answers.push(alice.take());
    let nonce = |answer: &String| {
        answer.split("nonce=\"").nth(1).map(|rest| rest.split('"').next().unwrap().to_owned())
    };
    assert!(answers[0].starts_with("SIP/2.0 401"), "{}", answers[0]);
    assert!(answers.iter().all(|answer| nonce(answer) == nonce(&answers[0])), "{answers:?}");
}

#[test]
fn requests_whose_branch_tells_nothing_are_no_copies_of_each_other() {
    let (_, cluster) = cluster(2);
    let mut alice = phone(&cluster.nodes[0], "alice");
    let mut nonces = std::collections::BTreeSet::new();
    for scene in &cluster.nodes {
        alice.to = scene.sip;
        let text = alice.register("nonce=\"\",response=\"\"", 600);
        let at = text.find(";branch=").unwrap();
        let end = at + text[at..].find(";rport").unwrap();
        alice.send(&format!("{}{}", &text[..at], &text[end..]));
        let answer = alice.take();
        assert!(answer.starts_with("SIP/2.0 401"), "{answer}");
        nonces.insert(answer.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned());
    }
    assert_eq!(nonces.len(), 2, "each is challenged for itself");
}

#[test]
fn a_call_rings_on_wherever_it_entered_when_its_user_changes_hands() {
    let (_, cluster) = cluster(3);
    let mut bob = phone(&cluster.nodes[0], "bob");
    register_anywhere(&mut bob, &cluster, 0);
    let owner = cluster.nodes[0].user("bob")["node"].as_str().unwrap().to_owned();
    let at = owner.trim_start_matches('n').parse::<usize>().unwrap() - 1;
    let contact = format!("Contact: <sip:bob@127.0.0.1:{}>\r\n", bob.socket.local_addr().unwrap().port());
    // One of them enters at the heir, the other at a node that will never have anything to do with bob.
    let others = [(at + 1) % 3, (at + 2) % 3];
    let mut calls: Vec<(Phone, String)> = Vec::new();
    for other in others {
        let mut alice = phone(&cluster.nodes[other], &format!("alice{other}"));
        let port = alice.socket.local_addr().unwrap().port();
        alice.send(&format!(
            "INVITE sip:bob@{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKring{other};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:alice{other}@{DOMAIN}>;tag=caller\r\nTo: <sip:bob@{DOMAIN}>\r\n\
             Call-ID: ring{other}\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@127.0.0.1:{port}>\r\nContent-Length: 0\r\n\r\n"
        ));
        let rung = hear(&mut bob, "the INVITE");
        assert!(rung.starts_with("INVITE "), "{rung}");
        bob.send(&reply(&rung, "180 Ringing", &contact));
        assert!(hear(&mut alice, "180").starts_with("SIP/2.0 180"));
        calls.push((alice, rung));
    }
    assert_eq!(cluster.nodes[at].post(&format!("/v1/nodes/{owner}/drain"), "").0, 202);
    for other in others {
        let moved = eventually(SOON, || {
            let view = view(&cluster.nodes[other]);
            let owners = view["shards"].as_array()?;
            owners.iter().all(|shard| shard["owner"] != *owner).then_some(())
        });
        assert!(moved.is_some(), "{}", view(&cluster.nodes[other])["nodes"]);
    }
    for (mut alice, rung) in calls {
        bob.send(&reply(&rung, "200 OK", &contact));
        let answer = hear(&mut alice, "200");
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    }
}

#[test]
fn a_node_that_stops_hands_its_users_over_and_one_that_comes_takes_its_share() {
    let (store, mut cluster) = cluster(2);
    let mut phones: Vec<Phone> = (0..20)
        .map(|number| {
            let mut phone = phone(&cluster.nodes[0], &format!("user{number}"));
            register_anywhere(&mut phone, &cluster, number);
            phone
        })
        .collect();
    cluster.nodes.push(member(&store, "n3"));
    cluster.settles(3);
    drop(cluster.nodes.remove(0));
    cluster.settles(2);
    for (number, phone) in phones.iter_mut().enumerate() {
        phone.to = cluster.nodes[number % 2].sip;
        let user = cluster.nodes[(number + 1) % 2].user(&phone.name);
        assert_eq!(user["state"], "registered", "{user}");
        phone.register_fully();
    }
    let users: u64 = cluster.nodes.iter().map(|scene| scene.metric("rollcall_registered_users")).sum();
    assert_eq!(users, 20);
}
