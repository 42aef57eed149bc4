//! RFC 5393 §5 — Max-Breadth: how many branches a request may have at once, all proxies together.

use crate::{Malformed, Name, Request, lexis};

/// What a request without Max-Breadth may have.
pub const DEFAULT_BREADTH: u32 = 60;

/// There are more branches than Max-Breadth allows: answer 440, or try them one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{branches} branches at once where {breadth} are allowed")]
pub struct TooNarrow {
    /// What is left of Max-Breadth.
    pub breadth: u32,
    /// How many branches were wanted.
    pub branches: u32,
}

/// Max-Breadth; more than fits counts as the most that fits.
///
/// # Errors
/// It is no number.
pub fn max_breadth(request: &Request) -> Result<Option<u32>, Malformed> {
    let Some(value) = request.get(Name::MaxBreadth) else { return Ok(None) };
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Malformed { header: Name::MaxBreadth, why: "not a number" });
    }
    let number = lexis::decimal(value.as_bytes()).and_then(|number| u32::try_from(number).ok());
    Ok(Some(number.unwrap_or(u32::MAX)))
}

/// The Max-Breadth of each of `branches` that are open at once; together they have what the request has.
///
/// # Errors
/// [`TooNarrow`] where one would be left without.
pub fn shares(breadth: u32, branches: u32) -> Result<impl Iterator<Item = u32>, TooNarrow> {
    if breadth < branches.max(1) {
        return Err(TooNarrow { breadth, branches });
    }
    let (each, over) = (breadth / branches.max(1), breadth % branches.max(1));
    Ok((0..branches).map(move |branch| each + u32::from(branch < over)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Method, Uri};

    #[test]
    fn reads_numbers_only() {
        let read = |value: &str| {
            let uri = Uri::parse("sip:a").unwrap();
            max_breadth(&Request::build(Method::Invite, &uri).header(Name::MaxBreadth, value).finish())
        };
        assert_eq!(read("60"), Ok(Some(60)));
        assert_eq!(read("99999999999999999999999"), Ok(Some(u32::MAX)));
        assert!(read("").is_err() && read("-1").is_err() && read("6 0").is_err());
        let bare = Request::build(Method::Invite, &Uri::parse("sip:a").unwrap()).finish();
        assert_eq!(max_breadth(&bare), Ok(None));
    }

    #[test]
    fn nothing_is_lost_and_nobody_goes_without() {
        let split = |breadth, branches| shares(breadth, branches).map(|shares| shares.collect::<Vec<_>>());
        assert_eq!(split(60, 1), Ok(vec![60]));
        assert_eq!(split(60, 7), Ok(vec![9, 9, 9, 9, 8, 8, 8]));
        assert_eq!(split(3, 3), Ok(vec![1, 1, 1]));
        assert_eq!(split(2, 3), Err(TooNarrow { breadth: 2, branches: 3 }));
        assert_eq!(split(0, 1), Err(TooNarrow { breadth: 0, branches: 1 }));
        assert_eq!(split(5, 0), Ok(vec![]));
    }
}
