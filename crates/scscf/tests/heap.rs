//! What one registered user costs in memory.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, unreachable_pub, dead_code)]
// An allocator is unsafe by its trait; this one counts and hands on.
#![allow(unsafe_code)]

#[path = "ts_24_229/stage.rs"]
mod stage;

use stage::{Stage, Ue};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_registered_user_holds_little_beside_its_shared_profile() {
    let mut stage = Stage::new();
    let ue = Ue::new().line("P-Charging-Vector: icid-value=0123456789abcdef;orig-ioi=visited.example");
    assert_eq!(stage.register_fully(&ue).status().code(), 200);
    let before = HELD.load(Ordering::Relaxed);
    let copy = stage.user.clone();
    let held = HELD.load(Ordering::Relaxed) - before + size_of_val(&copy);
    eprintln!("a registered user: {held} octets, {} of them inline", size_of_val(&copy));
    assert!(held < 1200, "{held} octets, {} of them inline", size_of_val(&copy));
}
