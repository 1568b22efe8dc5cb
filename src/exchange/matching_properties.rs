//! What must hold for every flow of commands: the book equals a slow twin that is obviously
//! right, equals itself rebuilt from its store, and neither loses nor makes shares.

use std::collections::HashMap;

use proptest::prelude::*;

use super::book::{Book, RestingOrder};
use super::books::Books;
use super::matching::{
    CancelOrder, Command, NewOrder, ReplaceKeepsPlace, ReplaceOrder, Rules, SelfTrade,
};
use super::order::{Side, TimeInForce};
use super::price::Price;
use super::recorder::{Recorder, Said};
use super::trade::{Party, Trade};
use super::update::{OrderUpdate, Reason, Status};

/// A command in small numbers, so that ids, prices and investors meet often.
#[derive(Debug, Clone, Copy)]
enum Step {
    New {
        id: u8,
        investor: u8,
        buys: bool,
        shares: i64,
        limit: Option<i64>,
        time_in_force: TimeInForce,
    },
    Cancel {
        id: u8,
        investor: Option<u8>,
    },
    Replace {
        id: u8,
        investor: Option<u8>,
        buys: Option<bool>,
        shares: i64,
        price: i64,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    let shares = 0..12_i64;
    let price = 0..10_i64;
    let time_in_force = prop_oneof![6 => Just(TimeInForce::Gtc), 1 => Just(TimeInForce::Ioc), 1 => Just(TimeInForce::Fok)];
    // Most commands name the right investor by naming none; a few guess.
    let guess = || prop_oneof![6 => Just(None), 1 => (0..4_u8).prop_map(Some)];
    prop_oneof![
        6 => (0..30_u8, 0..4_u8, any::<bool>(), shares.clone(), proptest::option::weighted(0.9, price.clone()), time_in_force)
            .prop_map(|(id, investor, buys, shares, limit, time_in_force)| Step::New { id, investor, buys, shares, limit, time_in_force }),
        2 => (0..30_u8, guess()).prop_map(|(id, investor)| Step::Cancel { id, investor }),
        4 => (0..30_u8, guess(), prop_oneof![6 => Just(None), 1 => any::<bool>().prop_map(Some)], shares, price)
            .prop_map(|(id, investor, buys, shares, price)| Step::Replace { id, investor, buys, shares, price }),
    ]
}

fn any_rules() -> impl Strategy<Value = Rules> {
    (any::<bool>(), any::<bool>()).prop_map(|(prevent, shrink)| Rules {
        self_trade: if prevent { SelfTrade::CancelNewest } else { SelfTrade::Allow },
        replace_keeps_place: if shrink {
            ReplaceKeepsPlace::OnlyWhenShrunk
        } else {
            ReplaceKeepsPlace::UnlessGrown
        },
    })
}

fn side(buys: bool) -> Side {
    if buys { Side::Buy } else { Side::Sell }
}

/// Carries `step` out on the real book.
fn execute(book: &mut Book, step: Step, rules: Rules, out: &mut Recorder) {
    let name = |number: u8| format!("{number}");
    let units = |price: i64| Price::from_units(price * 100);
    match step {
        Step::New { id, investor, buys, shares, limit, time_in_force } => {
            let (order_id, investor_id) = (name(id), name(investor));
            let order = NewOrder {
                order_id: &order_id,
                investor_id: &investor_id,
                side: side(buys),
                shares,
                limit: limit.map(units),
                time_in_force,
            };
            book.execute(Command::New(order), 0, rules, out);
        }
        Step::Cancel { id, investor } => {
            let (order_id, investor_id) = (name(id), investor.map(name));
            let cancel = CancelOrder { order_id: &order_id, investor_id: investor_id.as_deref() };
            book.execute(Command::Cancel(cancel), 0, rules, out);
        }
        Step::Replace { id, investor, buys, shares, price } => {
            let (order_id, investor_id) = (name(id), investor.map(name));
            let replace = ReplaceOrder {
                order_id: &order_id,
                investor_id: investor_id.as_deref(),
                side: buys.map(side),
                shares,
                price: units(price),
            };
            book.execute(Command::Replace(replace), 0, rules, out);
        }
    }
}

/// The twin: a plain list of resting orders, oldest first, searched from end to end for everything.
#[derive(Default)]
struct Twin {
    orders: Vec<RestingOrder>,
    next_sequence: u64,
    trades: u64,
    said: Vec<Said>,
}

/// What the twin knows of an order that comes in.
struct Coming {
    order_id: String,
    investor_id: String,
    side: Side,
    limit: Option<i64>,
    time_in_force: TimeInForce,
    open: i64,
    filled: i64,
    /// What it is if it rests without having traded just now.
    rests_as: Status,
}

impl Twin {
    fn execute(&mut self, step: Step, rules: Rules) {
        match step {
            Step::New { id, investor, buys, shares, limit, time_in_force } => {
                let coming = Coming {
                    order_id: id.to_string(),
                    investor_id: investor.to_string(),
                    side: side(buys),
                    limit: limit.map(|price| price * 100),
                    time_in_force,
                    open: shares,
                    filled: 0,
                    rests_as: Status::Accepted,
                };
                let reason = if self.orders.iter().any(|order| order.order_id == coming.order_id) {
                    Some(Reason::DuplicateOrderId)
                } else if shares <= 0 {
                    Some(Reason::NonPositiveShares)
                } else if limit == Some(0) {
                    Some(Reason::NonPositivePrice)
                } else {
                    None
                };
                match reason {
                    Some(reason) => self.reject(&coming.order_id, Some(coming.investor_id), reason),
                    None => self.enter(coming, rules),
                }
            }
            Step::Cancel { id, investor } => match self.mine(id, investor) {
                Ok(at) => {
                    let order = self.orders.remove(at);
                    self.update(
                        &order.order_id,
                        Some(order.investor_id.to_string()),
                        Status::Cancelled,
                        0,
                        order.filled_shares,
                        order.open_shares,
                        None,
                    );
                }
                Err(reason) => {
                    self.reject(&id.to_string(), investor.map(|number| number.to_string()), reason);
                }
            },
            Step::Replace { id, investor, buys, shares, price } => {
                let at = self.mine(id, investor).and_then(|at| match buys {
                    Some(buys) if side(buys) != self.orders[at].side => Err(Reason::SideMismatch),
                    _ if shares <= 0 => Err(Reason::NonPositiveShares),
                    _ if price <= 0 => Err(Reason::NonPositivePrice),
                    _ => Ok(at),
                });
                match at {
                    Ok(at) => self.replace(at, shares, price * 100, rules),
                    Err(reason) => self.reject(
                        &id.to_string(),
                        investor.map(|number| number.to_string()),
                        reason,
                    ),
                }
            }
        }
    }

