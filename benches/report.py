#!/usr/bin/env python3
"""Writes what was measured into docs/performance.md: tables, plots, machine and versions.

    report.py [--layers] [--results FILE]

--layers writes the table of the layers, from where criterion left it. FILE holds the results of
side_by_side/compare.py, a JSON line each: their tables and plots are written. In the document only
what stands between `<!-- NAME: measured -->` and `<!-- NAME: end -->` is replaced.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
DOCS = ROOT / "docs"
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE / "side_by_side"))
import compare  # noqa: E402

COLOURS = {"ks": "#b8b8b8", "plain": "#8fb8de", "tidemill": "#1f6f8b", "limit": "#e0a458"}
NAMES = {"ks": "Kafka Streams", "plain": "rdkafka by hand", "tidemill": "Tidemill", "limit": "librdkafka alone"}


def output_of(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def first(pattern, text, otherwise="unknown"):
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1).strip() if found else otherwise


def locked(package):
    lock = (ROOT / "Cargo.lock").read_text()
    return first(rf'name = "{package}"\nversion = "([^"]+)"', lock)


def machine():
    cpu = first(r"^model name\s*:\s*(.+)$", pathlib.Path("/proc/cpuinfo").read_text())
    memory_kib = int(first(r"^MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text(), "0"))
    load = " ".join(pathlib.Path("/proc/loadavg").read_text().split()[:3])
    kafka = first(r"^KAFKA_VERSION=(.+)$", (ROOT / "scripts" / "env.sh").read_text())
    java = first(r"openjdk (\S+)", output_of("java", "--version"), "none")
    return [
        f"- machine: {os.cpu_count()} CPUs of {cpu}, {memory_kib / 2**20:.0f} GiB, Linux {platform.release()}",
        f"- {output_of('rustc', '--version').strip()}; librdkafka by rdkafka-sys {locked('rdkafka-sys')}; "
        f"RocksDB by librocksdb-sys {locked('librocksdb-sys')}",
        f"- Apache Kafka and Kafka Streams {kafka} on Java {java}",
        f"- revision {output_of('git', 'rev-parse', '--short', 'HEAD').strip()}; load average at the end {load}",
    ]


def read_results(file):
    """(row, processor) -> results, in the order of the file."""
    runs = {}
    for line in file.read_text().splitlines():
        result = json.loads(line)
        row = {
            "run": result.get("row", result.get("workload")),
            "latency": f"latency, {result.get('guarantee')}, {result.get('commit_ms')} ms",
            "restore": "restore",
        }[result["kind"]]
        runs.setdefault((row, result["name"]), []).extend(compare.figures_of(result))
    return runs


def ratios(runs):
    """How many times Tidemill is ahead of Kafka Streams, by the medians."""
    lines = ["| workload | CPU a record | records a second | peak memory |", "|---|---|---|---|"]
    middle = lambda row, who, field: statistics.median(result[field] for result in runs[row, who])
    for row in dict.fromkeys(row for row, _ in runs):
        if compare.columns_of(row) is not compare.COLUMNS or not {(row, "ks"), (row, "tidemill")} <= runs.keys():
            continue
        cpu = middle(row, "ks", "warm_cpu_us_per_record") / middle(row, "tidemill", "warm_cpu_us_per_record")
        speed = middle(row, "tidemill", "warm_records_per_s") / middle(row, "ks", "warm_records_per_s")
        memory = middle(row, "ks", "peak_rss_mib") / middle(row, "tidemill", "peak_rss_mib")
        lines.append(f"| {row} | {cpu:.1f} times less | {speed:.1f} times more | {memory:.1f} times less |")
    return [*lines, ""]


def plot(runs, field, title):
    """Horizontal bars of the medians, a group for each workload, with least and most as a line."""
    rows = [row for row in dict.fromkeys(row for row, _ in runs) if compare.columns_of(row) is compare.COLUMNS]
    bars = [(row, who, [run[field] for run in runs[row, who]]) for row in rows for who in COLOURS if (row, who) in runs]
    if not bars:
        return None
    scale = 440 / max(max(figures) for _, _, figures in bars)
    body, y, seen = [], 40, None
    for row, who, figures in bars:
        if row != seen:
            y += 14 if seen else 0
            body.append(f'<text x="120" y="{y + 13}" text-anchor="end" font-weight="bold">{row}</text>')
            seen = row
        median = statistics.median(figures)
        digits = 2 if median < 100 else 0
        end = 130 + median * scale
        low, high = 130 + min(figures) * scale, 130 + max(figures) * scale
        body.append(f'<rect x="130" y="{y}" width="{median * scale:.1f}" height="16" fill="{COLOURS[who]}"/>')
        body.append(f'<path d="M{low:.1f} {y + 8}H{high:.1f}" stroke="#333"/>')
        label = f"{median:,.{digits}f}  {NAMES[who]}"
        body.append(f'<text x="{max(end, high) + 6:.1f}" y="{y + 13}">{label}</text>')
        y += 20
    height = y + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="800" height="{height}" font-family="sans-serif" '
        f'font-size="12"><rect width="800" height="{height}" fill="white"/>'
        f'<text x="12" y="22" font-size="15">{title}</text>{"".join(body)}</svg>\n'
    )


def layers():
    """A table of what criterion measured last."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "criterion"
    lines = ["| layer | a unit takes | units a second | spread |", "|---|---|---|---|"]
    for file in sorted(target.glob("*/*/new/estimates.json")):
        told = json.loads((file.parent / "benchmark.json").read_text())
        estimate = json.loads(file.read_text())
        unit = told.get("throughput") or {}
        elements = unit.get("Elements", 1)
        median = estimate["median"]
        nanos = median["point_estimate"] / elements
        low, high = (median["confidence_interval"][end] / elements for end in ("lower_bound", "upper_bound"))
        lines.append(
            f"| {told['group_id']}: {told['function_id']} | {nanos:,.0f} ns | {1e9 / nanos:,.0f} | {low:,.0f}-{high:,.0f} ns |"
        )
    return [*lines, ""]


def replace(document, name, lines):
    begin, end = f"<!-- {name}: measured -->", f"<!-- {name}: end -->"
    text = document.read_text()
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        sys.exit(f"{document} has no place for {name}: {begin} ... {end}")
    document.write_text(f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--layers", action="store_true")
    parser.add_argument("--results", type=pathlib.Path)
    args = parser.parse_args()
    document = DOCS / "performance.md"
    runs = read_results(args.results) if args.results else {}
    growth = {key: results for key, results in runs.items() if compare.columns_of(key[0]) is compare.GROWTH_COLUMNS}
    compared = {key: results for key, results in runs.items() if key not in growth}
    if growth:
        replace(document, "growth", [*machine(), "", *compare.tables(growth)])
    if compared:
        replace(document, "side by side", [*machine(), "", *compare.tables(compared), *ratios(compared)])
        for name, field, title in (
            ("cpu", "warm_cpu_us_per_record", "CPU a record, in microseconds (less is better)"),
            ("speed", "warm_records_per_s", "Records a second on one thread (more is better)"),
        ):
            image = plot(compared, field, title)
            if image:
                (DOCS / f"performance-{name}.svg").write_text(image)
    if args.layers:
        replace(document, "layers", [*machine(), "", *layers()])


if __name__ == "__main__":
    main()
