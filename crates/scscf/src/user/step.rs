//! The context of one step: its moment, the policy, and the effects it gathers.

use crate::{Effect, Moment, Outcome, Policy, Rejection, Save, Timestamp};
use std::borrow::Cow;

/// One step in the making. Procedures take it last.
#[derive(Debug)]
pub struct Step<'a> {
    moment: Moment,
    minted: u32,
    /// The operator's choices.
    pub policy: &'a Policy,
    effects: Vec<Effect>,
    dirty: bool,
    refused: Option<Rejection>,
    summary: Cow<'static, str>,
}

impl<'a> Step<'a> {
    pub(crate) const fn new(moment: Moment, policy: &'a Policy) -> Self {
        Self {
            moment,
            minted: 0,
            policy,
            effects: Vec::new(),
            dirty: false,
            refused: None,
            summary: Cow::Borrowed(""),
        }
    }

    /// When the step happens.
    pub const fn now(&self) -> Timestamp {
        self.moment.now
    }

    /// Asks something of the world.
    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Something that must outlive the actor changed.
    pub(crate) const fn changed(&mut self) {
        self.dirty = true;
    }

    /// Notes the refusal of this step, for people who watch.
    pub(crate) fn refuse(&mut self, rejection: Rejection) {
        self.summary = Cow::Owned(rejection.to_string());
        self.refused = Some(rejection);
    }

    /// Says in one line what happened; the last word wins. Holds no secret.
    pub(crate) fn say(&mut self, summary: impl Into<Cow<'static, str>>) {
        self.summary = summary.into();
    }

    /// Mints 64 bits of chance, a different number at each call of one step.
    pub(crate) fn mint(&mut self) -> u64 {
        self.minted += 1;
        let folded =
            (self.moment.seed.0 as u64) ^ ((self.moment.seed.0 >> 64) as u64).rotate_left(self.minted);
        splitmix(folded.wrapping_add(u64::from(self.minted).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Mints a tag for From and To.
    pub(crate) fn tag(&mut self) -> String {
        format!("{:016x}", self.mint())
    }

    pub(crate) fn finish(self, owns_nothing: bool) -> Outcome {
        let save = match (self.dirty, owns_nothing) {
            (_, true) => Save::Erase,
            (true, false) => Save::Snapshot,
            (false, false) => Save::Unchanged,
        };
        Outcome { save, effects: self.effects, refused: self.refused, summary: self.summary }
    }
}

/// The finaliser of SplitMix64: spreads every input bit over the output.
const fn splitmix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