    fn mine(&self, id: u8, investor: Option<u8>) -> Result<usize, Reason> {
        let at = self
            .orders
            .iter()
            .position(|order| order.order_id == id.to_string())
            .ok_or(Reason::UnknownOrder)?;
        match investor {
            Some(investor) if self.orders[at].investor_id != investor.to_string() => {
                Err(Reason::NotOwner)
            }
            _ => Ok(at),
        }
    }

    fn replace(&mut self, at: usize, shares: i64, price: i64, rules: Rules) {
        let order = &mut self.orders[at];
        let most = order.open_shares
            - i64::from(rules.replace_keeps_place == ReplaceKeepsPlace::OnlyWhenShrunk);
        if order.price.units() == price && shares <= most {
            order.open_shares = shares;
            let order = order.clone();
            self.update(
                &order.order_id,
                Some(order.investor_id.to_string()),
                Status::Replaced,
                shares,
                order.filled_shares,
                0,
                None,
            );
            return;
        }
        let order = self.orders.remove(at);
        let coming = Coming {
            order_id: order.order_id.to_string(),
            investor_id: order.investor_id.to_string(),
            side: order.side,
            limit: Some(price),
            time_in_force: TimeInForce::Gtc,
            open: shares,
            filled: order.filled_shares,
            rests_as: Status::Replaced,
        };
        self.enter(coming, rules);
    }

    /// Where the orders are that `coming` may trade with: best price first, then oldest.
    fn makers(&self, coming: &Coming) -> Vec<usize> {
        let mut makers: Vec<usize> = (0..self.orders.len())
            .filter(|at| self.orders[*at].side != coming.side)
            .filter(|at| {
                let price = self.orders[*at].price.units();
                coming.limit.is_none_or(|limit| {
                    if coming.side == Side::Buy { price <= limit } else { price >= limit }
                })
            })
            .collect();
        makers.sort_by_key(|at| {
            let price = self.orders[*at].price.units();
            (if coming.side == Side::Buy { price } else { -price }, self.orders[*at].sequence)
        });
        makers
    }

