//! `cargo +nightly fuzz run user_data`: octets as an IMSSubscription; what is read is written and read again.
#![no_main]

use diameter::user_data::{parse, to_xml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Ok(subscription) = parse(octets) {
        assert_eq!(parse(&to_xml(&subscription)), Ok(subscription));
    }
});
