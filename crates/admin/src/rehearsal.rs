//! The interface against a node that only plays one.
#![allow(clippy::unwrap_used)]

mod document;
mod live;

use crate::ask::*;
use crate::http::{Desk, configure};
use actix_web::http::{Method, StatusCode};
use actix_web::{App, test, web};
use scscf::view::{Authentication, RegistrationState, View};
use scscf::{Timestamp, Told};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

#[derive(Default)]
struct Actor {
    asked: Mutex<Vec<Ask>>,
    watchers: Mutex<Vec<mpsc::Sender<Seen>>>,
}

fn view() -> View {
    View {
        impi: "alice@a.b".into(),
        state: RegistrationState::Registered,
        identities: Vec::new(),
        bindings: Vec::new(),
        subscriptions: Vec::new(),
        third_party: Vec::new(),
        sessions: Vec::new(),
        releases: Vec::new(),
        authentication: Authentication {
            scheme: Some("aka"),
            last_success_at: Some(NOW),
            challenges_outstanding: 0,
            wrong_answers: 0,
            resyncs: 0,
        },
        reauthentication: None,
        next_deadline: None,
    }
}

fn user_view() -> UserView {
    UserView { view: view(), shard: 7, node: "n1".into(), recent: vec![observation(1, false)] }
}

fn observation(number: u64, with_view: bool) -> Arc<Observation> {
    Arc::new(Observation {
        at: Timestamp::from_millis(NOW.millis() + number),
        cause: "REGISTER".into(),
        summary: format!("step {number}"),
        refused: Some(Refused { status: 403, clause: "TS 24.229 §5.4.1.2.3", why: "wrong answer".into() }),
        effects: vec!["Respond 403 Forbidden".into()],
        view: with_view.then(|| Box::new(view())),
    })
}

impl Node for Actor {
    fn ask(&self, ask: Ask) -> Answering {
        self.asked.lock().unwrap().push(ask.clone());
        let answer = match ask {
            Ask::Users(_) => Answer::Users(Page { users: Vec::new(), next: Some("c".into()) }),
            Ask::User(impi) | Ask::Watch(impi) if impi.as_str() == "nobody@a.b" => Answer::NotFound,
            Ask::User(_) => Answer::User(Shown::Here(Box::new(user_view()))),
            Ask::Watch(_) => {
                let (sender, observations) = mpsc::channel(4);
                self.watchers.lock().unwrap().push(sender);
                Answer::Watching { view: Shown::Here(Box::new(user_view())), observations }
            }
            Ask::Reauthenticate { impi, .. } => Answer::Told(match impi.as_str() {
                "nobody@a.b" => Told::NotRegistered,
                "busy@a.b" => Told::AlreadyReauthenticating { deadline: NOW },
                _ => Told::Reauthenticating { deadline: NOW },
            }),
            Ask::Deregister { .. } => Answer::Told(Told::Deregistering),
            Ask::Cluster => Answer::Cluster(ClusterView { nodes: Vec::new(), shards: Vec::new() }),
            Ask::Drain(node) if &*node == "n1" => Answer::Accepted,
            Ask::Drain(_) => Answer::NotFound,
            Ask::Ready => Answer::Ready(vec!["no HSS".into()]),
        };
        Box::pin(std::future::ready(answer))
    }

    fn metrics(&self) -> String {
        "# EOF\n".into()
    }
}

struct Said {
    status: u16,
    kind: String,
    allow: Option<String>,
    body: Value,
    asked: Vec<Ask>,
}

async fn say(token: Option<&str>, request: test::TestRequest) -> Said {
    let actor = Arc::new(Actor::default());
    let desk = web::Data::new(Desk::new(actor.clone(), token.map(str::to_owned)));
    let app = test::init_service(App::new().configure(configure(desk))).await;
    let response = match test::try_call_service(&app, request.to_request()).await {
        Ok(response) => response.map_into_boxed_body().into_parts().1,
        Err(error) => error.error_response(),
    };
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (kind, allow) = (header("content-type").unwrap_or_default(), header("allow"));
    let status = response.status().as_u16();
    let octets = actix_web::body::to_bytes(response.into_body()).await.unwrap_or_default();
    let body = serde_json::from_slice(&octets)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&octets).into()));
    let asked = actor.asked.lock().unwrap().clone();
    Said { status, kind, allow, body, asked }
}

