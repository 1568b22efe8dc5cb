#!/usr/bin/env python3
"""Checks a processor's output against an independent, in-memory computation of the workload.

    verify.py WORKLOAD ORDERS.jsonl DUMP.jsonl [--updates DUMP.jsonl] [--assets ASSETS.jsonl]
              [--partitions 4]

WORKLOAD   passthrough | count | count_nocache | join | window | match
DUMP       what `harness dump` wrote for `out` (`trades` for match; --updates takes `order-updates`)
Prints one line per check and exits with 1 if one fails.
"""

import argparse
import bisect
import collections
import json
import struct
import sys

SCALE = 10_000
WINDOW_MS = 1_000
DEFAULTS = {"action": "NEW", "kind": "LIMIT", "time_in_force": "GTC"}


def scaled(number):
    return round(float(number) * SCALE)


def canonical(fields):
    """A hashable form of a JSON object in which prices compare exactly."""
    return tuple(sorted((name, scaled(v) if isinstance(v, float) else v) for name, v in fields.items()))


def read_lines(path):
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def read_dump(path):
    for record in read_lines(path):
        yield record["partition"], bytes.fromhex(record["key"]), bytes.fromhex(record["value"])


def murmur2(data):
    """The hash of Kafka's default partitioner."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    rest = data[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)


def partition_of(key, partitions):
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


# ---- matching ---------------------------------------------------------------------------------


class Level(collections.OrderedDict):
    """The orders of one price, earliest first: order id -> [shares, investor]."""


class Book:
    """A plain price-time-priority book: a sorted list of prices and a queue per price."""

    def __init__(self, asset):
        self.asset = asset
        self.levels = {"BUY": {}, "SELL": {}}
        self.prices = {"BUY": [], "SELL": []}
        self.where = {}
        self.trades = 0

    def add(self, order_id, side, price, shares, investor):
        if price not in self.levels[side]:
            self.levels[side][price] = Level()
            bisect.insort(self.prices[side], price)
        self.levels[side][price][order_id] = [shares, investor]
        self.where[order_id] = (side, price)

    def remove(self, order_id):
        side, price = self.where.pop(order_id)
        entry = self.levels[side][price].pop(order_id)
        if not self.levels[side][price]:
            del self.levels[side][price]
            self.prices[side].remove(price)
        return side, price, entry

    def best_first(self, side):
        prices = self.prices[side]
        return list(reversed(prices)) if side == "BUY" else list(prices)

    def makers(self, side, limit):
        """(order id, price, shares, investor) that an order of the other side may trade with."""
        for price in self.best_first(side):
            if limit is not None and (price < limit if side == "BUY" else price > limit):
                return
            for order_id, (shares, investor) in self.levels[side][price].items():
                yield order_id, price, shares, investor


def match(orders):
    books = {}
    trades, updates = [], []
    for record in orders:
        order = {**DEFAULTS, **record["value"]}
        book = books.setdefault(order["asset_id"], Book(order["asset_id"]))
        step(book, order, trades, updates)
    return trades, updates


def step(book, order, trades, updates):
    def update(order_id, status, remaining):
        updates.append({"order_id": order_id, "asset_id": book.asset, "status": status, "remaining": remaining})

    order_id, shares, price = order["order_id"], order["shares"], scaled(order["price"])
    side, investor, kind, force = order["order_type"], order["investor_id"], order["kind"], order["time_in_force"]
    if order["action"] == "CANCEL":
        if order_id not in book.where:
            return update(order_id, "REJECTED", 0)
        _, _, (left, _) = book.remove(order_id)
        return update(order_id, "CANCELLED", left)
    if order["action"] == "REPLACE":
        if order_id not in book.where or shares <= 0 or price <= 0:
            return update(order_id, "REJECTED", 0)
        side, old_price = book.where[order_id]
        entry = book.levels[side][old_price][order_id]
        if price == old_price and shares < entry[0]:
            entry[0] = shares
            return update(order_id, "OPEN", shares)
        investor = entry[1]
        book.remove(order_id)
        kind, force = "LIMIT", "GTC"
    elif shares <= 0 or (kind == "LIMIT" and price <= 0):
        return update(order_id, "REJECTED", max(shares, 0))

    makers_side = "SELL" if side == "BUY" else "BUY"
    limit = price if kind == "LIMIT" else None
    left, fills = shares, []
    for maker_id, maker_price, maker_shares, maker_investor in book.makers(makers_side, limit):
        if left == 0:
            break
        filled = min(left, maker_shares)
        fills.append((maker_id, maker_price, filled, maker_shares - filled, maker_investor))
        left -= filled
    if force == "FOK" and left > 0:
        return update(order_id, "CANCELLED", shares)
    for maker_id, maker_price, filled, maker_left, maker_investor in fills:
        book.trades += 1
        buyer, seller = ((order_id, investor), (maker_id, maker_investor))
        if side == "SELL":
            buyer, seller = seller, buyer
        trades.append({
            "trade_id": f"{book.asset}-{book.trades}", "asset_id": book.asset, "price": maker_price / SCALE,
            "shares": filled, "buyer_id": buyer[1], "seller_id": seller[1], "buy_order_id": buyer[0],
            "sell_order_id": seller[0], "maker_order_id": maker_id, "taker_order_id": order_id,
        })
        if maker_left == 0:
            book.remove(maker_id)
            update(maker_id, "FILLED", 0)
        else:
            book.levels[makers_side][maker_price][maker_id][0] = maker_left
            update(maker_id, "PARTIALLY_FILLED", maker_left)
    if left == 0:
        update(order_id, "FILLED", 0)
    elif kind == "MARKET" or force != "GTC":
        update(order_id, "CANCELLED", left)
    else:
        book.add(order_id, side, price, left, investor)
        update(order_id, "OPEN", left)


# ---- the other workloads ----------------------------------------------------------------------


def passthrough(orders):
    for record in orders:
        order = {**DEFAULTS, **record["value"]}
        if order["shares"] > 0:
            yield {**order, "notional": scaled(order["price"]) * order["shares"] / SCALE}


def join(orders, assets):
    table = {record["key"]: record["value"] for record in assets}
    for record in orders:
        if record["key"] in table:
            yield {**DEFAULTS, **record["value"], **table[record["key"]]}


def count(orders):
    return collections.Counter(record["value"]["investor_id"] for record in orders)


def window(orders, partitions):
    """Tumbling windows without grace; a partition's stream time is the highest timestamp seen."""
    stream_time = collections.defaultdict(int)
    counts = collections.Counter()
    for record in orders:
        partition = partition_of(record["key"], partitions)
        stream_time[partition] = max(stream_time[partition], record["timestamp"])
        start = record["timestamp"] - record["timestamp"] % WINDOW_MS
        if start + WINDOW_MS > stream_time[partition]:
            counts[record["key"], start] += 1
    return counts