    fn enter(&mut self, mut coming: Coming, rules: Rules) {
        let mut makers = self.makers(&coming);
        let own = |order: &RestingOrder| order.investor_id == coming.investor_id;
        let stop = makers
            .iter()
            .position(|at| rules.self_trade == SelfTrade::CancelNewest && own(&self.orders[*at]))
            .unwrap_or(makers.len());
        let meets_own = stop < makers.len();
        makers.truncate(stop);
        let within: i64 = makers.iter().map(|at| self.orders[*at].open_shares).sum();
        if coming.time_in_force == TimeInForce::Fok && within < coming.open {
            return self.gone(&coming, Some(Reason::FokUnfilled));
        }
        let filled_before = coming.filled;
        for at in makers {
            if coming.open > 0 {
                self.trade(&mut coming, at);
            }
        }
        self.orders.retain(|order| order.open_shares > 0);
        let Coming { open, filled, .. } = coming;
        match (coming.limit, coming.time_in_force) {
            _ if open == 0 => self.gone(&coming, None),
            _ if meets_own => self.gone(&coming, Some(Reason::SelfTrade)),
            (None, _) => self.gone(&coming, Some(Reason::NoLiquidity)),
            (Some(price), TimeInForce::Gtc) => {
                let status =
                    if filled > filled_before { Status::PartiallyFilled } else { coming.rests_as };
                self.update(
                    &coming.order_id,
                    Some(coming.investor_id.clone()),
                    status,
                    open,
                    filled,
                    0,
                    None,
                );
                self.orders.push(RestingOrder {
                    order_id: coming.order_id.into(),
                    investor_id: coming.investor_id.into(),
                    side: coming.side,
                    price: Price::from_units(price),
                    sequence: self.next_sequence,
                    open_shares: open,
                    filled_shares: filled,
                });
                self.next_sequence += 1;
            }
            (Some(_), _) => self.gone(&coming, Some(Reason::IocRemainder)),
        }
    }

    fn trade(&mut self, coming: &mut Coming, at: usize) {
        self.trades += 1;
        let maker = &mut self.orders[at];
        let shares = coming.open.min(maker.open_shares);
        coming.open -= shares;
        coming.filled += shares;
        maker.open_shares -= shares;
        maker.filled_shares += shares;
        let maker = maker.clone();
        self.said.push(Said::Trade(Trade {
            asset_id: "a".into(),
            number: self.trades,
            price: maker.price,
            shares,
            maker: Party {
                order_id: maker.order_id.clone(),
                investor_id: maker.investor_id.clone(),
            },
            taker: Party {
                order_id: coming.order_id.as_str().into(),
                investor_id: coming.investor_id.as_str().into(),
            },
            taker_side: coming.side,
            timestamp: 0,
        }));
        let status = if maker.open_shares == 0 { Status::Filled } else { Status::PartiallyFilled };
        self.update(
            &maker.order_id,
            Some(maker.investor_id.to_string()),
            status,
            maker.open_shares,
            maker.filled_shares,
            0,
            None,
        );
    }

    fn gone(&mut self, coming: &Coming, reason: Option<Reason>) {
        let status = if reason.is_some() { Status::Cancelled } else { Status::Filled };
        self.update(
            &coming.order_id,
            Some(coming.investor_id.clone()),
            status,
            0,
            coming.filled,
            coming.open,
            reason,
        );
    }

    fn reject(&mut self, order_id: &str, investor_id: Option<String>, reason: Reason) {
        self.update(order_id, investor_id, Status::Rejected, 0, 0, 0, Some(reason));
    }

    #[expect(clippy::too_many_arguments, reason = "an update's fields, in a row")]
    fn update(
        &mut self,
        order_id: &str,
        investor_id: Option<String>,
        status: Status,
        open: i64,
        filled: i64,
        cancelled: i64,
        reason: Option<Reason>,
    ) {
        let update = OrderUpdate {
            order_id: order_id.into(),
            investor_id: investor_id.map(Into::into),
            asset_id: "a".into(),
            status,
            open_shares: open,
            filled_shares: filled,
            reason,
        };
        self.said.push(Said::Update(update, cancelled));
    }

