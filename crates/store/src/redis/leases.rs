//! Leases and owners in Redis: calls of `functions/leases.lua`.

use super::writer::Job;
use super::{Group, Redis, answer, array, fail, get, octets, schema, text};
use crate::{Beat, Claim, Claimed, Error, Fence, Leases, Member, Pending, ShardId};
use redis::{Cmd, Value, cmd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::sync::oneshot;

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

    fn beaten(&self, answer: Value, shards: &[ShardId]) -> Result<Beat, Error> {
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
        self.run.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&run);
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
            let answer = group.line.ask(call).await?;
            group.beaten(answer, &shards)
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
            let answer = group.line.ask(call).await?;
            group.taken(answer, &claims)
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
            group.line.ask(call).await.map(|_| ())
        })
    }

    fn leave(&self, group: u16, member: &Member) -> Pending<Result<(), Error>> {
        let (node, incarnation) = (member.node.clone(), incarnation(member.incarnation));
        self.later(usize::from(group), |group| async move {
            let mut call = group.call("leave", &[]);
            call.arg(&*node).arg(incarnation);
            group.line.ask(call).await.map(|_| ())
        })
    }

    fn secret(&self, fresh: [u8; 32]) -> Pending<Result<[u8; 32], Error>> {
        self.later(0, |group| async move {
            let mut set = cmd("SET");
            set.arg(schema::SECRET).arg(&fresh[..]).arg("NX");
            group.line.ask(set).await?;
            let kept = octets(group.line.ask(get(schema::SECRET.into())).await?)?;
            kept.and_then(|kept| kept.try_into().ok())
                .ok_or_else(|| Error::Corrupt("the secret in Redis has not 32 octets".into()))
        })
    }

    fn restore(&self, group: u16, shards: &[(ShardId, Fence)]) -> Pending<Result<(), Error>> {
        let shards: Vec<_> = shards.iter().map(|(shard, fence)| (*shard, Arc::new(fence.clone()))).collect();
        let groups = Arc::clone(&self.groups);
        let (done, restored) = oneshot::channel();
        let asked = groups[usize::from(group)].enqueue(Job::Restore { shards, done });
        Pending::Later(Box::pin(async move {
            asked?;
            // Entries of users whose records are elsewhere may be lost as well.
            let of_group =
                |impu: &&scscf::Impu| schema::home(impu).number() % super::group_count(&groups) == group;
            let mut enter = Vec::new();
            for other in groups.iter().filter(|other| other.number != group) {
                for (impi, impus) in other.ring().identities() {
                    enter.extend(impus.iter().filter(of_group).map(|impu| (impi.clone(), impu.clone())));
                }
            }
            let entered = (!enter.is_empty()).then(|| {
                groups[usize::from(group)].submit(|done| Job::Directory { enter, quit: Vec::new(), done })
            });
            restored.await.unwrap_or_else(|_| Err(Error::Unavailable("the store is closed".into())))?;
            match entered {
                Some(entered) => answer(entered).await.map(|_| ()),
                None => Ok(()),
            }
        }))
    }
}
