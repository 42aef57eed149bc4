//! The testbed: starts what a test needs on free ports of 127.0.0.1 and ends what it started.