fn get(path: &str) -> test::TestRequest {
    test::TestRequest::get().uri(path)
}

fn post(path: &str, body: &str) -> test::TestRequest {
    let request = test::TestRequest::post().uri(path);
    if body.is_empty() {
        return request;
    }
    request.insert_header(("content-type", "application/json")).set_payload(body.to_owned())
}

#[actix_web::test]
async fn every_error_is_a_problem_with_its_status() {
    let big = format!("{{\"reason\":\"{}\"}}", "a".repeat(20_000));
    let requests = [
        (get("/v1/nothing"), 404),
        (get("/v2"), 404),
        (get("/v1/users?limit=-1"), 400),
        (get("/v1/users?colour=red"), 400),
        (get("/v1/users/nobody@a.b"), 404),
        (get("/v1/users/nobody@a.b/watch"), 404),
        (get("/v1/users/%ff"), 400),
        (get("/v1/users/alice@a.b?deep=1"), 400),
        (get("/readyz"), 503),
        (get("/dashboard/secret"), 404),
        (get("/v1/users/a@b/reauthenticate"), 405),
        (post("/v1/users", ""), 405),
        (post("/v1/nodes/n9/drain", ""), 404),
        (post("/v1/nodes/n1/drain", "{\"now\":true}"), 422),
        (post("/v1/users/nobody@a.b/reauthenticate", ""), 404),
        (post("/v1/users/a@b/reauthenticate", "{"), 400),
        (post("/v1/users/a@b/reauthenticate", "[]"), 422),
        (post("/v1/users/a@b/reauthenticate", "{\"period_s\":\"soon\"}"), 422),
        (post("/v1/users/a@b/reauthenticate", "{\"period_s\":0}"), 422),
        (post("/v1/users/a@b/reauthenticate", "{\"period_s\":1.5}"), 422),
        (post("/v1/users/a@b/reauthenticate", "{\"period\":60}"), 422),
        (post("/v1/users/a@b/deregister", "{\"reason\":\"a\\r\\nb\"}"), 422),
        (post("/v1/users/a@b/deregister", &big), 413),
        (test::TestRequest::post().uri("/v1/users/a@b/deregister").set_payload("{}"), 415),
        (get("/v1/users").insert_header(("host", "evil.example")), 403),
        (
            get("/v1/users")
                .insert_header(("host", "localhost"))
                .insert_header(("origin", "http://evil.example")),
            403,
        ),
    ];
    for (request, status) in requests {
        let said = say(None, request).await;
        assert_eq!((said.status, said.kind.as_str()), (status, "application/problem+json"), "{}", said.body);
        assert_eq!(said.body["status"], json!(status), "{}", said.body);
        assert!(said.body["title"].is_string() && said.body["detail"].is_string(), "{}", said.body);
        assert_eq!(said.allow.is_some(), status == 405, "{}", said.body);
    }
}

#[actix_web::test]
async fn a_bad_parameter_is_named_with_its_value_and_what_was_expected() {
    let said = say(None, get("/v1/users?limit=-1")).await;
    let expected = json!({
        "type": "about:blank", "title": "Bad Request", "status": 400, "parameter": "limit", "value": "-1",
        "expected": "a whole number from 1 to 1000", "detail": "limit = -1: expected a whole number from 1 to 1000",
    });
    assert_eq!(said.body, expected);
    assert!(said.asked.is_empty(), "the node is not asked nonsense");
    let said = say(None, post("/v1/users/a@b/reauthenticate", "{\"perod_s\":60}")).await;
    assert_eq!((&said.body["parameter"], said.asked.len()), (&json!("perod_s"), 0));
    assert!(said.body["expected"].as_str().unwrap().contains("period_s"), "{}", said.body);
}

