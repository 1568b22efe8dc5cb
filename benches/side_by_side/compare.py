#!/usr/bin/env python3
"""Runs processors side by side over the same input and prints their medians as a table.

    compare.py [--records 2000000] [--repeat 5] [--workloads passthrough,join,...]
               [--processors ks,tidemill,plain,limit] [--guarantee exactly_once_v2] [--threads 1]
               [--work-dir DIR] [--results FILE] [--keep]

ks        the Kafka Streams application        tidemill  examples/bench_processor
plain     rdkafka and serde_json by hand       limit     librdkafka alone: bytes moved, not looked at
(plain and limit know passthrough alone and are left out of the other workloads.)

Beside the workloads of the README there are `latency` (passthrough at a steady 5,000 records a
second) and `restore` (a changelog of a million keys), for ks and tidemill; and, where they are asked
for, `growth_partitions` and `growth_keys`: workloads with few and with many of them.

Starts a broker of its own, makes the input, and takes the processors in turn within each round,
beginning with another one each time, so that whatever disturbs the machine disturbs all of them.
Everything is built first by build.sh. Ends with 1 if two processors that must agree gave different
outputs.
"""

import argparse
import functools
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
KAFKA = HERE.parent.parent / "scripts" / "kafka.sh"
PORT = 29092
WORKLOADS = ["passthrough", "join", "window", "count", "count_nocache", "match"]
ONLY_PASSTHROUGH = {"plain", "limit"}
# What the README says of each output: where a cache decides which updates are sent, only the last
# value of a key is comparable.
COMPARABLE = {"window": "last_checksum", "count": "last_checksum"}
# Guarantee and commit interval in ms of the latency rows.
LATENCY = [("exactly_once_v2", 100), ("exactly_once_v2", 10), ("at_least_once", 100)]
LATENCY_RATE, LATENCY_SECONDS = 5_000, 30
RESTORE_KEYS = 1_000_000
# The workload, how much its input has of what grows, and of how many records it is.
GROWTH = {
    "growth_partitions": [
        ("passthrough", 10, "partitions", 1_000_000),
        ("passthrough", 1_000, "partitions", 1_000_000),
        ("window", 10, "partitions", 1_000_000),
        ("window", 1_000, "partitions", 1_000_000),
    ],
    "growth_keys": [
        ("count_nocache", 10_000, "keys", 2_000_000),
        ("count_nocache", 10_000_000, "keys", 10_000_000),
    ],
}
COLUMNS = [
    ("warm_cpu_us_per_record", "warm CPU us a record", 2),
    ("warm_records_per_s", "warm records/s", 0),
    ("peak_rss_mib", "peak MiB", 0),
    ("startup_s", "start s", 2),
    ("records_per_s", "records/s, start included", 0),
]
GROWTH_COLUMNS = [*COLUMNS]
LATENCY_COLUMNS = [("p50_ms", "p50 ms", 1), ("p99_ms", "p99 ms", 1), ("max_ms", "worst ms", 1)]
RESTORE_COLUMNS = [
    ("restore_s", "restore s, from the start", 2),
    ("cpu_s", "CPU s", 2),
    ("peak_rss_mib", "peak MiB", 0),
]


def programs():
    """The paths that env.sh knows, by the names of its variables."""
    names = ["harness", "gen", "peer", "plain", "tidemill"]
    shown = " ".join(f'"${name}"' for name in names)
    script = f'source "{HERE}/env.sh" && printf "%s\\n" {shown}'
    lines = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True).stdout.splitlines()
    return dict(zip(names, lines))


def command_of(processor, paths):
    return {
        "ks": [paths["peer"]],
        "tidemill": [paths["tidemill"]],
        "plain": [paths["plain"]],
        "limit": [paths["harness"], "limit"],
    }[processor]


