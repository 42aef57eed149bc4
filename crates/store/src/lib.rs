//! Where users outlive their actors: the trait, its in-memory kind, one contract for all kinds.