# ---- comparing --------------------------------------------------------------------------------

failed = False


def report(what, expected, found):
    global failed
    good = expected == found
    failed |= not good
    print(f"{'ok  ' if good else 'FAIL'} {what}: expected {sum(expected.values())}, found {sum(found.values())}"
          + ("" if good else f"; missing {list((expected - found).items())[:2]}, extra {list((found - expected).items())[:2]}"))


def compare_json(what, expected, dump):
    found = collections.Counter(canonical(json.loads(value)) for _, _, value in read_dump(dump))
    report(what, collections.Counter(map(canonical, expected)), found)


def last_per_key(dump, decode_key):
    last = {}
    for _, key, value in read_dump(dump):
        last[decode_key(key)] = struct.unpack(">q", value)[0]
    return collections.Counter(last)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("workload")
    parser.add_argument("orders")
    parser.add_argument("dump")
    parser.add_argument("--updates")
    parser.add_argument("--assets")
    parser.add_argument("--partitions", type=int, default=4)
    args = parser.parse_args()
    orders = read_lines(args.orders)

    if args.workload == "match":
        trades, updates = match(orders)
        compare_json("trades", trades, args.dump)
        if args.updates:
            compare_json("order updates", updates, args.updates)
    elif args.workload == "passthrough":
        compare_json("records", passthrough(orders), args.dump)
    elif args.workload == "join":
        compare_json("records", join(orders, read_lines(args.assets)), args.dump)
    elif args.workload in ("count", "count_nocache"):
        expected = count(orders)
        report("last count of each investor", expected, last_per_key(args.dump, bytes.decode))
        if args.workload == "count_nocache":
            every = collections.Counter((key, n) for key, total in expected.items() for n in range(1, total + 1))
            found = collections.Counter((k.decode(), struct.unpack(">q", v)[0]) for _, k, v in read_dump(args.dump))
            report("every count", every, found)
    elif args.workload == "window":
        found = last_per_key(args.dump, lambda key: (key[:-8].decode(), struct.unpack(">q", key[-8:])[0]))
        report("last count of each window", window(orders, args.partitions), found)
    else:
        parser.error(f"unknown workload {args.workload}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