def make_input(paths, args, work, bootstrap):
    orders, assets = work / "orders.jsonl", work / "assets.jsonl"
    generate = [paths["gen"], "--events", str(args.records), "--out", orders, "--assets-out", assets]
    subprocess.run(generate, check=True)
    for topic, file in (("assets", assets), ("orders", orders)):
        load = [paths["harness"], "load", "--bootstrap", bootstrap, "--topic", topic, "--file", file]
        subprocess.run(load, check=True)


def measure(paths, args, work, bootstrap, processor, command, *options, **told):
    """One call of the harness; what it measured, with `told` beside it, goes to the results."""
    call = [
        paths["harness"], command, "--bootstrap", bootstrap, "--name", processor,
        "--threads", str(args.threads), "--work-dir", work, "--results", os.devnull,
        *map(str, options), "--", *command_of(processor, paths),
    ]  # fmt: skip
    environment = {**os.environ, "COMMIT_MS": str(told.get("commit_ms", 100))}
    done = subprocess.run(call, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"{processor} failed at {command}; its log is in {work}")
    results = [{**json.loads(line), **told} for line in done.stdout.splitlines() if line.startswith("{")]
    with open(args.results, "a") as file:
        file.writelines(json.dumps(result) + "\n" for result in results)
    return results


def run_workload(measure_one, args, workload):
    options = ["--workload", workload, "--guarantee", args.guarantee, "--records", args.records]
    return {workload: measure_one("run", *options)}


def run_latency(measure_one, work):
    rows = {}
    for guarantee, commit_ms in LATENCY:
        options = [
            "--workload", "passthrough", "--guarantee", guarantee, "--rate", LATENCY_RATE,
            "--seconds", LATENCY_SECONDS, "--file", work / "orders.jsonl",
        ]  # fmt: skip
        name = f"latency, {guarantee}, {commit_ms} ms"
        rows[name] = measure_one("latency", *options, commit_ms=commit_ms)
    return rows


def run_restore(measure_one):
    options = ["--workload", "count_nocache", "--input", "orders-wide"]
    return {"restore": measure_one("restore", *options)}


def run_growth(measure_one, cases):
    rows = {}
    for workload, much, of_what, records in cases:
        options = ["--workload", workload, "--input", growth_topic(much, of_what), "--records", records]
        row = f"{workload}, {much:,} {of_what}"
        rows[row] = measure_one("run", *options, row=row)
    return rows


def growth_topic(much, of_what):
    return f"orders-{much}-{of_what}"


def make_growth_inputs(paths, work, bootstrap, cases):
    for much, of_what, records in dict.fromkeys(case[1:] for case in cases):
        keys, partitions = (much, 4) if of_what == "keys" else (10_000, much)
        make_keyed_input(paths, work, bootstrap, growth_topic(much, of_what), records, keys, partitions)


def make_keyed_input(paths, work, bootstrap, topic, records, keys, partitions=4):
    """As many distinct investors as keys, one after the other, so that counting by investor keeps as
    many keys."""
    file = work / f"{topic}.jsonl"
    generate = [paths["gen"], "--events", str(records), "--investors", str(keys), "--round-robin-investors", "--out", file]
    subprocess.run(generate, check=True)
    load = [paths["harness"], "load", "--bootstrap", bootstrap, "--topic", topic, "--file", file]
    subprocess.run([*load, "--partitions", str(partitions)], check=True)
    file.unlink()


def show(figures, digits):
    middle = statistics.median(figures)
    return f"{middle:,.{digits}f} ({min(figures):,.{digits}f}-{max(figures):,.{digits}f})"


def figures_of(result):
    """What a result of the harness counts for in a table: each restart, where it restores."""
    return result.get("restarts", [result])


def columns_of(row):
    if row.startswith("latency"):
        return LATENCY_COLUMNS
    if row.endswith((" partitions", " keys")):
        return GROWTH_COLUMNS
    return RESTORE_COLUMNS if row == "restore" else COLUMNS


