//! A matching book alone: no Kafka, no store, one core.
//!
//! The mix is that of exchange-core's benchmark: 9% GTC orders, 3% IOC, 6% cancels, 82% replaces,
//! with about 1,000 orders resting in some 750 prices.

use criterion::{BatchSize, Criterion, Throughput};
use tidemill::exchange::{
    Book, BookLog, CancelOrder, Command, Fill, Header, MatchOutput, NewOrder, Outcome, Price,
    ReplaceOrder, RestingOrder, Rules, Side, TimeInForce,
};

const RESTING: usize = 1_000;
const COMMANDS: usize = 200_000;
/// Cents in a unit of price.
const CENT: i64 = 1_000_000;

/// Executes the whole flow on a book that already has its resting orders.
pub fn book(c: &mut Criterion) {
    let flow = Flow::generate();
    let mut group = c.benchmark_group("matching");
    group.throughput(Throughput::Elements(COMMANDS as u64));
    group.sample_size(20);
    group.bench_function("book", |b| {
        b.iter_batched_ref(
            || flow.filled_book(),
            |book| {
                let mut events = Events::default();
                for order in &flow.commands[RESTING..] {
                    order.execute(book, &mut events);
                }
                assert!(events.trades > 0 && book.len() > RESTING / 2);
                events
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// Counts what the book says, and looks at it.
#[derive(Default)]
struct Events {
    trades: u64,
    shares: i64,
    entries: u64,
}

impl MatchOutput for Events {
    fn trade(&mut self, trade: Fill<'_>) {
        self.trades += 1;
        self.shares += trade.shares;
    }

    fn update(&mut self, outcome: Outcome<'_>) {
        self.shares += outcome.open_shares;
    }
}

impl BookLog for Events {
    fn insert(&mut self, _: &str, order: &RestingOrder) {
        self.entries += 1;
        self.shares += order.open_shares;
    }

    fn put(&mut self, _: &str, order: &RestingOrder) {
        self.entries += 1;
        self.shares += order.open_shares;
    }

    fn remove(&mut self, _: &str, _: &RestingOrder) {
        self.entries += 1;
    }

    fn header(&mut self, _: &str, _: Header) {
        self.entries += 1;
    }
}

/// A command that owns its ids.
#[derive(Clone)]
struct Prepared {
    order_id: String,
    investor_id: String,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Enter(Side, i64, Price, TimeInForce),
    Cancel,
    Replace(Side, i64, Price),
}

impl Prepared {
    fn command(&self) -> Command<'_> {
        let (order_id, investor_id) = (&*self.order_id, &*self.investor_id);
        match self.what {
            What::Enter(side, shares, limit, time_in_force) => Command::New(NewOrder {
                order_id,
                investor_id,
                side,
                shares,
                limit: Some(limit),
                time_in_force,
            }),
            What::Cancel => {
                Command::Cancel(CancelOrder { order_id, investor_id: Some(investor_id) })
            }
            What::Replace(side, shares, price) => Command::Replace(ReplaceOrder {
                order_id,
                investor_id: Some(investor_id),
                side: Some(side),
                shares,
                price,
            }),
        }
    }

    fn execute(&self, book: &mut Book, events: &mut Events) {
        book.execute(self.command(), 0, Rules::default(), events);
    }
}

/// Commands that fit each other: what is cancelled or replaced rests at that moment.
struct Flow {
    commands: Vec<Prepared>,
}

impl Flow {
    fn generate() -> Self {
        let mut maker = Maker {
            random: 88_172_645_463_325_252,
            book: Book::new("asset1"),
            resting: Vec::new(),
            next_id: 0,
        };
        let commands = (0..RESTING + COMMANDS).map(|turn| maker.next(turn)).collect();
        Self { commands }
    }

    fn filled_book(&self) -> Book {
        let mut book = Book::new("asset1");
        for order in &self.commands[..RESTING] {
            order.execute(&mut book, &mut Events::default());
        }
        book
    }
}

struct Maker {
    /// State of a xorshift generator.
    random: u64,
    /// Follows the commands, to know what rests.
    book: Book,
    resting: Vec<(String, String, Side)>,
    next_id: u64,
}

impl Maker {
    fn next(&mut self, turn: usize) -> Prepared {
        let is_filling = turn < RESTING;
        let mut roll = if is_filling { 0 } else { self.below(100) };
        // Trades take orders out too: cancels make room for new ones when too few rest.
        if (12..18).contains(&roll) && self.book.len() < RESTING * 19 / 20 {
            roll = 0;
        }
        // The market swings, so that prices come and go.
        let middle = 50_000 + ((turn as f64 / 50_000.0).sin() * 300.0) as i64;
        let command = match roll {
            0..9 => self.good_till_cancelled(middle, is_filling),
            9..12 => {
                let side = self.side();
                let price = away_from(middle, side, -50);
                self.enter(side, price, TimeInForce::Ioc)
            }
            12..18 => self.change(|_, _| What::Cancel),
            _ => self.change(|maker, side| {
                let price = maker.passive(middle, side);
                What::Replace(side, maker.shares(), price)
            }),
        };
        command.execute(&mut self.book, &mut Events::default());
        command
    }

    fn good_till_cancelled(&mut self, middle: i64, is_filling: bool) -> Prepared {
        let side = self.side();
        let crosses = !is_filling && self.below(3) == 0;
        let price = if crosses { away_from(middle, side, -3) } else { self.passive(middle, side) };
        let order = self.enter(side, price, TimeInForce::Gtc);
        self.resting.push((order.order_id.clone(), order.investor_id.clone(), side));
        order
    }

    fn enter(&mut self, side: Side, price: Price, time_in_force: TimeInForce) -> Prepared {
        self.next_id += 1;
        Prepared {
            order_id: self.next_id.to_string(),
            investor_id: format!("inv{}", self.below(1_000)),
            what: What::Enter(side, self.shares(), price, time_in_force),
        }
    }

    /// A command for an order that rests.
    fn change(&mut self, what: impl FnOnce(&mut Self, Side) -> What) -> Prepared {
        loop {
            let at = self.below(self.resting.len() as u64) as usize;
            let (order_id, investor_id, side) = self.resting[at].clone();
            if self.book.order(&order_id).is_some() {
                return Prepared { order_id, investor_id, what: what(self, side) };
            }
            self.resting.swap_remove(at);
        }
    }

    /// A price that does not trade, mostly near the middle.
    fn passive(&mut self, middle: i64, side: Side) -> Price {
        let away = 1 + self.below(600) * self.below(600) / 300;
        away_from(middle, side, away as i64)
    }

    fn shares(&mut self) -> i64 {
        1 + self.below(100) as i64
    }

    fn side(&mut self) -> Side {
        if self.below(2) == 0 { Side::Buy } else { Side::Sell }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % end
    }
}

/// So many cents from the middle, on the side's own side of it.
fn away_from(middle: i64, side: Side, cents: i64) -> Price {
    let cents = match side {
        Side::Buy => middle - cents,
        Side::Sell => middle + cents,
    };
    Price::from_units(cents * CENT)
}
