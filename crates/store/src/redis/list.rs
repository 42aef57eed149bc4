//! Lists of users out of Redis: the sorted sets of deadlines name every user of a shard, the heads of the records tell the rest.

use super::{Group, array, fail, impi, octets, schema, text};
use crate::head::{self, Head};
use crate::{Error, Filter, Listed, Page, ShardId};
use redis::{Pipeline, Value};
use scscf::Impi;
use std::sync::Arc;

/// So many users are looked at in one call, and some of a shard more; a list that filters much has short pages instead of long calls.
const EXAMINED: usize = 20_000;
/// So many names are looked at in one call, and some of a shard more.
const NAMED: usize = 200_000;
/// So many heads are read at once, at least and at most.
const AT_ONCE: (usize, usize) = (64, 500);
/// So many shards are asked at once for their users, while few are found.
const SHARDS_AT_ONCE: usize = 64;

/// One page.
pub(super) async fn page(
    groups: &[Arc<Group>],
    filter: &Filter,
    after: Option<&Impi>,
    limit: usize,
) -> Result<Page, Error> {
    let first = after.map_or(0, |after| ShardId::of(after.as_str()).number());
    let mut shards = (first..ShardId::COUNT).filter_map(ShardId::new).peekable();
    let (mut page, mut examined, mut named, mut at_once) = (Page::default(), 0, 0, 1);
    while shards.peek().is_some() {
        let some: Vec<ShardId> = shards.by_ref().take(at_once).collect();
        at_once = (2 * at_once).min(SHARDS_AT_ONCE);
        for (shard, mut users) in some.iter().copied().zip(users(groups, &some).await?) {
            named += users.len();
            let last = users.iter().max().cloned();
            users.retain(|impi| {
                let is_after = after.is_none_or(|after| shard.number() != first || impi > after);
                is_after && filter.text.as_ref().is_none_or(|text| impi.as_str().contains(&**text))
            });
            users.sort_unstable();
            for users in users.chunks(limit.saturating_add(1).clamp(AT_ONCE.0, AT_ONCE.1)) {
                for (impi, head) in users.iter().zip(heads(groups, shard, users).await?) {
                    // One without record was erased since its shard was asked.
                    let Some(head) = head.filter(|head| filter.passes(impi, head.summary.state)) else {
                        continue;
                    };
                    if page.users.len() == limit {
                        page.next = page.users.last().map(|user| user.impi.clone());
                        return Ok(page);
                    }
                    page.users.push(Listed { impi: impi.clone(), shard, summary: head.summary });
                }
                examined += users.len();
                if examined >= EXAMINED {
                    page.next = users.last().cloned();
                    return Ok(page);
                }
            }
            if named >= NAMED && last.is_some() {
                page.next = last;
                return Ok(page);
            }
        }
    }
    Ok(page)
}

/// The users of each shard, in no order.
async fn users(groups: &[Arc<Group>], shards: &[ShardId]) -> Result<Vec<Vec<Impi>>, Error> {
    let mut found = vec![Vec::new(); shards.len()];
    for (number, group) in groups.iter().enumerate() {
        let its = |shard: &ShardId| usize::from(shard.number()) % groups.len() == number;
        let places: Vec<usize> =
            shards.iter().enumerate().filter(|(_, shard)| its(shard)).map(|(place, _)| place).collect();
        if places.is_empty() {
            continue;
        }
        let mut questions = Pipeline::with_capacity(places.len());
        for place in &places {
            questions.cmd("ZRANGE").arg(schema::due(shards[*place])).arg(0).arg(-1);
        }
        for (place, members) in places.into_iter().zip(group.line.ask_all(questions).await?) {
            let members = array(members)?.into_iter().map(|member| impi(&text(member)?));
            found[place] = members.collect::<Result<_, _>>()?;
        }
    }
    Ok(found)
}

/// The heads of the records of some users of a shard.
async fn heads(groups: &[Arc<Group>], shard: ShardId, users: &[Impi]) -> Result<Vec<Option<Head>>, Error> {
    let group = &groups[usize::from(shard.number()) % groups.len()];
    let mut questions = Pipeline::with_capacity(users.len());
    for impi in users {
        questions.cmd("GETRANGE").arg(schema::record(shard, impi)).arg(0).arg(head::LENGTH - 1);
    }
    let answers = group.line.ask_all(questions).await?;
    let head = |answer: Value| match octets(answer)? {
        Some(head) if !head.is_empty() => Head::read(&head).map(Some),
        Some(_) => Ok(None),
        None => Err(fail::unreadable()),
    };
    answers.into_iter().map(head).collect()
}
