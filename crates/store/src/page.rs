//! Lists of users, a page at a time.

use cluster::ShardId;
use scscf::Impi;
use scscf::user::Summary;
use scscf::view::RegistrationState;

/// Which users a list holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those in this state.
    pub state: Option<RegistrationState>,
    /// Only those whose private identity holds this text.
    pub text: Option<Box<str>>,
}

impl Filter {
    pub(crate) fn passes(&self, impi: &Impi, state: RegistrationState) -> bool {
        self.state.is_none_or(|wanted| wanted == state)
            && self.text.as_ref().is_none_or(|text| impi.as_str().contains(&**text))
    }
}

/// One user of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The private user identity.
    pub impi: Impi,
    /// Its shard.
    pub shard: ShardId,
    /// What it owns, in numbers, as last saved.
    pub summary: Summary,
}

/// Some users and whether there are more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// In the order of shard and identity. Fewer than were asked for, even none, if many had to be looked at: `next` tells the end.
    pub users: Vec<Listed>,
    /// Pass it as `after` to read on; `None` at the end.
    pub next: Option<Impi>,
}
