//! The shell: actix actors, sockets, clock, configuration.
