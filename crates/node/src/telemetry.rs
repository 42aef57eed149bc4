//! Metrics. Their handles are kept, so that counting costs an addition and no search.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use sip::{Method, Status};
use std::sync::{Arc, Mutex};

macro_rules! telemetry {
    (counters { $($counter:ident = $counter_name:literal, $counter_help:literal;)* }
     gauges { $($gauge:ident = $gauge_name:literal, $gauge_help:literal;)* }) => {
        /// All metrics of a node.
        #[derive(Clone)]
        pub(crate) struct Telemetry {
            registry: Arc<Mutex<Registry>>,
            requests: [Counter; METHODS.len() + 1],
            responses: [Counter; 6],
            registers: [Counter; 3],
            pub(crate) cx_requests: [Counter; 2],
            pub(crate) cx_latency: Histogram,
            $(pub(crate) $counter: Counter,)*
            $(pub(crate) $gauge: Gauge,)*
        }

        impl Telemetry {
            pub(crate) fn new() -> Self {
                let mut registry = Registry::with_prefix("rollcall");
                $(let $counter = Counter::default();
                  registry.register($counter_name, $counter_help, $counter.clone());)*
                $(let $gauge = Gauge::default();
                  registry.register($gauge_name, $gauge_help, $gauge.clone());)*
                let names: Vec<&'static str> = METHODS.iter().map(Method::as_str).chain(["other"]).collect();
                let requests = labelled(&mut registry, "sip_requests", "SIP requests taken", "method", &names);
                let classes = ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx"];
                let responses = labelled(&mut registry, "sip_responses", "SIP responses sent", "class", &classes);
                let registers =
                    labelled(&mut registry, "registers", "REGISTERs answered", "result", &["accepted", "challenged", "refused"]);
                let cx_requests = labelled(&mut registry, "cx_requests", "Cx requests sent", "command", &["MAR", "SAR"]);
                let cx_latency = Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]);
                registry.register("cx_answer_seconds", "Time from a Cx request to its answer", cx_latency.clone());
                Self {
                    registry: Arc::new(Mutex::new(registry)),
                    requests, responses, registers, cx_requests, cx_latency, $($counter,)* $($gauge,)*
                }
            }
        }
    };
}

telemetry! {
    counters {
        challenges = "challenges", "Challenges sent in 401 responses";
        wrong_answers = "wrong_answers", "Wrong answers to challenges";
        notifies = "notifies", "NOTIFY requests sent";
        refers = "refers", "REFER requests sent";
        relayed = "sip_relayed", "Requests forwarded on a branch";
        releases = "releases", "BYE requests that release a session";
        third_party_registers = "third_party_registers", "REGISTER requests sent to application servers";
        reauthentications_started = "reauthentications_started", "Re-authentications the network asked for";
        reauthentications_succeeded = "reauthentications_succeeded", "Re-authentications that were answered rightly";
        reauthentications_lapsed = "reauthentications_lapsed", "Re-authentications that ended otherwise";
        cx_failures = "cx_failures", "Cx requests without an answer";
        cx_demands = "cx_demands", "Requests of an HSS";
        mailbox_full = "mailbox_full", "Events refused because too many wait for the user";
        overloaded = "overloaded", "Requests answered 503 for want of room";
        unanswered = "unanswered", "Answers given in place of an actor that crashed";
        crashes = "crashes", "Crashes that were contained";
        late = "late_responses", "Responses whose transaction was over";
        unreadable = "sip_unreadable", "Messages that are no SIP";
        strays = "sip_strays", "Responses of no transaction";
        unrouted = "sip_unrouted", "ACK and CANCEL requests without a session";
        unsent = "sip_unsent", "Messages the network did not take";
        lookups = "lookups", "Names looked up";
        lookup_failures = "lookup_failures", "Lookups that found nothing, or had no answer";
        failovers = "failovers", "Requests that went on to another next hop";
        unexpected = "unexpected_answers", "Answers for users who are not waiting any more";
        connections_refused = "connections_refused", "Connections above the limit";
        connections_idle = "connections_idle", "Connections closed because nothing came";
        saves = "saves", "Records written or erased";
        saved_again = "saves_again", "Records that the store did not take at once, and was told again";
        store_failures = "store_failures", "Store operations that failed";
        activated = "users_activated", "Actors started";
        given = "given_to_peers", "Messages given to the node that owns their user";
        copies = "copies", "Requests that came by another node before, answered as the first";
        given_again = "given_again", "Messages whose owner was lost, brought to the next";
        held = "held", "Messages that waited for a shard without owner";
        lent = "users_lent", "Users who stayed for a while when their shard went to another node";
        unsaid = "words_unsaid", "Words that could not be said to another node";
        unreadable_words = "words_unreadable", "Words of other nodes that cannot be read";
        passivated = "users_passivated", "Actors ended because their user was silent";
    }
    gauges {
        sessions = "sessions", "Sessions of living users, those being set up included";
        users = "registered_users", "Users with at least one contact binding";
        actors = "actors", "Users whose actor lives";
        transactions = "sip_transactions", "SIP transactions of both sides";
        waiting = "sip_unanswered", "SIP requests that wait for their answer";
        connections = "connections", "TCP connections";
        links = "links", "Other nodes that are linked";
        words_queued = "words_queued", "Words that other nodes have not acknowledged yet";
        shards = "shards", "Shards that this node owns";
        lent_now = "users_on_loan", "Users here whose shard is another node's by now";
        dead_hops = "dead_hops", "Next hops that failed lately and are tried last";
        peers = "cx_peers_open", "Diameter peers in use";
    }
}