def tables(runs):
    """Markdown tables of the medians, one for each kind of measurement. `runs` maps (row,
    processor) to results."""
    lines = []
    for columns in (COLUMNS, LATENCY_COLUMNS, RESTORE_COLUMNS, GROWTH_COLUMNS):
        mine = {key: results for key, results in runs.items() if columns_of(key[0]) is columns}
        if not mine:
            continue
        lines.append("| workload | processor | runs | " + " | ".join(name for _, name, _ in columns) + " |")
        lines.append("|---|---|---|" + "---|" * len(columns))
        for (row, processor), results in mine.items():
            cells = [show([run[field] for run in results], digits) for field, _, digits in columns]
            lines.append(f"| {row} | {processor} | {len(results)} | " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def disagreements(runs):
    """Workloads and topics in which the runs' outputs differ; limit does not look at its records."""
    found = []
    for workload in dict.fromkeys(workload for workload, _ in runs):
        field = COMPARABLE.get(workload.split(",")[0], "checksum")
        sums = {}
        for (of, processor), results in runs.items():
            if of == workload and processor != "limit":
                for run in results:
                    for topic, summary in run.get("outputs", {}).items():
                        sums.setdefault(topic, {}).setdefault(summary[field], set()).add(processor)
        found += [f"{workload}, {topic}: {groups}" for topic, groups in sums.items() if len(groups) > 1]
    return found


def parse():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--workloads", default=",".join([*WORKLOADS, "latency", "restore"]))
    parser.add_argument("--processors", default="ks,tidemill,plain,limit")
    parser.add_argument("--guarantee", default="exactly_once_v2")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work-dir", type=pathlib.Path)
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("side-by-side.jsonl"))
    parser.add_argument("--keep", action="store_true", help="leave the work folder in place")
    return parser.parse_args()


def main():
    args = parse()
    processors = args.processors.split(",")
    subprocess.run([HERE / "build.sh"], check=True)
    paths = programs()
    for processor in processors:
        if not os.access(command_of(processor, paths)[0], os.X_OK):
            sys.exit(f"{processor}: there is no {command_of(processor, paths)[0]}")
    work = args.work_dir or pathlib.Path(tempfile.mkdtemp(prefix="tidemill-side-by-side-"))
    work.mkdir(parents=True, exist_ok=True)
    bootstrap = f"127.0.0.1:{PORT}"
    runs = {}
    try:
        subprocess.run([KAFKA, "start", work / "kafka", "1", str(PORT)], check=True)
        make_input(paths, args, work, bootstrap)
        workloads = args.workloads.split(",")
        if "restore" in workloads:
            make_keyed_input(paths, work, bootstrap, "orders-wide", RESTORE_KEYS, RESTORE_KEYS)
        for workload in GROWTH.keys() & set(workloads):
            make_growth_inputs(paths, work, bootstrap, GROWTH[workload])
        for workload in workloads:
            able = [p for p in processors if workload == "passthrough" or p not in ONLY_PASSTHROUGH]
            for number in range(args.repeat):
                # Each is the first in its turn: what the one before left to the machine, a hot
                # processor or pages to be written, is not always the same one's to bear.
                first = number % len(able)
                for processor in able[first:] + able[:first]:
                    print(f"{workload} {number + 1}/{args.repeat} {processor}", file=sys.stderr, flush=True)
                    measure_one = functools.partial(measure, paths, args, work, bootstrap, processor)
                    if workload == "latency":
                        rows = run_latency(measure_one, work)
                    elif workload == "restore":
                        rows = run_restore(measure_one)
                    elif workload in GROWTH:
                        rows = run_growth(measure_one, GROWTH[workload])
                    else:
                        rows = run_workload(measure_one, args, workload)
                    for row, results in rows.items():
                        figures = [figure for result in results for figure in figures_of(result)]
                        runs.setdefault((row, processor), []).extend(figures)
    finally:
        subprocess.run([KAFKA, "wipe", work / "kafka"], check=True)
    if not (args.keep or args.work_dir):
        shutil.rmtree(work)
    print("\nMedians (least-most)\n")
    print("\n".join(tables(runs)))
    wrong = disagreements(runs)
    for line in wrong:
        print(f"OUTPUTS DIFFER: {line}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
