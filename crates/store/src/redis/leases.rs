//! Leases and owners in Redis: calls of `functions/leases.lua`.

use super::writer::{Entrant, Job, TOGETHER};
use super::{Group, Redis, answer, array, fail, octets, schema, text};
use crate::settings::Durability;
use crate::{Beat, Claim, Claimed, Error, Fence, Leases, Member, Pending, ShardId};
use redis::{Cmd, Value, cmd};
use scscf::Impu;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The longest lease Redis is asked for: a hundred years.
const LONGEST: u64 = 100 * 365 * 24 * 3_600 * 1_000;

impl Redis {
    fn shards(&self, group: u16) -> impl Iterator<Item = ShardId> {
        ShardId::all().skip(usize::from(group)).step_by(self.groups.len())
    }
}

impl Group {
    fn call(&self, name: &str, keys: &[String]) -> Cmd {
        let mut call = cmd("FCALL");
        call.arg(schema::function(name)).arg(keys.len()).arg(keys);
        call
    }

    fn last_run(&self) -> Box<str> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn beaten(&self, answer: Value, shards: &[ShardId], sent: Instant) -> Result<Beat, Error> {
        let Ok([run, version, members, owners]) = <[Value; 4]>::try_from(array(answer)?) else {
            return Err(fail::unreadable());
        };
        let run: Box<str> = text(run)?.into();
        let version = text(version)?.parse().map_err(|_| fail::unreadable())?;
        let member = |member: Value| -> Result<Member, Error> {
            rmp_serde::from_slice(&octets(member)?.unwrap_or_default()).map_err(|_| fail::unreadable())
        };
        let mut members = array(members)?.into_iter().map(member).collect::<Result<Vec<_>, _>>()?;
        members.sort_unstable_by(|one, other| one.node.cmp(&other.node));
        let owners = match owners {
            Value::Nil => None,
            owners => {
                let tokens = array(owners)?.into_iter().zip(shards);
                let owners = tokens.filter_map(|(token, shard)| match token {
                    Value::Nil => None,
                    token => Some(fence(token).map(|fence| (*shard, fence))),
                });
                Some(owners.collect::<Result<_, _>>()?)
            }
        };
        let former =
            std::mem::replace(&mut *self.run.lock().unwrap_or_else(PoisonError::into_inner), run.clone());
        let is_another_run = !former.is_empty() && former != run;
        self.ring().lived(sent, is_another_run);
        if is_another_run {
            self.facts.may_be_lost();
        }
        Ok(Beat { run, version, owners, members })
    }

    fn taken(&self, answer: Value, claims: &[(ShardId, Option<u64>)]) -> Result<Vec<Claimed>, Error> {
        let answers = array(answer)?;
        if answers.len() != claims.len() {
            return Err(fail::unreadable());
        }
        let claimed = |(answer, (shard, held)): (Value, &(ShardId, Option<u64>))| match <[Value; 2]>::try_from(
            array(answer)?,
        ) {
            Ok([Value::Int(1), token]) => {
                let fence = fence(token)?;
                // Whoever takes as the former holder takes the next epoch: nobody was there in between.
                if held.is_none_or(|held| fence.epoch > held + 1) {
                    self.ring().owned(*shard, &fence);
                }
                Ok(Ok(fence))
            }
            Ok([Value::Int(_), owner]) => {
                Ok(Err(if owner == Value::Nil { None } else { Some(fence(owner)?) }))
            }
            Ok(_) | Err(_) => Err(fail::unreadable()),
        };
        answers.into_iter().zip(claims).map(claimed).collect()
    }
}

fn fence(token: Value) -> Result<Fence, Error> {
    text(token)?.parse().map_err(|_| Error::Corrupt("an owner's token in Redis is none".into()))
}

fn incarnation(number: u64) -> String {
    format!("{number:016x}")
}

fn claimed(token: Option<&Fence>) -> String {
    token.map(ToString::to_string).unwrap_or_default()
}

impl Leases for Redis {
    fn groups(&self) -> u16 {
        super::group_count(&self.groups)
    }

    fn group_of(&self, shard: ShardId) -> u16 {
        shard.number() % self.groups()
    }

