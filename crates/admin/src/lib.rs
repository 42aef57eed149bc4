//! The operator's HTTP interface: questions, answers, live watch.
