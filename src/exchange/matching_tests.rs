//! Every rule of matching, one small book each.

use super::book::Book;
use super::matching::{Command, ReplaceKeepsPlace, Rules, SelfTrade};
use super::order::{Order, Side};
use super::recorder::{Recorder, Said};
use super::trade::Trade;

/// A book that is told orders in JSON with `asset_id`, `current_shares` and a default investor
/// filled in, and whose answers read as lines.
struct Floor {
    book: Book,
    rules: Rules,
    out: Recorder,
}

impl Floor {
    fn new() -> Self {
        Self::with(Rules::default())
    }

    fn with(rules: Rules) -> Self {
        Self { book: Book::new("a"), rules, out: Recorder::default() }
    }

    /// Sends an order and returns what the book says to it.
    fn send(&mut self, fields: &str) -> Vec<String> {
        let investor = if fields.contains("investor_id") { "" } else { r#""investor_id":"Mari","# };
        let json = format!(r#"{{"asset_id":"a","current_shares":1000,{investor}{fields}}}"#);
        let order = Order::from_json(json.as_bytes()).unwrap();
        self.out.said.clear();
        self.book.execute(Command::of(&order).unwrap(), 7, self.rules, &mut self.out);
        self.out.said.iter().map(line).collect()
    }

    fn buy(&mut self, id: u32, shares: i64, price: &str, more: &str) -> Vec<String> {
        self.send(&format!(
            r#""order_id":"{id}","order_type":"BUY","shares":{shares},"price":{price}{more}"#
        ))
    }

    fn sell(&mut self, id: u32, shares: i64, price: &str, more: &str) -> Vec<String> {
        self.send(&format!(
            r#""order_id":"{id}","order_type":"SELL","shares":{shares},"price":{price}{more}"#
        ))
    }

    fn replace(&mut self, id: u32, shares: i64, price: &str) -> Vec<String> {
        self.send(&format!(
            r#""order_id":"{id}","action":"REPLACE","shares":{shares},"price":{price}"#
        ))
    }

    fn cancel(&mut self, id: u32) -> Vec<String> {
        self.send(&format!(r#""order_id":"{id}","action":"CANCEL""#))
    }

    /// A side as `id:open@price`, best first.
    fn side(&self, side: Side) -> String {
        let orders: Vec<_> = self
            .book
            .orders(side)
            .map(|order| format!("{}:{}@{}", order.order_id, order.open_shares, order.price))
            .collect();
        orders.join(" ")
    }
}

fn line(said: &Said) -> String {
    match said {
        Said::Trade(Trade { number, price, shares, maker, taker, .. }) => {
            format!(
                "trade {number}: {} takes {shares} of {} at {price}",
                taker.order_id, maker.order_id
            )
        }
        Said::Update(update, cancelled) => {
            let cancelled =
                if *cancelled > 0 { format!(" gave up {cancelled}") } else { String::new() };
            let reason = update.reason.map(|reason| format!(" {reason}")).unwrap_or_default();
            let (open, filled) = (update.open_shares, update.filled_shares);
            format!("{} {} {open}/{filled}{cancelled}{reason}", update.order_id, update.status)
        }
    }
}

const IOC: &str = r#","time_in_force":"IOC""#;
const FOK: &str = r#","time_in_force":"FOK""#;
const MARKET: &str = r#","kind":"MARKET""#;

#[test]
fn the_first_two_orders_make_one_trade_from_mari_to_celia() {
    let orders = [
        r#"{"order_id":"1","investor_id":"Mari","asset_id":"asset1","current_shared":10,"shares":5,"price":5.0,"order_type":"SELL"}"#,
        r#"{"investor_id":"Celia","asset_id":"asset1","current_shared":0,"shares":5,"price":5.0,"order_type":"BUY"}"#,
    ];
    let mut book = Book::new("asset1");
    let mut out = Recorder::default();
    for (offset, json) in orders.into_iter().enumerate() {
        let mut order = Order::from_json(json.as_bytes()).unwrap();
        order.identify("orders", 0, offset as i64);
        assert_eq!(super::validate_order(&order), Ok(()));
        book.execute(
            Command::of(&order).unwrap(),
            1_000 + offset as i64,
            Rules::default(),
            &mut out,
        );
    }
    let lines: Vec<_> = out.said.iter().map(line).collect();
    assert_eq!(
        lines,
        [
            "1 ACCEPTED 5/0",
            "trade 1: orders-0-1 takes 5 of 1 at 5.0",
            "1 FILLED 0/5",
            "orders-0-1 FILLED 0/5"
        ]
    );
    let Said::Trade(trade) = &out.said[1] else { panic!("no trade") };
    assert_eq!(
        serde_json::to_string(trade).unwrap(),
        r#"{"trade_id":"asset1-1","asset_id":"asset1","price":5.0,"shares":5,"buyer_id":"Celia","seller_id":"Mari","buy_order_id":"orders-0-1","sell_order_id":"1","maker_order_id":"1","taker_order_id":"orders-0-1","taker_side":"BUY","timestamp":1001}"#
    );
    assert!(book.is_empty());
}

#[test]
fn the_better_price_trades_first_then_the_older_order_at_the_resting_price() {
    let mut floor = Floor::new();
    floor.sell(1, 5, "5.2", "");
    floor.sell(2, 5, "5.1", "");
    floor.sell(3, 5, "5.1", "");
    assert_eq!(
        floor.buy(4, 12, "5.3", ""),
        [
            "trade 1: 4 takes 5 of 2 at 5.1",
            "2 FILLED 0/5",
            "trade 2: 4 takes 5 of 3 at 5.1",
            "3 FILLED 0/5",
            "trade 3: 4 takes 2 of 1 at 5.2",
            "1 PARTIALLY_FILLED 3/2",
            "4 FILLED 0/12",
        ]
    );
}

#[test]
fn an_order_does_not_trade_beyond_its_limit() {
    let mut floor = Floor::new();
    floor.buy(1, 5, "5.0", "");
    assert_eq!(floor.sell(2, 5, "5.00000001", ""), ["2 ACCEPTED 5/0"]);
    assert_eq!(floor.side(Side::Buy), "1:5@5.0");
    assert_eq!(floor.side(Side::Sell), "2:5@5.00000001");
}

#[test]
fn what_is_left_of_a_gtc_order_rests() {
    let mut floor = Floor::new();
    floor.sell(1, 5, "5.0", "");
    assert_eq!(
        floor.buy(2, 8, "5.0", ""),
        ["trade 1: 2 takes 5 of 1 at 5.0", "1 FILLED 0/5", "2 PARTIALLY_FILLED 3/5"]
    );
    assert_eq!(floor.side(Side::Buy), "2:3@5.0");
}

#[test]
fn what_is_left_of_an_ioc_order_is_given_up() {
    let mut floor = Floor::new();
    floor.sell(1, 5, "5.0", "");
    assert_eq!(
        floor.buy(2, 8, "5.0", IOC).last().unwrap(),
        "2 CANCELLED 0/5 gave up 3 IOC_REMAINDER"
    );
    assert_eq!(floor.buy(3, 8, "5.0", IOC), ["3 CANCELLED 0/0 gave up 8 IOC_REMAINDER"]);
    assert!(floor.book.is_empty());
}

#[test]
fn a_fok_order_trades_in_full_or_not_at_all() {
    let mut floor = Floor::new();
    floor.sell(1, 5, "5.0", "");
    floor.sell(2, 5, "5.1", "");
    assert_eq!(floor.buy(3, 11, "5.1", FOK), ["3 CANCELLED 0/0 gave up 11 FOK_UNFILLED"]);
    assert_eq!(floor.buy(4, 6, "5.0", FOK), ["4 CANCELLED 0/0 gave up 6 FOK_UNFILLED"]);
    assert_eq!(floor.side(Side::Sell), "1:5@5.0 2:5@5.1");
    assert_eq!(floor.buy(5, 10, "5.1", FOK).last().unwrap(), "5 FILLED 0/10");
    assert!(floor.book.is_empty());
}

#[test]
fn a_market_order_takes_any_price_and_never_rests() {
    let mut floor = Floor::new();
    floor.sell(1, 5, "5.0", "");
    floor.sell(2, 5, "90000000000.0", "");
    assert_eq!(
        floor.buy(3, 12, "null", MARKET).last().unwrap(),
        "3 CANCELLED 0/10 gave up 2 NO_LIQUIDITY"
    );
    assert_eq!(floor.sell(4, 1, "-3", MARKET), ["4 CANCELLED 0/0 gave up 1 NO_LIQUIDITY"]);
    assert!(floor.book.is_empty());
}

#[test]
fn an_id_may_be_used_again_once_its_order_is_gone_but_not_before() {
    let mut floor = Floor::new();
    floor.buy(1, 5, "5.0", "");
    assert_eq!(floor.sell(1, 5, "5.0", ""), ["1 REJECTED 0/0 DUPLICATE_ORDER_ID"]);
    floor.cancel(1);
    assert_eq!(floor.buy(1, 5, "5.0", ""), ["1 ACCEPTED 5/0"]);
}

#[test]
fn the_book_itself_refuses_orders_without_shares_or_price() {
    let mut floor = Floor::new();
    assert_eq!(floor.buy(1, 0, "5.0", ""), ["1 REJECTED 0/0 NON_POSITIVE_SHARES"]);
    assert_eq!(floor.buy(1, i64::MIN, "5.0", MARKET), ["1 REJECTED 0/0 NON_POSITIVE_SHARES"]);
    assert_eq!(floor.buy(1, 5, "null", ""), ["1 REJECTED 0/0 NON_POSITIVE_PRICE"]);
    assert_eq!(floor.buy(1, 5, "-92233720368.54775807", ""), ["1 REJECTED 0/0 NON_POSITIVE_PRICE"]);
    floor.buy(1, 5, "5.0", "");
    assert_eq!(floor.replace(1, 0, "5.0"), ["1 REJECTED 0/0 NON_POSITIVE_SHARES"]);
    assert_eq!(floor.replace(1, 5, "0"), ["1 REJECTED 0/0 NON_POSITIVE_PRICE"]);
    assert_eq!(floor.side(Side::Buy), "1:5@5.0");
}

#[test]
fn a_cancel_takes_what_is_open() {
    let mut floor = Floor::new();
    floor.buy(1, 5, "5.0", "");
    floor.sell(2, 2, "5.0", "");
    assert_eq!(floor.cancel(1), ["1 CANCELLED 0/2 gave up 3"]);
    assert_eq!(floor.cancel(1), ["1 REJECTED 0/0 UNKNOWN_ORDER"]);
    assert_eq!(floor.replace(1, 5, "5.0"), ["1 REJECTED 0/0 UNKNOWN_ORDER"]);
}

#[test]
fn a_cancel_in_the_middle_of_a_queue_leaves_the_others_in_order() {
    for gone in 1..=3 {
        let mut floor = Floor::new();
        for id in 1..=3 {
            floor.buy(id, 5, "5.0", "");
        }
        floor.cancel(gone);
        let left: Vec<_> =
            (1..=3).filter(|id| *id != gone).map(|id| format!("{id}:5@5.0")).collect();
        assert_eq!(floor.side(Side::Buy), left.join(" "));
    }
}

#[test]
fn only_the_orders_own_investor_may_touch_it_where_one_is_given() {
    let mut floor = Floor::new();
    floor.buy(1, 5, "5.0", "");
    let celia = r#""order_id":"1","investor_id":"Celia","shares":4,"price":5.0"#;
    assert_eq!(floor.send(&format!(r#"{celia},"action":"CANCEL""#)), ["1 REJECTED 0/0 NOT_OWNER"]);
    assert_eq!(floor.send(&format!(r#"{celia},"action":"REPLACE""#)), ["1 REJECTED 0/0 NOT_OWNER"]);
    assert_eq!(
        floor.send(r#""order_id":"1","investor_id":null,"action":"CANCEL""#),
        ["1 CANCELLED 0/0 gave up 5"]
    );
}

#[test]
fn a_replacement_that_does_not_grow_keeps_its_place() {
    let mut floor = Floor::new();
    floor.buy(1, 5, "5.0", "");
    floor.buy(2, 5, "5.0", "");
    assert_eq!(floor.replace(1, 5, "5.0"), ["1 REPLACED 5/0"]);
    assert_eq!(floor.replace(1, 4, "5.00"), ["1 REPLACED 4/0"]);
    assert_eq!(floor.side(Side::Buy), "1:4@5.0 2:5@5.0");
}

#[test]
fn where_only_shrinking_keeps_the_place_an_equal_replacement_loses_it() {
    let mut floor = Floor::with(Rules {
        replace_keeps_place: ReplaceKeepsPlace::OnlyWhenShrunk,
        ..Rules::default()
    });
    floor.buy(1, 5, "5.0", "");
    floor.buy(2, 5, "5.0", "");
    floor.replace(1, 4, "5.0");
    assert_eq!(floor.side(Side::Buy), "1:4@5.0 2:5@5.0");
    floor.replace(1, 4, "5.0");
    assert_eq!(floor.side(Side::Buy), "2:5@5.0 1:4@5.0");
}

#[test]
fn a_replacement_that_grows_or_moves_goes_to_the_end_of_its_queue() {
    let mut floor = Floor::new();
    floor.buy(1, 5, "5.0", "");
    floor.buy(2, 5, "5.0", "");
    floor.buy(3, 5, "4.0", "");
    assert_eq!(floor.replace(1, 6, "5.0"), ["1 REPLACED 6/0"]);
    assert_eq!(floor.side(Side::Buy), "2:5@5.0 1:6@5.0 3:5@4.0");
    floor.replace(2, 1, "4.0");
    assert_eq!(floor.side(Side::Buy), "1:6@5.0 3:5@4.0 2:1@4.0");
}

#[test]
fn a_replacement_that_crosses_trades_and_keeps_count_of_what_it_filled() {
    let mut floor = Floor::new();
    floor.buy(1, 5, "5.0", "");
    floor.sell(2, 2, "5.0", "");
    floor.sell(3, 4, "6.0", "");
    assert_eq!(
        floor.replace(1, 6, "6.0"),
        ["trade 2: 1 takes 4 of 3 at 6.0", "3 FILLED 0/4", "1 PARTIALLY_FILLED 2/6"]
    );
    floor.sell(4, 9, "7.0", "");
    assert_eq!(
        floor.replace(1, 3, "7.0"),
        ["trade 3: 1 takes 3 of 4 at 7.0", "4 PARTIALLY_FILLED 6/3", "1 FILLED 0/9"]
    );
    assert_eq!(floor.cancel(1), ["1 REJECTED 0/0 UNKNOWN_ORDER"]);
}

#[test]
fn a_replacement_keeps_side_and_investor_whatever_kind_it_names() {
    let mut floor = Floor::new();
    floor.buy(1, 5, "5.0", "");
    assert_eq!(floor.sell(1, 5, "5.0", r#","action":"REPLACE""#), ["1 REJECTED 0/0 SIDE_MISMATCH"]);
    let market = r#","action":"REPLACE","kind":"MARKET","time_in_force":"IOC""#;
    assert_eq!(floor.buy(1, 5, "4.0", market), ["1 REPLACED 5/0"]);
    assert_eq!(floor.book.order("1").unwrap().investor_id, "Mari");
    assert_eq!(floor.side(Side::Buy), "1:5@4.0");
}

#[test]
fn an_investor_may_trade_with_itself_unless_the_rules_forbid_it() {
    let mut floor = Floor::new();
    floor.sell(1, 5, "5.0", "");
    assert_eq!(floor.buy(2, 5, "5.0", "").last().unwrap(), "2 FILLED 0/5");
}

#[test]
fn where_self_trades_are_prevented_the_newest_order_gives_up_what_is_left() {
    let mut floor = Floor::with(Rules { self_trade: SelfTrade::CancelNewest, ..Rules::default() });
    let celia = r#","investor_id":"Celia""#;
    floor.sell(1, 5, "5.0", celia);
    floor.sell(2, 5, "5.1", "");
    assert_eq!(
        floor.buy(3, 8, "5.1", ""),
        ["trade 1: 3 takes 5 of 1 at 5.0", "1 FILLED 0/5", "3 CANCELLED 0/5 gave up 3 SELF_TRADE"]
    );
    assert_eq!(floor.side(Side::Sell), "2:5@5.1");
    assert_eq!(floor.side(Side::Buy), "");
    assert_eq!(floor.buy(4, 5, "5.1", FOK), ["4 CANCELLED 0/0 gave up 5 FOK_UNFILLED"]);
    floor.buy(5, 5, "4.0", "");
    assert_eq!(floor.replace(5, 5, "5.1"), ["5 CANCELLED 0/0 gave up 5 SELF_TRADE"]);
    assert_eq!(floor.buy(6, 5, "5.1", celia).last().unwrap(), "6 FILLED 0/5");
}

#[test]
fn the_largest_quantities_fill_without_overflow() {
    let mut floor = Floor::new();
    let all = i64::MAX;
    floor.sell(1, all, "5.0", "");
    floor.sell(2, all, "5.0", "");
    assert_eq!(floor.book.depth(Side::Sell).next().unwrap().shares, 2 * i128::from(all));
    assert_eq!(floor.buy(3, all, "5.0", FOK).last().unwrap(), &format!("3 FILLED 0/{all}"));
    floor.buy(4, 1, "5.0", "");
    floor.replace(2, all, "5.0");
    assert_eq!(floor.buy(5, all, "5.0", "")[1], format!("2 FILLED 0/{all}"));
}

#[test]
fn the_store_entries_that_a_command_writes_do_not_grow_with_the_book() {
    let mut floor = Floor::new();
    for id in 0..500 {
        floor.buy(id, 5, &format!("{}.0", 1 + id % 7), "");
    }
    let mut writes = |send: &dyn Fn(&mut Floor)| {
        let before = floor.out.store_writes;
        send(&mut floor);
        floor.out.store_writes - before
    };
    assert_eq!(writes(&|floor| drop(floor.buy(900, 5, "3.0", ""))), 2, "order and header");
    assert_eq!(writes(&|floor| drop(floor.cancel(900))), 1, "the order");
    assert_eq!(writes(&|floor| drop(floor.replace(7, 4, "1.0"))), 1, "the order");
    assert_eq!(
        writes(&|floor| drop(floor.replace(7, 4, "2.0"))),
        3,
        "old place, new place, header"
    );
    assert_eq!(writes(&|floor| drop(floor.sell(901, 8, "7.0", ""))), 3, "two makers and header");
    assert_eq!(writes(&|floor| drop(floor.sell(902, 8, "9.0", IOC))), 0, "nothing changed");
}

#[test]
fn depth_adds_the_orders_of_a_price_up() {
    let mut floor = Floor::new();
    for (id, price) in [(1, "5.0"), (2, "4.5"), (3, "5.0")] {
        floor.buy(id, 5, price, "");
    }
    let depth: Vec<_> = floor
        .book
        .depth(Side::Buy)
        .map(|level| (level.price.to_string(), level.shares, level.orders))
        .collect();
    assert_eq!(depth, [("5.0".into(), 10, 2), ("4.5".into(), 5, 1)]);
}