    fn beat(
        &self,
        group: u16,
        member: &Member,
        ttl: u64,
        known: Option<u64>,
    ) -> Pending<Result<Beat, Error>> {
        let written = match rmp_serde::to_vec_named(member) {
            Ok(written) => written,
            Err(error) => return Pending::Ready(Err(Error::Corrupt(error.to_string().into()))),
        };
        let ttl = ttl.clamp(1, LONGEST);
        let shards: Vec<ShardId> = self.shards(group).collect();
        let (node, incarnation) = (member.node.clone(), incarnation(member.incarnation));
        self.later(usize::from(group), |group| async move {
            group.ttl.store(ttl, Ordering::Relaxed);
            let keys: Vec<String> = shards.iter().copied().map(schema::owner).collect();
            let mut call = group.call("beat", &keys);
            call.arg(&*node).arg(incarnation).arg(written).arg(ttl);
            call.arg(known.map_or_else(String::new, |known| known.to_string())).arg(&*group.last_run());
            let sent = Instant::now();
            let answer = group.leases.ask(call).await?;
            let beat = group.beaten(answer, &shards, sent)?;
            group.tell_facts().await;
            Ok(beat)
        })
    }

    fn take(&self, group: u16, by: &Member, claims: &[Claim]) -> Pending<Result<Vec<Claimed>, Error>> {
        let keys: Vec<String> = claims.iter().map(|claim| schema::owner(claim.shard)).collect();
        let (node, incarnation) = (by.node.clone(), incarnation(by.incarnation));
        let tokens: Vec<String> = claims
            .iter()
            .flat_map(|claim| {
                [claimed(claim.gone.as_ref()), claimed(claim.held.as_ref()), claim.above.to_string()]
            })
            .collect();
        let claims: Vec<_> =
            claims.iter().map(|claim| (claim.shard, claim.held.as_ref().map(|held| held.epoch))).collect();
        self.later(usize::from(group), |group| async move {
            let mut call = group.call("take", &keys);
            call.arg(&*node).arg(incarnation).arg(group.ttl.load(Ordering::Relaxed)).arg(&*group.last_run());
            call.arg(tokens);
            let answer = group.leases.ask(call).await;
            if group.durability == Durability::Wait1 {
                // Its former owner may have written what no replica has; and a claim may succeed whose answer is lost.
                claims.iter().for_each(|(shard, _)| group.ring().doubts.arise(*shard));
            }
            group.taken(answer?, &claims)
        })
    }

    fn release(&self, group: u16, shards: &[(ShardId, Fence)]) -> Pending<Result<(), Error>> {
        let keys: Vec<String> = shards.iter().map(|(shard, _)| schema::owner(*shard)).collect();
        let tokens: Vec<String> = shards.iter().map(|(_, fence)| fence.to_string()).collect();
        let shards: Vec<ShardId> = shards.iter().map(|(shard, _)| *shard).collect();
        self.later(usize::from(group), |group| async move {
            shards.into_iter().for_each(|shard| group.ring().forget(shard));
            let mut call = group.call("release", &keys);
            call.arg(tokens);
            group.leases.ask(call).await.map(|_| ())
        })
    }

    fn leave(&self, group: u16, member: &Member) -> Pending<Result<(), Error>> {
        let (node, incarnation) = (member.node.clone(), incarnation(member.incarnation));
        self.later(usize::from(group), |group| async move {
            let mut call = group.call("leave", &[]);
            call.arg(&*node).arg(incarnation);
            group.leases.ask(call).await.map(|_| ())
        })
    }

    fn secret(&self, fresh: [u8; 32]) -> Pending<Result<[u8; 32], Error>> {
        self.later(0, move |group| async move { group.secret(fresh).await })
    }

    fn restore(&self, group: u16, shards: &[(ShardId, Fence)]) -> Pending<Result<(), Error>> {
        let shards: Vec<_> = shards.iter().map(|(shard, fence)| (*shard, Arc::new(fence.clone()))).collect();
        let groups = Arc::clone(&self.groups);
        let (done, restored) = oneshot::channel();
        let asked = groups[usize::from(group)].enqueue(Job::Restore { shards, done });
        Pending::Later(Box::pin(async move {
            asked?;
            // Entries of users whose records are elsewhere may be lost as well.
            let of_group = |impu: &&Impu| schema::home(impu).number() % super::group_count(&groups) == group;
            let mut enter = Vec::new();
            for other in groups.iter().filter(|other| other.number != group) {
                for entry in other.ring().all() {
                    let (impi, epoch) = (&entry.change.impi, entry.fence.epoch);
                    let entrant = |impu: &Impu| Entrant { impi: impi.clone(), impu: impu.clone(), epoch };
                    enter.extend(entry.change.impus().iter().filter(of_group).map(entrant));
                }
            }
            restored.await.unwrap_or_else(|_| Err(Error::Unavailable("the store is closed".into())))?;
            // Others want something written meanwhile.
            for some in enter.chunks(TOGETHER) {
                let (enter, quit) = (some.to_vec(), Vec::new());
                let entered = groups[usize::from(group)].submit(|done| Job::Directory { enter, quit, done });
                answer(entered).await?;
            }
            Ok(())
        }))
    }
}
