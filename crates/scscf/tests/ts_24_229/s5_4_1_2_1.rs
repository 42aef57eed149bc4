//! TS 24.229 §5.4.1.2.1 — unprotected REGISTER.

use crate::stage::*;
use scscf::Save;

#[test]
fn a_user_registers() {
    let mut stage = Stage::new();
    let ok = stage.register_fully(&Ue::new());
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
    assert_eq!(stage.last, Some(Save::Snapshot));
    assert!(stage.user.is_registered());
}