/// The methods that are counted by name.
const METHODS: [Method; 8] = [
    Method::Register,
    Method::Subscribe,
    Method::Notify,
    Method::Options,
    Method::Invite,
    Method::Message,
    Method::Bye,
    Method::Publish,
];

fn labelled<const N: usize>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    label: &'static str,
    values: &[&'static str],
) -> [Counter; N] {
    let family = Family::<Vec<(&'static str, &'static str)>, Counter>::default();
    registry.register(name, help, family.clone());
    std::array::from_fn(|at| {
        family.get_or_create(&vec![(label, values.get(at).copied().unwrap_or("other"))]).clone()
    })
}

impl Telemetry {
    pub(crate) fn requested(&self, method: &Method) {
        let at = METHODS.iter().position(|known| known == method).unwrap_or(METHODS.len());
        self.requests[at].inc();
    }

    pub(crate) fn responded(&self, status: Status) {
        let class = usize::from(status.code() / 100).clamp(1, 6);
        self.responses[class - 1].inc();
    }

    pub(crate) fn registered(&self, status: Status) {
        if status.is_success() {
            self.registers[0].inc();
        } else if status == Status::UNAUTHORIZED {
            self.registers[1].inc();
            self.challenges.inc();
        } else {
            self.registers[2].inc();
        }
    }

    /// In Prometheus text format.
    pub(crate) fn text(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut text = String::new();
        // Writing to a text does not fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_documented() {
        let documented = include_str!("../../../docs/metrics.md");
        let text = Telemetry::new().text();
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut count = 0;
        for line in names {
            let (name, kind) = line.split_once(' ').unwrap_or((line, ""));
            let shown = if kind == "counter" { format!("`{name}_total`") } else { format!("`{name}`") };
            assert!(documented.contains(&shown), "{shown} is not in docs/metrics.md");
            count += 1;
        }
        assert!(count > 30, "{count}");
    }

    #[test]
    fn registers_are_counted_by_their_answer() {
        let telemetry = Telemetry::new();
        for status in [Status::OK, Status::UNAUTHORIZED, Status::FORBIDDEN, Status::FORBIDDEN] {
            telemetry.registered(status);
        }
        telemetry.requested(&Method::Other("PING".into()));
        let text = telemetry.text();
        for line in [
            "rollcall_registers_total{result=\"accepted\"} 1",
            "rollcall_registers_total{result=\"challenged\"} 1",
            "rollcall_registers_total{result=\"refused\"} 2",
            "rollcall_challenges_total 1",
            "rollcall_sip_requests_total{method=\"other\"} 1",
            "rollcall_sip_requests_total{method=\"REGISTER\"} 0",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
