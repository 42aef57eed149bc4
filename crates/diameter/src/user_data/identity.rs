//! TS 29.228 annex E — PublicIdentity.

use super::{elements::Elements, malformed};
use scscf::{
    Impu,
    cx::UserDataError,
    profile::{IdentityType, PublicIdentity},
};

#[derive(Default)]
struct Read {
    text: Option<String>,
    barred: bool,
    kind: Option<IdentityType>,
    wildcard: Option<Box<str>>,
    display_name: Option<Box<str>>,
    alias_group: Option<Box<str>>,
}

pub(super) fn read(elements: &mut Elements<'_>) -> Result<PublicIdentity, UserDataError> {
    let mut read = Read::default();
    members(elements, &mut read)?;
    let text = read.text.ok_or_else(|| malformed("PublicIdentity has no Identity"))?;
    let impu = Impu::parse(&text).ok_or_else(|| malformed(&format!("{text} is no public identity")))?;
    Ok(PublicIdentity {
        impu,
        text: text.into(),
        barred: read.barred,
        kind: read.kind.unwrap_or(IdentityType::PublicUserIdentity),
        wildcard: read.wildcard,
        display_name: read.display_name,
        alias_group: read.alias_group,
    })
}

/// The members of the element and of its nested extensions: each has names of its own, so all are read alike.
fn members(elements: &mut Elements<'_>, read: &mut Read) -> Result<(), UserDataError> {
    while let Some(name) = elements.child()? {
        match name {
            "Identity" => read.text = Some(elements.text()?),
            "BarringIndication" => {
                read.barred =
                    elements.boolean()?.ok_or_else(|| malformed("BarringIndication is no boolean"))?;
            }
            "IdentityType" => {
                let number = elements.number()?;
                read.kind =
                    Some(number.and_then(kind).ok_or_else(|| malformed("IdentityType is not 0 to 4"))?);
            }
            "WildcardedPSI" | "WildcardedIMPU" => read.wildcard = Some(elements.text()?.into()),
            "DisplayName" => read.display_name = Some(elements.text()?.into()),
            "AliasIdentityGroupID" => read.alias_group = Some(elements.text()?.into()),
            "Extension" => members(elements, read)?,
            _ => elements.skip()?,
        }
    }
    Ok(())
}

const fn kind(number: u32) -> Option<IdentityType> {
    Some(match number {
        0 => IdentityType::PublicUserIdentity,
        1 => IdentityType::DistinctPsi,
        2 => IdentityType::WildcardedPsi,
        3 => IdentityType::NonDistinctImpu,
        4 => IdentityType::WildcardedImpu,
        _ => return None,
    })
}
