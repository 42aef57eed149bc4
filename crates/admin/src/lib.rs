//! The operator's HTTP interface: questions, answers, live watch.

pub mod ask;

pub use ask::{
    Answer, Answering, Ask, ClusterView, Filter, Node, NodeView, Observation, Page, Refused, Row, ShardView,
    UserView,
};
