//! End to end: real sockets, real processes.