    /// A side's orders as a book lists them.
    fn side(&self, side: Side) -> Vec<RestingOrder> {
        let mut orders: Vec<_> =
            self.orders.iter().filter(|order| order.side == side).cloned().collect();
        orders.sort_by_key(|order| {
            (
                if side == Side::Sell { order.price.units() } else { -order.price.units() },
                order.sequence,
            )
        });
        orders
    }
}

fn listed(book: &Book, side: Side) -> Vec<RestingOrder> {
    book.orders(side).cloned().collect()
}

/// Shares on one side of all trades and open in the book must be those that came in less those
/// that were given up. Counted from the updates' own words, order by order.
fn assert_shares_conserved(book: &Book, steps: &[(Step, Vec<Said>)]) {
    let mut open: HashMap<String, i64> = HashMap::new();
    for (step, said) in steps {
        let mut traded: HashMap<&str, i64> = HashMap::new();
        for said in said {
            match said {
                Said::Trade(trade) => {
                    assert!(trade.shares > 0);
                    *traded.entry(&trade.maker.order_id).or_default() += trade.shares;
                    *traded.entry(&trade.taker.order_id).or_default() += trade.shares;
                }
                Said::Update(update, _) if update.status == Status::Rejected => {
                    assert!(traded.is_empty());
                }
                Said::Update(update, cancelled) => {
                    let id = update.order_id.to_string();
                    let traded = traded.remove(id.as_str()).unwrap_or(0);
                    let own = said_of(*step) == id;
                    let before = match step {
                        Step::New { shares, .. } | Step::Replace { shares, .. } if own => *shares,
                        _ => open[&id],
                    };
                    assert_eq!(
                        before,
                        update.open_shares + traded + cancelled,
                        "{step:?}: {update:?}"
                    );
                    open.insert(id, update.open_shares);
                }
            }
        }
    }
    open.retain(|_, shares| *shares > 0);
    let resting: HashMap<String, i64> = [Side::Buy, Side::Sell]
        .into_iter()
        .flat_map(|side| book.orders(side))
        .map(|order| (order.order_id.to_string(), order.open_shares))
        .collect();
    assert_eq!(resting, open);
}

fn said_of(step: Step) -> String {
    match step {
        Step::New { id, .. } | Step::Cancel { id, .. } | Step::Replace { id, .. } => id.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_book_is_its_slow_twin_its_own_rebuild_and_conserves_shares(
        steps in proptest::collection::vec(any_step(), 1..120),
        rules in any_rules(),
        rebuild_at: prop::sample::Index,
    ) {
        let mut book = Book::new("a");
        let mut out = Recorder::default();
        let mut twin = Twin::default();
        let mut history = Vec::new();
        let rebuild_at = rebuild_at.index(steps.len());
        for (number, step) in steps.into_iter().enumerate() {
            if number == rebuild_at {
                // From here on the rebuilt book must do all that the live one would.
                book = std::mem::replace(Books::restore(&out.store)?.book_mut("a"), Book::new("a"));
            }
            execute(&mut book, step, rules, &mut out);
            twin.execute(step, rules);
            prop_assert_eq!(&out.said, &twin.said, "{:?}", step);
            history.push((step, std::mem::take(&mut out.said)));
            twin.said.clear();
            for side in [Side::Buy, Side::Sell] {
                prop_assert_eq!(listed(&book, side), twin.side(side), "{:?}", step);
            }
            prop_assert_eq!(book.len(), twin.orders.len());
            let best = |side| book.orders(side).next().map(|order| order.price);
            if let (Some(bid), Some(ask)) = (best(Side::Buy), best(Side::Sell)) {
                prop_assert!(bid < ask, "crossed: {bid} {ask}");
            }
        }
        assert_shares_conserved(&book, &history);

        let mut books = Books::restore(&out.store)?;
        let rebuilt = books.book_mut("a");
        prop_assert_eq!(rebuilt.header(), book.header());
        for side in [Side::Buy, Side::Sell] {
            let orders = listed(&book, side);
            prop_assert_eq!(&listed(rebuilt, side), &orders);
            prop_assert!(orders.iter().all(|order| rebuilt.order(&order.order_id) == Some(order)));
        }
    }
}

#[test]
fn a_store_that_holds_an_id_twice_is_refused() {
    let mut out = Recorder::default();
    for (asset, price) in [("a", 1), ("a", 2)] {
        let mut book = Book::new(asset);
        execute(
            &mut book,
            Step::New {
                id: 1,
                investor: 1,
                buys: true,
                shares: 1,
                limit: Some(price),
                time_in_force: TimeInForce::Gtc,
            },
            Rules::default(),
            &mut out,
        );
    }
    assert!(Books::restore(&out.store).unwrap_err().to_string().contains("order 1 of asset a"));
}
