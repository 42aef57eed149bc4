//! Who owns which shard, as a value.