#[actix_web::test]
async fn wishes_reach_the_node_with_the_identity_decoded() {
    let said = say(
        None,
        post("/v1/users/alice%40a.b%2F1/reauthenticate", "{\"period_s\":60,\"reason\":\" drill \"}"),
    )
    .await;
    assert_eq!((said.status, &said.body), (202, &json!({"deadline": NOW.rfc3339()})));
    let Ask::Reauthenticate { impi, period, reason } = &said.asked[0] else { panic!("{:?}", said.asked) };
    assert_eq!(
        (impi.as_str(), period.unwrap().as_seconds(), reason.as_deref()),
        ("alice@a.b/1", 60, Some("drill"))
    );

    let said = say(None, post("/v1/users/alice@a.b/reauthenticate", "")).await;
    assert!(
        matches!(&said.asked[0], Ask::Reauthenticate { period: None, reason: None, .. }),
        "{:?}",
        said.asked
    );

    let said = say(None, post("/v1/users/busy@a.b/reauthenticate", "{}")).await;
    assert_eq!((said.status, &said.body["deadline"]), (409, &json!(NOW.rfc3339())));

    let said = say(None, post("/v1/users/alice@a.b/deregister", "{\"reason\":\"stolen\"}")).await;
    assert_eq!(said.status, 202);
    assert!(
        matches!(&said.asked[0], Ask::Deregister { reason, .. } if &**reason == "stolen"),
        "{:?}",
        said.asked
    );

    assert_eq!(say(None, post("/v1/nodes/n1/drain", "")).await.status, 202);
}

#[actix_web::test]
async fn what_is_read_has_the_shape_of_the_contract() {
    let said = say(None, get("/v1/users/alice@a.b")).await;
    assert_eq!(said.status, 200);
    for key in [
        "impi",
        "shard",
        "node",
        "state",
        "bindings",
        "authentication",
        "reauthentication",
        "next_deadline",
        "recent",
    ] {
        assert!(said.body.get(key).is_some(), "{key}: {}", said.body);
    }
    let recent = &said.body["recent"][0];
    assert_eq!(
        recent["refused"],
        json!({"status": 403, "clause": "TS 24.229 §5.4.1.2.3", "why": "wrong answer"})
    );
    let page = say(None, get("/v1/users?state=registered&limit=2")).await;
    assert_eq!(page.body, json!({"users": [], "next": "c"}));
    assert_eq!(say(None, get("/v1/cluster")).await.body, json!({"nodes": [], "shards": []}));
    assert_eq!(say(None, get("/healthz")).await.status, 200);
    assert_eq!(say(None, get("/readyz")).await.body["missing"], json!(["no HSS"]));
    assert!(say(None, get("/metrics")).await.kind.starts_with("application/openmetrics-text"));
    let page = say(None, get("/")).await;
    assert!(page.kind.starts_with("text/html") && page.body.as_str().unwrap().contains("<title>"));
}

#[actix_web::test]
async fn where_a_token_is_configured_it_is_needed_for_users_and_metrics() {
    let with = |value: &str| get("/v1/cluster").insert_header(("authorization", value.to_owned()));
    for (request, status) in [
        (get("/v1/cluster"), 401),
        (get("/metrics"), 401),
        (with("Bearer wrong"), 401),
        (with("Bearer tok"), 401),
        (with("Bearer tokentoken"), 401),
        (with("Basic token"), 401),
        (with("Bearer token"), 200),
        (with("bearer token").insert_header(("host", "node.example:8080")), 200),
        (get("/healthz"), 200),
        (get("/"), 200),
        (get("/openapi.json"), 200),
    ] {
        let said = say(Some("token"), request).await;
        assert_eq!(said.status, status, "{}", said.body);
        assert_eq!(
            said.asked.is_empty(),
            status != 200 || said.body.get("nodes").is_none(),
            "asked before the gate"
        );
    }
}

#[actix_web::test]
async fn off_loopback_a_token_is_required() {
    let node: Arc<dyn Node> = Arc::new(Actor::default());
    let listen: SocketAddr = "0.0.0.0:0".parse().unwrap();
    for token in [None, Some(String::new())] {
        let refused = crate::serve(listen, token, node.clone()).map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
        assert!(refused.to_string().contains("token"), "{refused}");
    }
}

#[actix_web::test]
async fn head_is_answered_like_get_without_a_body() {
    let said = say(None, test::TestRequest::default().method(Method::HEAD).uri("/v1/users/nobody@a.b")).await;
    assert_eq!(said.status, StatusCode::NOT_FOUND.as_u16());
}
