//! Two nodes on one thread: what one says of whom it lends, and what the other makes of it.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::Config;
use crate::actor::duties::Duties;
use crate::actor::membership::Place;
use crate::actor::parcel::Parcel;
use crate::actor::residents::Resident;
use crate::word::Wish;
use scscf::AskTx;
use std::sync::Arc;
use std::time::Duration;

/// A node that lends, its heir, and what each calls the other.
struct Two {
    lender: Rc<Shell>,
    heir: Rc<Shell>,
    to_heir: Slot,
    to_lender: Slot,
}

fn with_two(run: impl AsyncFnOnce(&Two)) {
    let config = |id: &str| {
        let settings = [
            ("NODE__ID", id),
            ("SIP__LISTEN", "udp:127.0.0.1:0"),
            ("HTTP__LISTEN", "127.0.0.1:0"),
            ("CX__PEERS", "tcp:127.0.0.1:1"),
            ("STORE__KIND", "redis"),
            ("CLUSTER__LISTEN", "127.0.0.1:0"),
        ];
        let environment = settings.map(|(key, value)| (format!("ROLLCALL__{key}"), value.to_owned()));
        Config::read("", environment.into_iter()).unwrap()
    };
    actix_rt::System::new().block_on(async {
        let store = Arc::new(store::Memory::new());
        let (lender, close_one, _) = crate::run::begin(config("n1"), store.clone()).await.unwrap();
        let (heir, close_other, _) = crate::run::begin(config("n2"), store).await.unwrap();
        let is_settled = || lender.own_shards() == 512 && heir.own_shards() == 512;
        eventually(|| is_settled().then_some(())).await;
        let to_heir = eventually(|| lender.member_slot("n2")).await;
        let to_lender = eventually(|| heir.member_slot("n1")).await;
        let two = Two { lender, heir, to_heir, to_lender };
        run(&two).await;
        close_one.await;
        close_other.await;
        two.lender.stopped.set(true);
        two.heir.stopped.set(true);
    });
}

async fn eventually<T>(mut probe: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1_000 {
        if let Some(found) = probe() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not come to pass");
}

impl Two {
    /// Two users of one shard of the heir's.
    fn users(&self) -> (ShardId, Impi, Impi) {
        let users = (0..).map(|number| Impi::new(&format!("user{number}@example.org")).unwrap());
        let shard = |impi: &Impi| ShardId::of(impi.as_str());
        let mut users = users.filter(|impi| self.heir.place(shard(impi)) == Place::Mine);
        let one = users.next().unwrap();
        let other = users.find(|impi| shard(impi) == shard(&one)).unwrap();
        (shard(&one), one, other)
    }

    /// The lender offers these users.
    async fn offers(&self, shard: ShardId, users: &[&Impi]) {
        let users: Vec<Impi> = users.iter().map(|impi| (*impi).clone()).collect();
        assert!(self.lender.say(self.to_heir, &Word::Lend { shard, users: users.clone() }));
        for impi in &users {
            eventually(|| (self.heir.loans.lender(impi) == Some(self.to_lender)).then_some(())).await;
        }
    }

    fn is_leaving(&self, shard: ShardId, stage: Stage) {
        let fence = Fence { epoch: 1, node: "n1".into(), incarnation: 1 };
        let leaving = Leaving { fence, to: "n2".into(), since: 0, stage };
        self.lender.shards.set_leaving(shard, Some(leaving));
    }

    /// The heir knows that a user is not elsewhere any more, and looks after it.
    async fn comes_home(&self, impi: &Impi) {
        eventually(|| self.heir.loans.lender(impi).is_none().then_some(())).await;
        assert!(self.heir.shards.next_deadline().is_some());
    }
}

#[test]
fn whoever_was_offered_and_ended_before_the_shard_went_is_not_on_loan() {
    with_two(async |two| {
        let (shard, ended, lent) = two.users();
        two.offers(shard, &[&ended, &lent]).await;
        two.lender.shards.enter(&lent, Resident::Loading(Rc::new(Duties::default()), Vec::new()));
        two.lender.loans.lend(lent.clone(), two.to_heir);
        two.is_leaving(shard, Stage::Lending(two.to_heir));
        two.lender.give_up(shard);
        two.comes_home(&ended).await;
        assert_eq!(two.heir.loans.lender(&lent), Some(two.to_lender));
        two.lender.return_user(&lent);
        two.comes_home(&lent).await;
    });
}

#[test]
fn whoever_was_offered_when_the_shard_was_lost_is_not_on_loan() {
    with_two(async |two| {
        let (shard, one, other) = two.users();
        two.offers(shard, &[&one, &other]).await;
        two.is_leaving(shard, Stage::Offered(two.to_heir));
        two.lender.end_shard(shard);
        two.comes_home(&one).await;
        two.comes_home(&other).await;
    });
}

#[test]
fn a_user_on_loan_who_crashes_comes_home() {
    with_two(async |two| {
        let (shard, lent, _) = two.users();
        two.offers(shard, &[&lent]).await;
        two.lender.loans.lend(lent.clone(), two.to_heir);
        two.lender.crashed(lent.clone(), Rc::new(Duties::default()), None);
        two.comes_home(&lent).await;
    });
}

#[test]
fn whoever_the_lender_does_not_have_is_served_at_home() {
    with_two(async |two| {
        let (shard, gone, _) = two.users();
        two.offers(shard, &[&gone]).await;
        let wish = Wish::Deregister { reason: "test".into() };
        two.heir.bring(&gone, Parcel::Wish { ask: AskTx(1), wish });
        two.comes_home(&gone).await;
        eventually(|| (two.heir.deliveries.waiting() == 0).then_some(())).await;
    });
}

#[test]
fn the_deadline_of_a_user_on_loan_is_kept_at_home() {
    with_two(async |two| {
        let (shard, lent, _) = two.users();
        two.offers(shard, &[&lent]).await;
        let now = two.heir.clock.now();
        two.heir.shards.rearm(&lent, None, Some(now));
        two.heir.wake_due();
        assert!(two.heir.shards.next_deadline().is_some_and(|at| at > now));
    });
}
